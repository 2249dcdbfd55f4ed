"""Joints, which are additions and concatenations with a verdict, and blocks that hold skip connections."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from nnmass.zoo.reader.operation import Operation

__all__ = ["Block", "Joint", "Verdict", "Wiring", "judged"]

Verdict = Literal["skip", "not a skip", "not judged"]


@dataclass(frozen=True)
class Joint:
    """One addition or concatenation, and the verdict on it.

    Attributes:
        scope: Dotted name of the module that ran it.
        operation: ``addition``, ``concatenation``, ``stack``, or ``unknown`` for any other operator that joins values.
        verdict: Whether it closes a skip connection, or why that cannot be told.
        reason: What kind of skip it is, or why it is none.
    """

    scope: str
    operation: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Wiring:
    """Channels of each unit of a cell that enter each other unit.

    Attributes:
        scope: Dotted name of the module that the cell lies in.
        widths: Output channels, or neurons, of each unit, in the order in which they run.
        levels: Of each unit, one more than the highest level that it takes channels from. Links from one level below
            are short-range; those from further below are long-range.
        entering: Of each unit, the channels that it takes, by the position of the unit that they come from.
    """

    scope: str
    widths: tuple[int, ...]
    levels: tuple[int, ...]
    entering: tuple[dict[int, tuple[int, ...]], ...]

    def long_range(self, unit: int) -> dict[int, tuple[int, ...]]:
        """The long-range part of what enters a unit."""
        return {
            source: channels
            for source, channels in self.entering[unit].items()
            if self.levels[source] <= self.levels[unit] - 2
        }


@dataclass(frozen=True)
class Block:
    """One residual block, or one cell of concatenated units, that holds skips.

    Attributes:
        scope: Dotted name of the module that it lies in.
        kind: ``addition`` or ``concatenation``.
        layers: Layers on the main branch, k, or units of the cell, d_c.
        channels: i_c, the input channels of those layers together, or the output channels of the units together.
        links: Skip channels present.
        possible_links: Skip channels that there could be.
        wiring: The links of a cell of concatenated units one by one; None for a residual block.
    """

    scope: str
    kind: Literal["addition", "concatenation"]
    layers: int
    channels: float
    links: int
    possible_links: int
    wiring: Wiring | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The block as plain numbers, without the single links."""
        record = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "wiring"}
        return {**record, "density": self.density, "nn_mass": self.nn_mass}

    @property
    def density(self) -> float:
        """Skip channels present over possible ones."""
        return self.links / self.possible_links

    @property
    def nn_mass(self) -> float:
        """Channels times density."""
        return self.channels * self.density


def judged(operation: Operation, verdict: Verdict, reason: str) -> Joint:
    """The joint of an operation, with its verdict."""
    return Joint(operation.scope, operation.kind, verdict, reason)
