"""What a built network's topology is: NN-Mass, density, average degree, parameters and multiply-adds in one record."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from zoo.cells import RandomSkipCell
from zoo.macs import count_macs
from zoo.mlp import RandomSkipMLP

__all__ = ["Topology", "topology"]


@dataclass(frozen=True)
class Topology:
    """Topology and size of one network.

    Attributes:
        nn_mass: m = sum_c w_c d_c rho_c (Eq. 2).
        nn_density: Mean of the cell densities.
        cell_densities: rho_c (Eq. 1), one per cell.
        average_degree: Edges per neuron inside the cells, pooled over cells.
        num_params: Learnable numbers, all of them.
        macs: Multiply-adds of convolutions, linear layers and matrix products for one input, in MAC.
        flops: Twice the MACs, in FLOP.
        input_size: Shape of the input that the MACs were counted for; (channels, height, width) in px for images.
    """

    nn_mass: float
    nn_density: float
    cell_densities: tuple[float, ...]
    average_degree: float
    num_params: int
    macs: int
    flops: int
    input_size: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """The record as plain lists and numbers, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def topology(model: nn.Module, input_size: Sequence[int] | None = None) -> Topology:
    """Read topology and size off a built network, from the links it really has.

    Args:
        model: A network with random-skip cells, bare or wrapped (a LightningModule, DistributedDataParallel).
        input_size: Shape of one input, (channels, height, width) in px for images; by default what the network's
            ``default_cfg`` says.

    Returns:
        The record. The model, its mode, its buffers and all random state stay as they were.

    Raises:
        ValueError: If the network holds no random-skip cell, or no input size is known.

    Example:
        >>> from zoo import RandomSkipDenseNet
        >>> record = topology(RandomSkipDenseNet(cell_depth=12, width_multiplier=2, tc=[60, 130, 170]))
        >>> round(record.nn_mass, 3), record.macs, round(record.average_degree, 3)
        (755.345, 794346752, 203.095)
    """
    network = _unwrap(model)
    cells = [module for module in network.modules() if isinstance(module, RandomSkipCell | RandomSkipMLP)]
    if not cells:
        raise ValueError(f"Expected model to hold random-skip cells, but {type(network).__name__} has none.")
    if input_size is None:
        input_size = getattr(network, "default_cfg", {}).get("input_size")
    if input_size is None:
        raise ValueError(f"Expected input_size, because {type(network).__name__} has no default_cfg, but got None.")
    densities = tuple(_built_density(cell) for cell in cells)
    edges = sum(cell.width * (cell.width * (cell.depth - 1) + sum(cell.num_links)) for cell in cells)
    macs = count_macs(network, input_size)
    return Topology(
        nn_mass=sum(cell.width * cell.depth * density for cell, density in zip(cells, densities, strict=True)),
        nn_density=sum(densities) / len(densities),
        cell_densities=densities,
        average_degree=edges / sum(cell.width * cell.depth for cell in cells),
        num_params=sum(parameter.numel() for parameter in network.parameters()),
        macs=macs,
        flops=2 * macs,
        input_size=tuple(input_size),
    )


def _built_density(cell: RandomSkipCell | RandomSkipMLP) -> float:
    """Links present over links possible (Eq. 1), counted on the built cell."""
    possible = cell.width * (cell.depth - 1) * (cell.depth - 2) / 2
    return sum(cell.num_links) / possible if possible else 0.0


def _unwrap(model: nn.Module) -> nn.Module:
    """The network inside a LightningModule's ``network``, a parallel wrapper's ``module``, a compiled ``_orig_mod``."""
    inner: object = getattr(model, "_orig_mod", None)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = model.module
    elif hasattr(model, "training_step"):  # a LightningModule, told without importing Lightning
        inner = getattr(model, "network", None)
    return _unwrap(inner) if isinstance(inner, nn.Module) else model
