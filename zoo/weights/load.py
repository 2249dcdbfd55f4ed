"""Trained networks from their checkpoints alone: no configuration, no training data, no Lightning."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from nnmass.zoo.checks import require
from nnmass.zoo.training.architecture import require_same_architecture
from nnmass.zoo.weights.description import Description
from nnmass.zoo.weights.preprocessing import Preprocessing
from nnmass.zoo.weights.state import State, read_state

__all__ = ["TrainedNetwork", "builds", "load"]

_MODULES = ("nnmass.zoo", "timm.models", "torchvision.models")
_PREFIX = "network."  # of the network's names in our checkpoints
_WRAPPER = "_orig_mod."


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with all that is needed to classify with it.

    Attributes:
        network: In evaluation mode, on the processor.
        transform: Turns an image file, or an image in memory, into a sample; None where samples are no images, or
            where the file says nothing of them.
        classes: Names, in the order of the logits; None where the file does not say them.
        input_size: Shape of one sample; None where the file does not say it.
        data: Name of the data set that it was trained on; None where the file does not say it.
    """

    network: nn.Module
    transform: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    input_size: tuple[int, ...] | None = None
    data: str | None = None


def load(path: str | os.PathLike[str] | State, network: nn.Module | None = None) -> TrainedNetwork:
    """Load a trained network from a checkpoint, wherever the file lies, or by its name.

    The file is read as data. Classes of the zoo, timm and torchvision are built as it describes them; no other class is
    imported, and a network of one's own is passed.

    Args:
        path: A checkpoint that ``fit`` has written, or the name of a trained network of the zoo; with ``network`` also
            another file of weights.
        network: Network to load the weights into, of the same architecture.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not describe its network, is damaged, or holds another network's weights.

    Example:
        >>> trained = load("runs/latest/checkpoints/best.ckpt")  # doctest: +SKIP
        >>> logits = trained.network(trained.transform("photo.jpg").unsqueeze(0))  # doctest: +SKIP
        >>> trained.classes[logits.argmax()]  # doctest: +SKIP
        'cat'
    """
    state = path if isinstance(path, State) else read_state(path)
    description = state.description
    if network is None:
        if description is None:
            wanted = "a checkpoint that describes its network, as those of nnmass fit do"
            raise ValueError(f"Expected {wanted}, in {state.source}, but it does not; pass the network as network=.")
        network = _built(description, state.source)
    weights = _weights(state.tensors)
    require_same_architecture(network.state_dict(), weights, state.source)
    network.load_state_dict(weights)
    network.eval()
    if description is None:
        return TrainedNetwork(network, classes=state.classes)
    return TrainedNetwork(
        network, description.preprocessing, description.classes, description.input_size, description.data
    )


def builds(class_path: str) -> bool:
    """Return whether a class is one that :func:`load` builds by itself: of the zoo, timm or torchvision."""
    return class_path.startswith(tuple(f"{module}." for module in _MODULES))


def _built(description: Description, source: str) -> nn.Module:
    """Build the network that a file describes.

    Raises:
        ValueError: If its class is of no package that is known here, or there is no such class.
    """
    path, arguments = description.class_path, dict(description.arguments)
    hint = f"pass an instance of {path} as network=."
    require(builds(path), f"the network in {source}", "be of nnmass.zoo, timm or torchvision", path, hint)
    kind = _class(path)
    require(kind is not None, f"the network in {source}", "be a class that is installed here", path)
    known = inspect.signature(kind.__init__).parameters
    takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values())
    for name in arguments:  # a library's builder takes others, which read files
        require(takes_any or name in known, f"arguments of {path} in {source}", "be its own", repr(name))
    if "pretrained" in arguments:  # the weights are at hand
        arguments["pretrained"] = False
    try:
        return kind(**arguments)
    except TypeError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"Expected arguments of {path} in {source}, but: {reason}.") from error


def _class(path: str) -> Any:
    """A class of networks by its name; None where there is none such."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's weights in a checkpoint of a LightningModule, or in a file that holds nothing else."""
    inside = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
    return {name.removeprefix(_WRAPPER): value for name, value in (inside or tensors).items()}
