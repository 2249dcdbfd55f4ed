"""Networks by whatever names them: the zoo, timm, a configuration, a checkpoint."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import nn

from nnmass import zoo
from nnmass.commands.options.trained import find_trained
from nnmass.runtime.config_names import config_name, find_config, read_config
from nnmass.runtime.configuration import instantiate, instantiate_with
from nnmass.zoo.libraries.library import built_on_meta
from nnmass.zoo.networks import names

__all__ = ["NamedNetwork", "find_network", "network_of_config", "network_of_options"]


class NamedNetwork(NamedTuple):
    """A network, what to call it, the shape of its input where something else than the network tells, and its state."""

    name: str
    network: nn.Module
    input_size: tuple[int, ...] | None
    is_trained: bool = False


def find_network(name: str, weights: bool = False) -> NamedNetwork:
    """Find the network that a word on the command line means.

    Args:
        name: A checkpoint of a run (``*.ckpt``), a name of the zoo, of timm or torchvision.
        weights: Give networks of timm and torchvision initial weights, from the seed 0; else they are on the meta
            device, where they can be built there.

    Raises:
        ValueError: If nothing bears the name; the message names the nearest.
        FileNotFoundError: If a checkpoint does not exist, or describes no network and lies in no run folder.
    """
    if name.endswith(".ckpt") or (names.named(name) is None and Path(name).expanduser().is_dir()):
        return _network_of_checkpoint(Path(name).expanduser())
    if names.named(name) is None:
        hint = names.near_names(name) or "a configuration is given by --config."
        raise ValueError(f"Expected a network of the zoo or of timm, or a checkpoint, but got {name!r}; {hint}")
    build = partial(zoo.create_model, name)
    return NamedNetwork(name, build() if weights or name in zoo.list_models() else built_on_meta(build), None)


def network_of_config(name: str) -> NamedNetwork:
    """Build the network that ``fit --config name`` would train, before training.

    Args:
        name: A file, or the bare name of a shipped configuration.

    Raises:
        FileNotFoundError: If there is no such configuration.
        ValueError: If it does not describe a network and its data.
    """
    path = find_config(name)
    model, data = instantiate(read_config(path), path.name)
    return NamedNetwork(config_name(path), model.network, tuple(data.input_size))


def network_of_options(name: str | None, options: Sequence[str]) -> NamedNetwork:
    """Build the network that ``fit --config name`` with further options would train, before training.

    Args:
        name: A file, or the bare name of a shipped configuration; None for the options alone.
        options: Options of ``model``, ``data`` and ``seed_everything``, with their values. They are part of its name.

    Raises:
        FileNotFoundError: If there is no such configuration.
        ValueError: If this does not describe a network and its data, as ``fit`` would say it.
    """
    path = None if name is None else find_config(name)
    content = {} if path is None else read_config(path)
    model, data = instantiate_with(content, options)
    title = [] if path is None else [config_name(path)]
    return NamedNetwork(" ".join([*title, *options]), model.network, tuple(data.input_size))


def _network_of_checkpoint(path: Path) -> NamedNetwork:
    """Build the network as it was trained; its name is the run's, where the checkpoint lies in one."""
    trained = find_trained(path)
    run = path.resolve().parent.parent
    name = f"{run.name}/{path.name}" if (run / "config.yaml").is_file() else path.name
    return NamedNetwork(name, trained.network.train(), trained.input_size, is_trained=True)
