"""Paths through a traced network: dependences, dominators, and the path with the most layers."""

from collections.abc import Iterator
from functools import cached_property

from nnmass.zoo.reader.operation import Operation

__all__ = ["Flow"]


class Flow:
    """The operations of a trace and their order. Sets of operations are bit sets: bit i is operation i.

    Args:
        operations: The trace, in the order in which it runs.

    Attributes:
        above: Per operation, all that its value depends on, itself included.
        users: Per operation, the operations that take its value.

    Example:
        >>> from torch import nn
        >>> from nnmass.zoo.reader.tracing import trace
        >>> Flow(trace(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 3)), (4,))).longest_path(0, 2)
        [1, 2]
    """

    def __init__(self, operations: list[Operation]) -> None:
        self.operations = operations
        self.above: list[int] = []
        self.users: list[list[int]] = [[] for _ in operations]
        for position, operation in enumerate(operations):
            bits = 1 << position
            for source in operation.inputs:
                if source >= 0:
                    bits |= self.above[source]
                    self.users[source].append(position)
            self.above.append(bits)

    def is_above(self, first: int, second: int) -> bool:
        """Return whether ``second`` depends on ``first``, or is it."""
        return bool(self.above[second] >> first & 1)

    def between(self, start: int, end: int) -> int:
        """All operations on paths from ``start`` to ``end``, both included; empty where there is no path."""
        region = 0
        for position in members(self.above[end] >> start << start):
            if self.above[position] >> start & 1:
                region |= 1 << position
        return region

    @cached_property
    def dominators(self) -> list[int]:
        """Per operation, those that every path from the input passes on its way to it, itself included."""
        dominators: list[int] = []
        for position, operation in enumerate(self.operations):
            sources = [source for source in operation.inputs if source >= 0]
            common = dominators[sources[0]] if sources else 0
            for source in sources[1:]:
                common &= dominators[source]
            dominators.append(common | 1 << position)
        return dominators

    def split(self, position: int) -> int | None:
        """The last operation that every path to ``position`` passes before it; None where there is none."""
        before = self.dominators[position] & ~(1 << position)
        return before.bit_length() - 1 if before else None

    def is_closed(self, start: int, end: int) -> bool:
        """Return whether every value computed between ``start`` and ``end`` is used there only."""
        region = self.between(start, end)
        return all(region >> user & 1 for position in members(region & ~(1 << end)) for user in self.users[position])

    def longest_path(self, start: int, end: int) -> list[int]:
        """The layers after ``start``, up to ``end``, on the path that has most; of equals, the one of most channels."""
        best: dict[int, tuple[int, int]] = {start: (0, 0)}
        came_from: dict[int, int] = {}
        for position in members(self.between(start, end) & ~(1 << start)):
            operation = self.operations[position]
            source = max((source for source in operation.inputs if source in best), key=best.__getitem__)
            layers, channels = best[source]
            is_layer = operation.kind == "layer"
            best[position] = (layers + is_layer, channels + operation.in_channels * is_layer)
            came_from[position] = source
        path, position = [], end
        while position in came_from:
            if self.operations[position].kind == "layer":
                path.append(position)
            position = came_from[position]
        return path[::-1]


def members(bits: int) -> Iterator[int]:
    """The positions in a bit set, in rising order."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
