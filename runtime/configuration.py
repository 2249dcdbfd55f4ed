"""Model and data of a configuration: their options, the links between them, and what is refused."""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pydoc import locate
from typing import Any

import yaml
from jsonargparse import ArgumentError, get_loader, set_loader
from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser
from torch import nn

from nnmass import datamodules, zoo
from nnmass.datamodules import DataModule
from nnmass.runtime.class_paths import whole_arguments, whole_class_paths
from nnmass.runtime.option_errors import explain
from nnmass.runtime.written_config import write_devices

__all__ = [
    "PARSER_OPTIONS",
    "add_model_and_data",
    "add_seed",
    "errors_explained",
    "instantiate",
    "instantiate_with",
    "require_left_to_data",
    "require_network_class",
    "require_options",
    "require_weights",
    "settled_arguments",
]

_MODE = "yaml with short class paths"
set_loader(_MODE, lambda text: whole_class_paths(get_loader("yaml")(text)), (yaml.YAMLError,))

PARSER_OPTIONS: Mapping[str, Any] = {"exit_on_error": False, "allow_abbrev": False, "parser_mode": _MODE}
"""Options of every parser that reads a model and data: errors are raised, and class paths may be short."""


_PARTS = ("model", "data", "seed_everything")  # keys of a configuration that describe model and data
_PLACES = ("output_dir", "checkpoint_minutes")  # keys of a configuration that concern no training


def add_seed(parser: LightningArgumentParser) -> None:
    """Add the seed; an integer only, because Lightning takes ``true`` for the seed 0."""
    parser.add_argument(
        "--seed_everything", type=int, default=0, help="Decides links, initial weights, data order, augmentation."
    )


def add_model_and_data(parser: LightningArgumentParser) -> None:
    """Add the options of model and data, and link what the data and the seed decide.

    Args:
        parser: A parser that has the seed.
    """
    write_devices()
    parser.add_lightning_class_args(zoo.Classifier, "model")
    parser.add_lightning_class_args(datamodules.DataModule, "data", subclass_mode=True)
    _link_data_to_network(parser)


def instantiate(content: Mapping[str, Any], name: str) -> tuple[zoo.Classifier, DataModule]:
    """Build the model and the data that a configuration describes; no sample is loaded yet.

    Args:
        content: The configuration, as YAML gives it.
        name: The configuration's name, for the message.

    Raises:
        ValueError: If it does not describe a network and its data.
    """
    parser = _parser_of_parts()
    with errors_explained(parser, name):
        parsed: Any = parser.parse_object(_described_parts(content))
        require_network_class(parsed.model.network.class_path)
        built: Any = parser.instantiate(parsed)
    return built.model, built.data


def instantiate_with(content: Mapping[str, Any], options: Sequence[str]) -> tuple[zoo.Classifier, DataModule]:
    """Build the model and the data that a configuration and options behind it describe, as ``nnmass fit`` would.

    Args:
        content: The configuration, as YAML gives it; empty for none.
        options: Words of a command line: options of ``model``, ``data`` and ``seed_everything`` with their values.

    Raises:
        ValueError: If they do not describe a network and its data; as ``fit`` would say it.
    """
    parser = _parser_of_parts()
    words = [f"--{part}={json.dumps(value)}" for part, value in _described_parts(content).items()]
    with errors_explained(parser):
        parsed: Any = parser.parse_args([*words, *whole_arguments(options)])
        require_network_class(parsed.model.network.class_path)
        built: Any = parser.instantiate(parsed)
    require_left_to_data(parsed.model.network.get("init_args") or {}, built.model.network, built.data)
    return built.model, built.data


def _parser_of_parts() -> LightningArgumentParser:
    parser = LightningArgumentParser(**PARSER_OPTIONS)
    add_seed(parser)
    add_model_and_data(parser)
    return parser


def _described_parts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Select what describes model and data, with whole class paths."""
    parts: dict[str, Any] = whole_class_paths({key: content[key] for key in _PARTS if key in content})
    return parts


def require_options(contents: Iterable[Mapping[str, Any]], name: str) -> None:
    """Refuse configurations with options that ``nnmass fit`` does not have, or values that these cannot take.

    Args:
        contents: Configurations, as YAML gives them.
        name: What to call them in the message.

    Raises:
        ValueError: It names the option, and the nearest one.
    """
    parser = _parser_of_parts()
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_argument("--tf32", type=bool, default=True)
    for content in contents:
        with errors_explained(parser, name):
            parser.parse_object({key: value for key, value in content.items() if key not in _PLACES})


@contextmanager
def errors_explained(parser: LightningArgumentParser, name: str = "") -> Iterator[None]:
    """Inside the block, put what is wrong with a configuration into one sentence.

    Args:
        parser: The parser that knows the options.
        name: The configuration's name, to begin the sentence with.

    Raises:
        ValueError: In place of the parser's error.
    """
    try:
        yield
    except ArgumentError as error:
        sentence = explain(error, parser)
        raise ValueError(f"{name}: {sentence}" if name else sentence) from error


def _link_data_to_network(parser: LightningArgumentParser) -> None:
    """Link ``data`` to ``model.network``, and ``seed_everything`` to both."""
    for fact in ("num_classes", "in_chans"):
        parser.link_arguments(f"data.{fact}", f"model.network.init_args.{fact}", apply_on="instantiate")
    # A network of one's own need not say how many classes it has.
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    # Networks of vectors take the number of features of a whole sample.
    parser.link_arguments(
        "data.input_size", "model.network.init_args.in_features", compute_fn=prod, apply_on="instantiate"
    )
    # Networks of other libraries, some of which take images of one size only.
    parser.link_arguments("data.input_size", "model.network.init_args.data_shape", apply_on="instantiate")
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


def settled_arguments(
    network: Mapping[str, Any], accepted: Iterable[str], data: DataModule, seed: int
) -> dict[str, Any]:
    """Arguments of a network with those that the data and the seed decide.

    Args:
        network: The network in the configuration, as plain values.
        accepted: Names of all arguments of its class.
        data: The data.
        seed: The configuration's seed.
    """
    decided = {
        "num_classes": data.num_classes,
        "in_chans": data.in_chans,
        "in_features": prod(data.input_size),
        "data_shape": list(data.input_size),
        "seed": seed,
    }
    return {**(network.get("init_args") or {}), **{name: decided[name] for name in decided if name in {*accepted}}}
