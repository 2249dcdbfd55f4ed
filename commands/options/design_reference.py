"""Reference network of ``design --like``: its family, and a configuration to train others like it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from nnmass import zoo
from nnmass.commands.options.trained import config_of_checkpoint
from nnmass.runtime.class_paths import whole_class_paths
from nnmass.runtime.config_names import config_name, find_config, read_config
from nnmass.runtime.configuration import instantiate
from nnmass.zoo.networks.variants import VARIANTS

__all__ = ["Family", "Reference", "find_reference", "start_of"]

Grids = Mapping[str, Sequence[Any]]


class Reference(NamedTuple):
    """A network that others are to be like.

    Attributes:
        name: What to call it.
        family: What others are made of.
        arguments: Of the network's class, defaults and what its data decide among them.
        design: What it is; its arguments are those that the family varies.
        network: Itself, not trained.
        input_size: Shape of one input, without the batch.
        content: The configuration that trains it.
        is_given: Whether others are held against it; else it only says how they are trained.
    """

    name: str
    family: "Family"
    arguments: Mapping[str, Any]
    design: zoo.Design
    network: nn.Module
    input_size: tuple[int, ...]
    content: Mapping[str, Any]
    is_given: bool = True

    def build(self, design: zoo.Design) -> nn.Module:
        """Build another network of the reference's class."""
        return type(self.network)(**{**self.arguments, **design.arguments})

    def configuration(self, design: zoo.Design) -> dict[str, Any]:
        """Return the configuration with the network replaced by another."""
        network = _described(self.content)
        network = {**network, "init_args": {**network.get("init_args", {}), **design.arguments}}
        return {**self.content, "model": {**self.content["model"], "network": network}}

    def side(self) -> int:
        """Return height and width of its images, in px.

        Raises:
            ValueError: If they differ.
        """
        if len(self.input_size) != 3 or self.input_size[1] != self.input_size[2]:
            raise ValueError(f"Expected --like to have square images, but those of {self.name} are {self.input_size}.")
        return self.input_size[1]


class Family(NamedTuple):
    """A class of networks whose size and mass have closed forms.

    Attributes:
        grids: The arguments that vary, and what each is chosen from where nothing else is asked for; None for the
            reference's own, because accuracy follows mass only among networks of one width.
        make: The grid of networks, from a reference and the values of each argument.
        template: The configuration that trains a network of given arguments.
    """

    grids: Mapping[str, str | None]
    make: Callable[[Reference, Grids], list[zoo.Shape]]
    template: Callable[[Mapping[str, Any]], str]


def find_reference(name: str) -> Reference:
    """Find the network that ``--like`` means.

    Args:
        name: A configuration, a checkpoint of a run, or a name of the zoo.

    Raises:
        ValueError: If it is of no family whose networks can be designed.
        FileNotFoundError: If there is no such network.
    """
    called, content = _configuration(name)
    model, data = instantiate(content, called)
    kind = type(model.network)
    family = FAMILIES.get(kind.__name__)
    if family is None or kind is not getattr(zoo, kind.__name__, None):
        known = ", ".join(FAMILIES)
        raise ValueError(f"Expected --like to be one of {known}, but {called} is a {kind.__name__}.")
    defaults = {key: parameter.default for key, parameter in signature(kind).parameters.items()}
    size = tuple(data.input_size)
    entering = {"in_features": prod(size)} if "in_features" in defaults else {"in_chans": size[0]}
    decided = {"num_classes": data.num_classes, **entering}
    arguments = {**defaults, **_described(content).get("init_args", {}), **decided}
    record = zoo.topology(model.network, data.input_size)
    varied = {key: _plain(arguments[key]) for key in family.grids}
    design = zoo.Design(varied, record.nn_mass, record.num_params, record.macs)
    return Reference(called, family, arguments, design, model.network, size, content)


def start_of(family: str) -> Reference:
    """Return a shipped configuration whose data and training the networks of a family take over, of whatever width.

    Args:
        family: ``dense``, ``mlp`` or ``mobilenetv2``.
    """
    reference = find_reference(_STARTS[family])
    grids = {name: text or _WIDTHS[name] for name, text in reference.family.grids.items()}
    return reference._replace(family=reference.family._replace(grids=grids), is_given=False)


def _configuration(name: str) -> tuple[str, dict[str, Any]]:
    """Return the network's name, and the configuration that trains it."""
    if name not in VARIANTS:
        path = (
            find_config(str(config_of_checkpoint(Path(name).expanduser())))
            if name.endswith(".ckpt")
            else find_config(name, "--like")
        )
        return config_name(path), whole_class_paths(read_config(path))
    kind = VARIANTS[name].builder.partition(":")[2]
    arguments = VARIANTS[name].arguments
    if kind not in FAMILIES:
        raise ValueError(f"Expected --like to be one of {', '.join(FAMILIES)}, but {name} is a {kind}.")
    template = find_config(FAMILIES[kind].template(arguments))
    content = whole_class_paths(read_config(template))
    content["model"]["network"] = {"class_path": f"nnmass.zoo.{kind}", "init_args": dict(arguments)}
    return name, content


def _described(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return class and arguments of the network in a configuration; a bare class name has no arguments."""
    network = content["model"]["network"]
    return {"class_path": network} if isinstance(network, str) else network


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _densenets(like: Reference, grids: Grids) -> list[zoo.Shape]:
    size = partial(
        zoo.densenet_size,
        num_classes=like.arguments["num_classes"],
        in_chans=like.input_size[0],
        side=like.side(),
        stem=like.arguments["stem"] == "imagenet",
        expansion=like.arguments["expansion"],
    )
    return zoo.densenet_grid(
        grids["cell_depth"], grids["width_multiplier"], grids["tc"], like.arguments["base_widths"], size
    )


def _mlps(like: Reference, grids: Grids) -> list[zoo.Shape]:
    size = partial(zoo.mlp_size, num_classes=like.arguments["num_classes"], in_features=prod(like.input_size))
    return zoo.mlp_grid(grids["depth"], grids["width"], grids["tc"], size)


def _mobilenets(like: Reference, grids: Grids) -> list[zoo.Shape]:
    size = partial(
        zoo.mobilenet_size,
        num_classes=like.arguments["num_classes"],
        in_chans=like.input_size[0],
        side=like.side(),
        small_images=like.arguments["small_images"],
    )
    return zoo.mobilenet_grid(grids["width_multiplier"], grids["repeats"], size)


def _densenet_template(arguments: Mapping[str, Any]) -> str:
    if arguments.get("stem") == "imagenet":
        return "imagenet_dense"
    return "digits_dense" if arguments.get("in_chans") == 1 else "cifar10_dense"


FAMILIES = {
    "RandomSkipDenseNet": Family(
        {"cell_depth": "4:20", "width_multiplier": None, "tc": "0:300:5"}, _densenets, _densenet_template
    ),
    "RandomSkipMLP": Family({"depth": "4:40", "width": None, "tc": "0:40"}, _mlps, lambda _: "mnist_mlp"),
    "MobileNetV2": Family(
        {"width_multiplier": "0.35:1.4:0.05", "repeats": "1:6"},
        _mobilenets,
        lambda arguments: "cifar10_wrn" if arguments.get("small_images") else "imagenet_mobilenetv2",
    ),
}
_STARTS = {"dense": "cifar10_dense", "mlp": "mnist_mlp", "mobilenetv2": "imagenet_mobilenetv2"}
_WIDTHS = {"width_multiplier": "0.25:3:0.25", "width": "2:64:2"}  # where no reference has one
