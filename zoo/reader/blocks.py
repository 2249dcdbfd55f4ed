"""What the reader finds: joints, which are additions and concatenations with a verdict, and blocks that hold skips."""

from dataclasses import dataclass
from typing import Literal

from zoo.reader.operations import Operation

__all__ = ["Block", "Joint", "Verdict", "judged"]

Verdict = Literal["skip", "not a skip", "not judged"]


@dataclass(frozen=True)
class Joint:
    """One addition or concatenation, and what was made of it.

    Attributes:
        scope: Dotted name of the module that ran it.
        operation: ``addition``, ``concatenation`` or ``stack``.
        verdict: Whether it closes a skip connection, or why that cannot be told.
        reason: What kind of skip it is, or why it is none.
    """

    scope: str
    operation: str
    verdict: Verdict
    reason: str


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
    """

    scope: str
    kind: Literal["addition", "concatenation"]
    layers: int
    channels: float
    links: int
    possible_links: int

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
