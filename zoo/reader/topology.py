"""The topology of a network: NN-Mass, density, average degree, parameters and multiply-adds in one record."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import nn

from nnmass.zoo.checks import require, require_shape
from nnmass.zoo.reader.blocks import Block, Joint
from nnmass.zoo.reader.macs import macs_by_operator
from nnmass.zoo.reader.marks import lost_marks
from nnmass.zoo.reader.skips import read_skips
from nnmass.zoo.reader.tracing import trace_and_count
from nnmass.zoo.wrappers import unwrapped

__all__ = ["Topology", "topology"]


@dataclass(frozen=True)
class Topology:
    """Topology and size of one network.

    Attributes:
        nn_mass: m, summed over ``blocks`` (Eq. 2 for concatenation-type skips, Eq. 3 for addition-type ones).
        nn_density: Mean of the cell densities.
        cell_densities: Density of each cell: of all, where the network states them, else of those in ``blocks``.
        average_degree: Edges per neuron inside the cells, pooled over cells; None for a network that does not state it,
            because a trace does not show which neurons belong to a cell.
        num_layers: Operations with learnable weights: convolutions and linear layers, shortcuts and gates included.
        num_products: Matrix products of two values that both depend on the input, as attention makes them.
        num_params: Learnable numbers, all of them.
        macs: Multiply-adds of convolutions, linear layers and matrix products for one input, in MAC.
        flops: Twice the MACs, in FLOP.
        uncounted: Operators of which it is not known how many multiply-adds they run, and how often each ran; they add
            nothing to ``macs``.
        input_size: Shape of the input that was traced and counted; (channels, height, width) in px for images.
        blocks: Residual blocks and cells that hold skips, and what was counted in each.
        joints: The verdict on every addition and concatenation, and on every other operator that joins values.
        notes: Sentences on what the reading lacked.
    """

    nn_mass: float
    nn_density: float
    cell_densities: tuple[float, ...]
    average_degree: float | None
    num_layers: int
    num_products: int
    num_params: int
    macs: int
    flops: int
    uncounted: dict[str, int]
    input_size: tuple[int, ...]
    blocks: tuple[Block, ...] = field(repr=False)
    joints: tuple[Joint, ...] = field(repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)

    @property
    def num_cells(self) -> int:
        """Blocks that hold skips."""
        return len(self.blocks)

    @property
    def not_judged(self) -> list[Joint]:
        """The additions and concatenations of which cannot be told whether they are skips; they add nothing."""
        return [joint for joint in self.joints if joint.verdict == "not judged"]

    def as_dict(self) -> dict[str, Any]:
        """The record as plain lists and numbers, ready for JSON; of the joints, those that are not judged."""
        record = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "joints"}
        return {
            **record,
            "input_size": list(self.input_size),
            "cell_densities": list(self.cell_densities),
            "num_cells": self.num_cells,
            "notes": list(self.notes),
            "blocks": [block.as_dict() for block in self.blocks],
            "not_judged": [asdict(joint) for joint in self.not_judged],
        }


def topology(model: nn.Module, input_size: int | Sequence[int] | None = None) -> Topology:
    """Read topology and size off any network, from the graph that tracing it gives.

    Args:
        model: Any network of one image-like input, bare or wrapped (compiled, a LightningModule with a ``network``,
            DataParallel, DistributedDataParallel, AveragedModel). Weights on the meta device will do, but indices that
            choose channels must have values: build the network there rather than move it. Forward hooks do not run.
        input_size: Shape of one input, (channels, height, width) in px for images, one number for vectors; by default
            what the network's ``default_cfg`` says, or else (3, 224, 224).

    Returns:
        The record. The model, its mode, its buffers and all random state stay as they were.

    Raises:
        ValueError: If the network cannot be traced on input of this size, or if multiply-adds were counted and the
            trace shows no layer.

    Example:
        >>> from nnmass.zoo import RandomSkipDenseNet
        >>> record = topology(RandomSkipDenseNet(cell_depth=12, width_multiplier=2, tc=[60, 130, 170]))
        >>> round(record.nn_mass, 3), record.macs, round(record.average_degree, 3)
        (755.345, 794346752, 203.095)
    """
    require(isinstance(model, nn.Module), "model", "be a torch.nn.Module", type(model).__name__)
    network = unwrapped(model)
    stated: Any = (getattr(network, "default_cfg", None) or {}).get("input_size") if input_size is None else input_size
    size = require_shape("input_size", (3, 224, 224) if stated is None else stated)
    try:
        operations, counted = trace_and_count(network, size)
    except ValueError as error:
        hint = "" if stated is not None else " That is the size by default; topology takes another as input_size."
        raise ValueError(f"{error}{hint}") from error
    blocks, joints = read_skips(operations)
    counted = macs_by_operator(network, size) if counted is None else counted
    macs = counted.macs
    if macs and not any(operation.kind in ("layer", "product", "unknown") for operation in operations):
        raise ValueError(
            f"Expected a network whose layers lead to tensors that it returns or keeps, but got {macs:,} MACs and not "
            "one layer in the traced graph; return the tensors, or let learnable weights be parameters."
        )
    densities = tuple(getattr(network, "cell_densities", None) or (block.density for block in blocks))
    return Topology(
        nn_mass=float(sum(block.nn_mass for block in blocks)),
        nn_density=sum(densities) / len(densities) if densities else 0.0,
        cell_densities=densities,
        average_degree=getattr(network, "average_degree", None),
        num_layers=sum(operation.kind == "layer" for operation in operations),
        num_products=sum(operation.kind == "product" for operation in operations),
        num_params=sum(parameter.numel() for parameter in network.parameters()),
        macs=macs,
        flops=2 * macs,
        uncounted=counted.uncounted,
        input_size=size,
        blocks=tuple(blocks),
        joints=tuple(joints),
        notes=() if (note := lost_marks(network, operations)) is None else (note,),
    )
