"""What the data and the seed decide about the network, as links between arguments."""

import inspect
from collections.abc import Mapping
from math import prod
from pydoc import locate
from typing import Any

from pytorch_lightning.cli import LightningArgumentParser
from torch import nn

from nnmass.datamodules import DataModule

__all__ = ["link_data_to_network", "require_left_to_data", "require_network_class", "require_weights"]


def link_data_to_network(parser: LightningArgumentParser) -> None:
    """Link ``data`` to ``model.network``, and ``seed_everything`` to both.

    Args:
        parser: A parser that has these three.
    """
    for fact in ("num_classes", "in_chans"):
        parser.link_arguments(f"data.{fact}", f"model.network.init_args.{fact}", apply_on="instantiate")
    # A network of one's own need not say how many classes it has.
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    # Networks of vectors take the number of features of a whole sample.
    parser.link_arguments(
        "data.input_size", "model.network.init_args.in_features", compute_fn=prod, apply_on="instantiate"
    )
    for key in ("model.network", "data"):
        parser.link_arguments("seed_everything", f"{key}.init_args.seed")


def require_network_class(class_path: str) -> None:
    """Refuse a class that takes any arguments, and so none that the data could decide.

    Args:
        class_path: Its full name.

    Raises:
        ValueError: If none of its arguments has a name.

    Example:
        >>> require_network_class("torch.nn.Identity")
        Traceback (most recent call last):
            ...
        ValueError: Expected model.network to be a class whose arguments have names, but got torch.nn.Identity.
    """
    network: Any = locate(class_path)
    kinds = {part.kind for part in inspect.signature(network).parameters.values()}
    if kinds and kinds <= {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        raise ValueError(f"Expected model.network to be a class whose arguments have names, but got {class_path}.")


def require_weights(network: nn.Module) -> None:
    """Refuse to train a network that has nothing to be trained.

    Args:
        network: The network.

    Raises:
        ValueError: If it has no weights, or none of them takes gradients.
    """
    if not any(weights.requires_grad for weights in network.parameters()):
        raise ValueError(f"Expected model.network to have weights to train, but {type(network).__name__} has none.")


def require_left_to_data(given: Mapping[str, Any], network: nn.Module, data: DataModule) -> None:
    """Refuse arguments of the network that the data decide, where they say something else.

    Args:
        given: The network's arguments in the configuration.
        network: The network.
        data: The data.

    Raises:
        ValueError: If one differs from what the data have, and is not the default either.
    """
    decided = {"num_classes": data.num_classes, "in_chans": data.in_chans, "in_features": prod(data.input_size)}
    parameters = inspect.signature(type(network)).parameters
    for name, value in decided.items():
        said = given.get(name)
        if name in parameters and said not in (None, value, parameters[name].default):
            raise ValueError(
                f"Expected model.network.{name} to be left to the data, which have {value}, but got {said}."
            )
