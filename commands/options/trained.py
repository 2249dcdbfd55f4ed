"""Trained networks by their checkpoints: those that describe their network, and older ones in their run folders."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning.cli import LightningArgumentParser
from torch import nn

from nnmass.runtime.config_names import read_config
from nnmass.runtime.configuration import PARSER_OPTIONS, errors_explained, instantiate
from nnmass.zoo.weights.description import Description
from nnmass.zoo.weights.load import TrainedNetwork, builds, load
from nnmass.zoo.weights.pretrained import list_pretrained
from nnmass.zoo.weights.state import found_instead, read_state

__all__ = ["config_of_checkpoint", "find_trained"]


def find_trained(path: Path) -> TrainedNetwork:
    """Load the network of a checkpoint, wherever the file lies.

    A class that is of no package known here is looked for in the current folder, as configurations do. A checkpoint
    without a description of its network is read by the configuration in its run folder.

    Args:
        path: The checkpoint, or the name of a trained network of the zoo.

    Raises:
        FileNotFoundError: If it does not exist, or describes no network and lies in no run folder.
        ValueError: If it is damaged, or its network cannot be built.
    """
    if str(path) not in list_pretrained():
        _require_file(path)
    state = read_state(path)
    description = state.description
    if description is not None:
        return load(state, None if builds(description.class_path) else _of_ones_own(description, path))
    config = _config_beside(path)
    if not config.is_file():
        found = "neither that nor a config.yaml in a run folder around it"
        raise FileNotFoundError(f"Expected {path} to describe its network, but found {found}.")
    model, data = instantiate(read_config(config), config.name)
    return replace(
        load(state, model.network),
        transform=data.preprocessing,
        classes=tuple(data.class_names),
        input_size=tuple(data.input_size),
        data=type(data).__name__,
    )


def config_of_checkpoint(path: Path) -> Path:
    """Find the configuration that a checkpoint was trained by, in the run's folder.

    Args:
        path: The checkpoint.

    Raises:
        FileNotFoundError: If it does not exist, or lies in no run folder.
    """
    _require_file(path)
    config = _config_beside(path)
    if not config.is_file():
        raise FileNotFoundError(f"Expected the checkpoint {path} to lie in a run folder, but found no {config}.")
    return config


def _config_beside(path: Path) -> Path:
    """Return the place of a run's configuration, whose checkpoint a file may be."""
    return path.resolve().parent.parent / "config.yaml"


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint, but {path} {found_instead(path)}.")


def _of_ones_own(description: Description, path: Path) -> nn.Module:
    """Build a network of a class that is found in the current folder or among the installed packages."""
    parser = LightningArgumentParser(**PARSER_OPTIONS)
    parser.add_subclass_arguments(nn.Module, "network")
    described = {"class_path": description.class_path, "init_args": dict(description.arguments)}
    with errors_explained(parser, str(path)):
        parsed: Any = parser.parse_object({"network": described})
        built: Any = parser.instantiate(parsed)
    network: nn.Module = built.network
    return network
