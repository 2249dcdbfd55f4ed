"""Topology and size of the zoo's random-skip networks and ResNets from their arguments alone.

Nothing is built, traced or counted. It needs neither torch nor any other library.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from nnmass.zoo.checks import require_integer
from nnmass.zoo.mass import average_degree, cell_density, nn_mass, residual_links, residual_mass
from nnmass.zoo.resnet_size import resnet_size
from nnmass.zoo.size import Size, cell_widths, densenet_size, mlp_size

__all__ = ["ClosedForm", "closed_form"]


class ClosedForm(NamedTuple):
    """Result that :func:`zoo.topology` would read off the built network, under the names of :class:`zoo.Topology`."""

    nn_mass: float
    nn_density: float
    cell_densities: tuple[float, ...]
    average_degree: float | None
    num_layers: int
    num_params: int
    macs: int
    input_size: tuple[int, ...]

    @property
    def flops(self) -> int:
        """Twice the MACs, in FLOP."""
        return 2 * self.macs

    @property
    def num_cells(self) -> int:
        """Cells that hold skips."""
        return sum(density > 0 for density in self.cell_densities)

    @property
    def not_judged(self) -> tuple[()]:
        """No joint: all are known."""
        return ()

    @property
    def uncounted(self) -> dict[str, int]:
        """No operator: all are known."""
        return {}


def closed_form(
    network: str, arguments: Mapping[str, Any], input_size: Sequence[int] | None = None
) -> ClosedForm | None:
    """Topology and size of a network by its class and arguments.

    Args:
        network: Full or short name of the class, such as ``nnmass.zoo.RandomSkipDenseNet``.
        arguments: Those of its constructor that are not the defaults.
        input_size: Shape of one input, (channels, height, width) in px or (features,); by default the network's own.

    Returns:
        None for a network of another class, and for arguments without a closed form or out of range: building the
        network tells.

    Example:
        >>> closed_form("RandomSkipMLP", {"depth": 24, "width": 8, "tc": 2}).num_params
        8310
    """
    name = network.replace(":", ".").rpartition(".")[2]
    if name not in _FORMS or not network.startswith(("zoo.", "nnmass.zoo.", name)):
        return None
    formula, known, others = _FORMS[name]
    if not set(arguments) <= known | others:
        return None
    try:
        return formula({key: value for key, value in arguments.items() if key in known}, input_size)
    except (KeyError, TypeError, ValueError):  # the network's constructor says what is wrong with an argument
        return None


def _of_densenet(given: dict[str, Any], input_size: Sequence[int] | None) -> ClosedForm | None:
    depth, multiplier, tc = given["cell_depth"], given["width_multiplier"], given["tc"]
    widths = cell_widths(given.get("base_widths", (16, 32, 64)), multiplier)
    depths, tcs = ([value] * len(widths) if isinstance(value, int) else list(value) for value in (depth, tc))
    if len(depths) != len(widths) or len(tcs) != len(widths) or min(depths) < 1:
        return None
    stem = {"none": False, "imagenet": True}[given.get("stem", "none")]
    channels, classes = given.get("in_chans", 3), given.get("num_classes", 10)
    side = 224 if stem else 32
    size = tuple(input_size or (channels, side, side))
    expansion = given.get("expansion")
    if expansion is not None:
        require_integer("expansion", expansion, 1)
    if len(size) != 3 or size[0] != channels or size[1] != size[2]:
        return None
    cost = densenet_size(depths, widths, tcs, classes, channels, size[1], stem, expansion)
    convolutions = [3 if expansion is not None else 1] * sum(depths)
    convolutions[0] = 1  # the first cell's layer 0 stays as it is
    layers = sum(convolutions) + stem + (classes > 0)
    return _assembled(depths, widths, tcs, layers, cost, size)


def _of_mlp(given: dict[str, Any], input_size: Sequence[int] | None) -> ClosedForm | None:
    depth, width, tc = given["depth"], given["width"], given["tc"]
    features = given.get("in_features", 784)
    size = tuple(input_size or (features,))
    if prod(size) != features or depth < 2:
        return None
    cost = mlp_size(depth, width, tc, given.get("num_classes", 10), features)
    return _assembled([depth], [width], [tc], depth, cost, size)


def _of_resnet(given: dict[str, Any], input_size: Sequence[int] | None) -> ClosedForm | None:
    channels, classes = given.get("in_chans", 3), given.get("num_classes", 1000)
    small = given.get("small_images", False)
    side = 32 if small else 224
    size = tuple(input_size or (channels, side, side))
    require_integer("in_chans", channels, 1)
    require_integer("num_classes", classes, 0)
    if len(size) != 3 or size[0] != channels or size[1] != size[2] or not isinstance(small, bool):
        return None
    cost, blocks, layers = resnet_size(**{**given, "in_chans": channels}, side=size[1])
    densities = [present / possible for present, possible in map(residual_links, blocks)]
    return ClosedForm(
        nn_mass=sum(map(residual_mass, blocks)),
        nn_density=sum(densities) / len(densities),
        cell_densities=tuple(densities),
        average_degree=None,
        num_layers=layers,
        num_params=cost.num_params,
        macs=cost.macs,
        input_size=size,
    )


def _assembled(
    depths: list[int], widths: list[int], tcs: list[int], layers: int, cost: Size, size: tuple[int, ...]
) -> ClosedForm:
    densities = tuple(cell_density(depths, widths, tcs))
    return ClosedForm(
        nn_mass=nn_mass(depths, widths, tcs),
        nn_density=sum(densities) / len(densities),
        cell_densities=densities,
        average_degree=average_degree(depths, widths, tcs),
        num_layers=layers,
        num_params=int(cost.num_params),
        macs=int(cost.macs),
        input_size=size,
    )


_DENSENET = {"cell_depth", "width_multiplier", "tc", "num_classes", "in_chans", "base_widths", "stem", "expansion"}
_MLP = {"depth", "width", "tc", "num_classes", "in_features"}
_RESNET = {"depth", "width_factor", "cardinality", "base_width", "num_classes", "in_chans", "small_images"}
# By class: the formula, the arguments that it takes, and those that change nothing of this.
_FORMS: dict[str, tuple[Callable[[dict[str, Any], Sequence[int] | None], ClosedForm | None], set[str], set[str]]] = {
    "RandomSkipDenseNet": (_of_densenet, _DENSENET, {"links", "seed", "share_outputs"}),
    "RandomSkipMLP": (_of_mlp, _MLP, {"activation", "links", "seed", "share_outputs"}),
    "ResNet": (_of_resnet, _RESNET, {"seed"}),
}
