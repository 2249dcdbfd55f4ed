"""Record of the operations read off a graph, with what each of them depends on."""

from math import prod
from typing import Any

from torch import fx

from nnmass.zoo.reader import operators
from nnmass.zoo.reader.entries import shape_of
from nnmass.zoo.reader.operation import Kind, Operation

__all__ = ["Record"]


class Record:
    """Operations in the order in which they run, recorded while a graph is read.

    Attributes:
        operations: The operations so far.
        nodes: Of each operation, its node in the graph.
        position: Of each node that depends on the input, the position of the operation that has its value.
        learnt: Constants that are parameters or depend on one.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.nodes: list[fx.Node] = []
        self.position: dict[Any, int] = {}
        self.learnt: set[Any] = set()
        self._above: list[int] = []  # per operation: bit set of all it depends on, through gates too
        self._origins: list[int] = []  # per operation: bit set of the layers and joints that it directly comes from

    def shape(self, position: int) -> tuple[int, ...]:
        """Shape of an operation's value."""
        return self.operations[position].shape

    def add(self, node: fx.Node, kind: Kind, inputs: tuple[int, ...], **more: Any) -> None:
        """Record an operation as the one that has a node's value.

        Args:
            node: The node.
            kind: Kind of the operation.
            inputs: Positions of the operations whose values it takes.
            more: Other fields of :class:`zoo.reader.operation.Operation`.
        """
        position, shape = len(self.operations), shape_of(node)
        if kind == "other" and len(inputs) == 1:
            more = {**operators.effect(node, self.shape(inputs[0]), shape), **more}
        bits = 1 << position
        for argument in node.all_input_nodes:
            if argument in self.position:
                bits |= self._above[self.position[argument]]
        self._above.append(bits)
        origins = 0
        for source in inputs if kind in ("other", "slice") else ():
            origins |= self._origins[source] if source >= 0 else 0
        self._origins.append(origins or 1 << position)
        self.position[node] = position
        self.nodes.append(node)
        scope, cell = node.meta.get("scope", ""), node.meta.get("cell")
        name = operators.operator(node)
        self.operations.append(Operation(kind, inputs, shape, scope=scope, cell=cell, operator=name, **more))

    def join(self, node: fx.Node, inputs: tuple[int, ...]) -> None:
        """Record an operator that no table calls a joint: harmless only where its values come from the same layers."""
        unknown = len({self._origins[source] for source in inputs}) > 1
        weighted = not operators.is_known(node) and any(
            argument in self.learnt and len(shape_of(argument)) > 1 for argument in node.all_input_nodes
        )
        self.add(node, "unknown" if unknown or weighted else "other", inputs)

    def signal(self, first: int, second: int) -> tuple[int, ...]:
        """The operand that a product scales; both, where neither is the other's gate."""
        first_size, second_size = (prod(self.shape(operand)) for operand in (first, second))
        if first_size != second_size:
            return (first if first_size > second_size else second,)
        if self._above[second] >> first & 1:
            return (first,)
        return (second,) if self._above[first] >> second & 1 else (first, second)
