"""A graph of ATen operators, reduced to the operations that matter to topology."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from torch import fx

from nnmass.zoo.reader import operators
from nnmass.zoo.reader.constants import Constants
from nnmass.zoo.reader.entries import Entries, shape_of
from nnmass.zoo.reader.internals import HigherOrderOperator
from nnmass.zoo.reader.operation import Kind, Operation, common_names
from nnmass.zoo.reader.operators import VIEWS, operator

__all__ = ["VIEWS", "Operation", "Reduction", "common_names"]


class Reduction:
    """The operations of one graph, in the order in which they run.

    Args:
        graph: ATen operators, marked as :class:`zoo.reader.tracing.TracedGraph` says.
        constant: What a node that stands for a parameter, a buffer or another constant holds; None for other nodes.

    Attributes:
        operations: The result.
        nodes: Of each operation, its node in the graph.
    """

    def __init__(self, graph: fx.Graph, constant: Callable[[fx.Node], Any]) -> None:
        self.operations: list[Operation] = []
        self.nodes: list[fx.Node] = []
        self._position: dict[Any, int] = {}  # of the operation that a node became
        self._pieces: dict[fx.Node, list[tuple[int, Sequence[int]]]] = {}  # (axis, entries) of a cut's outputs
        constants = Constants(constant)
        self._entries = Entries(constants)
        self._learnt: set[Any] = set()  # constants that depend on a parameter
        self._slices: dict[tuple, int] = {}  # the operation that takes these entries of that value
        self._above: list[int] = []  # per operation: bit set of all it depends on, through gates too
        self._origins: list[int] = []  # per operation: bit set of the layers and joints that it directly comes from
        for node in graph.nodes:
            if constants.is_stored(node):
                if constants.is_parameter(node):
                    self._learnt.add(node)
            elif node.op == "placeholder":
                self._add(node, "input", ())
            elif node.op == "call_function":
                self._call(node, operator(node), list(node.args))

    def _call(self, node: fx.Node, name: str, arguments: list[Any]) -> None:
        if isinstance(node.target, HigherOrderOperator):
            raise ValueError(f"the operator {name} hides layers in a branch or loop that depends on the input's values")
        sources = [argument for argument in node.all_input_nodes if argument in self._position]
        inputs = tuple(self._position[source] for source in sources)
        if not sources or name in operators.FILLS:
            if name not in operators.FILLS and any(argument in self._learnt for argument in node.all_input_nodes):
                self._learnt.add(node)
        elif operators.is_foreign(name):
            self._add(node, "unknown", inputs)
        elif name == "getitem" and sources[0] in self._pieces:
            axis, taken = self._pieces[sources[0]][arguments[1]]
            self._slice(node, inputs[0], axis, taken)
        elif name in operators.CUTS:
            self._cut(node, inputs[0], self._axis(node, arguments, 1 if name == "unbind" else 2, inputs[0]))
        elif name in operators.CONVOLUTIONS and arguments[0] in self._position:
            self._convolve(node, arguments, name)
        elif name in operators.PRODUCTS:
            added = self._position.get(arguments[0]) if 0 not in operators.PRODUCTS[name] else None
            factors = [arguments[factor] for factor in operators.PRODUCTS[name]]
            if not any(factor in self._position for factor in factors):
                self._add(node, "other", inputs)
            else:
                self._multiply(node, name, factors)
                if added is not None:
                    self._add(node, "addition", (added, self._position[node]))
        elif name in operators.ATTENTION:
            self._add(node, "product", inputs)
        elif name in operators.WRITES:
            self._write(node, name, arguments, inputs)
        elif name in operators.SELECTIONS and len(sources) == 1 and arguments[0] in self._position:
            axis, taken = self._entries.selected(node, name, arguments, self.operations[inputs[0]].shape)
            if taken is None:
                self._add(node, "other", inputs)
            elif name == "select" and self.operations[inputs[0]].shape[axis] == 1:
                self._add(node, "other", inputs, rearranges=False, is_view=True)
            else:
                self._slice(node, inputs[0], axis, taken)
        else:
            self._combine(node, name, arguments, inputs)

    def _combine(self, node: fx.Node, name: str, arguments: list[Any], inputs: tuple[int, ...]) -> None:
        """An operator that joins values, scales one by another, or works on one."""
        if name == "cat" and sum(part in self._position for part in arguments[0]) > 1:
            parts = tuple(self._position.get(part, -1) for part in arguments[0])
            self._add(node, "concatenation", parts, axis=self._axis(node, arguments, 1, inputs[0]))
        elif name == "stack" and len(inputs) > 1:
            self._add(node, "stack", inputs)
        elif name in operators.ADDITIONS and len(inputs) == 2:
            self._add(node, "addition", inputs)
        elif name in operators.SCALED_ADDITIONS:
            self._add_up(node, [arguments[:1], arguments[1:3]])
        elif name == "lerp":
            self._add_up(node, [[arguments[0], arguments[2]], [arguments[1], arguments[2]]])
        elif name in operators.SCALINGS and len(inputs) == 2:
            self._add(node, "other", self._signal(*inputs))
        elif name == "mul" and (zeroed := self._zeroed(node, arguments)) is not None:
            self._add(node, "other", (inputs[0], -1), axis=zeroed[0], written=tuple(zeroed[1]))
        elif name == "where":
            branches = dict.fromkeys(self._position[part] for part in arguments[1:] if part in self._position)
            self._join(node, tuple(branches) or inputs)
        elif name in operators.LED_BY_FIRST and arguments[0] in self._position:
            self._add(node, "other", (self._position[arguments[0]],))
        elif name in operators.COMPARISONS:
            self._add(node, "other", inputs)
        else:
            self._join(node, inputs)

    def _join(self, node: fx.Node, inputs: tuple[int, ...]) -> None:
        """An operator that no table calls a joint: harmless only where its values come from the same layers."""
        unknown = len({self._origins[source] for source in inputs}) > 1
        weighted = not operators.is_known(node) and any(
            argument in self._learnt and len(shape_of(argument)) > 1 for argument in node.all_input_nodes
        )
        self._add(node, "unknown" if unknown or weighted else "other", inputs)

    def _add(self, node: fx.Node, kind: Kind, inputs: tuple[int, ...], **more: Any) -> None:
        name, position = operator(node), len(self.operations)
        shape = shape_of(node)
        if kind == "other" and len(inputs) == 1:
            more = {**operators.effect(node, self.operations[inputs[0]].shape, shape), **more}
        bits = 1 << position
        for argument in node.all_input_nodes:
            if argument in self._position:
                bits |= self._above[self._position[argument]]
        self._above.append(bits)
        origins = 0
        for source in inputs if kind in ("other", "slice") else ():
            origins |= self._origins[source] if source >= 0 else 0
        self._origins.append(origins or 1 << position)
        self._position[node] = position
        self.nodes.append(node)
        place = {"scope": node.meta.get("scope", ""), "cell": node.meta.get("cell"), "operator": name}
        self.operations.append(Operation(kind, inputs, shape, **place, **more))

    def _add_up(self, node: fx.Node, terms: list[list[Any]]) -> None:
        """A sum of products: an addition of those terms that depend on the input, of each its signal."""
        found: list[int] = []
        for factors in terms:
            values = tuple(dict.fromkeys(self._position[part] for part in factors if part in self._position))
            values = self._signal(*values) if len(values) == 2 else values
            if len(values) == 2:
                self._add(node, "other", values)
                values = (self._position[node],)
            found += values
        if len(set(found)) == 2:
            self._add(node, "addition", (found[0], found[1]))
        else:
            self._add(node, "other", (found[0],))

    def _axis(self, node: fx.Node, arguments: list[Any], place: int, source: int) -> int:
        axis: Any = arguments[place] if len(arguments) > place else node.kwargs.get("dim", 0)
        return axis % len(self.operations[source].shape)

    def _convolve(self, node: fx.Node, arguments: list[Any], name: str) -> None:
        """A convolution: a layer where its weight is learnt or computed from the input; a fixed filter otherwise."""
        position, weight = self._position[arguments[0]], arguments[1]
        channels = self.operations[position].shape[1]
        transposed = "transpose" in name or (name == "convolution" and arguments[6])
        depthwise = not transposed and channels > 1 and shape_of(weight)[1] == 1
        if weight in self._learnt or weight in self._position:
            self._add(node, "layer", (position,), in_channels=channels, is_convolution=True, depthwise=depthwise)
        elif depthwise:
            same = self.operations[position].shape == shape_of(node)
            self._add(node, "other", (position,), keeps_channels=same)
        else:
            matrix = None if transposed else self._entries.filter_matrix(weight)
            self._multiply_by_constant(node, position, matrix, 1)

    def _multiply(self, node: fx.Node, name: str, factors: list[Any]) -> None:
        """A matrix product: of two values, of a value and learnt weights, or of a value and something else."""
        left, right = factors
        inputs = tuple(dict.fromkeys(self._position[factor] for factor in factors if factor in self._position))
        if left in self._position and right in self._position:
            self._add(node, "product", inputs)
        elif left in self._position and right in self._learnt:
            self._add(node, "layer", (self._position[left],), in_channels=shape_of(left)[-1])
        elif right in self._position and left in self._learnt:
            self._add(node, "layer", (self._position[right],), in_channels=shape_of(right)[-2:][0])
        else:
            on_the_right = left in self._position
            factor = self._entries.factor_matrix(right if on_the_right else left, on_the_right == (name == "linear"))
            dimensions = len(self.operations[inputs[0]].shape)
            self._multiply_by_constant(node, inputs[0], factor, dimensions - (1 if on_the_right else 2))

    def _multiply_by_constant(self, node: fx.Node, source: int, matrix: np.ndarray | None, axis: int) -> None:
        """A product along ``axis`` with a fixed matrix, (entries, results): a slice where each result is one entry."""
        shape, chosen = self.operations[source].shape, self._entries.chosen_by(matrix)
        if (
            matrix is not None
            and chosen is not None
            and len(matrix) == shape[axis]
            and shape_of(node) == (*shape[:axis], len(chosen), *shape[axis + 1 :])
        ):
            self._slice(node, source, axis, chosen)
        else:
            self._add(node, "other", (source,), mixes=True, rearranges=True)

    def _zeroed(self, node: fx.Node, arguments: list[Any]) -> tuple[int, list[int]] | None:
        """The dimension along which a fixed factor takes entries out, and these; None where it takes none out."""
        factor = next((part for part in arguments[:2] if part not in self._position), None)
        return None if factor in self._learnt else self._entries.zeroed(factor, len(shape_of(node)))

    def _signal(self, first: int, second: int) -> tuple[int, ...]:
        """The operand that a product scales; both, where neither is the other's gate."""
        first_size, second_size = (prod(self.operations[operand].shape) for operand in (first, second))
        if first_size != second_size:
            return (first if first_size > second_size else second,)
        if self._above[second] >> first & 1:
            return (first,)
        return (second,) if self._above[first] >> second & 1 else (first, second)

    def _cut(self, node: fx.Node, source: int, axis: int) -> None:
        """A node with several outputs, each some entries along one dimension; only its items become operations."""
        start = 0
        pieces: list[tuple[int, Sequence[int]]] = []
        for piece in node.meta["val"]:
            size = piece.shape[axis] if piece.ndim == len(self.operations[source].shape) else 1
            pieces.append((axis, range(start, start + size)))
            start += size
        self._pieces[node] = pieces
        self._position[node] = source

    def _slice(self, node: fx.Node, source: int, axis: int, taken: Sequence[int]) -> None:
        """The same entries, taken twice, are one value; those of one part of a buffer are that part's."""
        while (part := self._part(source, axis, taken)) is not None:
            source, taken = part
            if source < 0:
                return  # a constant
        shape = self.operations[source].shape
        key = (source, axis, tuple(taken), shape_of(node))
        if key in self._slices:
            self._position[node] = self._slices[key]
        elif list(taken) == list(range(shape[axis])) and shape_of(node) == shape:
            self._position[node] = source
        else:
            self._add(node, "slice", (source,), axis=axis, taken=tuple(taken))
            self._slices[key] = self._position[node]

    def _part(self, source: int, axis: int, taken: Sequence[int]) -> tuple[int, list[int]] | None:
        """The one part that these entries of something written or concatenated lie in, and their places there."""
        operation = self.operations[source]
        if operation.axis != axis or not taken:
            return None
        if operation.written:
            places = {entry: place for place, entry in enumerate(operation.written)}
            if all(entry in places for entry in taken):
                return operation.inputs[1], [places[entry] for entry in taken]
            return None if any(entry in places for entry in taken) else (operation.inputs[0], list(taken))
        if operation.kind != "concatenation" or axis > 0 or -1 in operation.inputs:
            return None
        start = 0
        for part in operation.inputs:  # of a batch
            end = start + self.operations[part].shape[axis]
            if all(start <= entry < end for entry in taken):
                return part, [entry - start for entry in taken]
            start = end
        return None

    def _write(self, node: fx.Node, name: str, arguments: list[Any], inputs: tuple[int, ...]) -> None:
        """A value that takes the place of entries of another one: of its only operand that depends on the input, if so.

        Writing to all places leaves what was written; scattered writes are joints that nobody judges.
        """
        base, source = arguments[0], arguments[2 if name == "index_put" else 3 if name == "index_copy" else 1]
        shape = shape_of(base)
        axis, taken = self._entries.written(node, name, arguments, shape)
        whole = name == "copy" or (taken is not None and list(taken) == list(range(shape[axis])))
        expected = shape if whole or taken is None else (*shape[:axis], len(taken), *shape[axis + 1 :])
        written = self._viewed(self._position.get(source, -1), expected)
        fits = written < 0 or self.operations[written].shape == expected
        parts = (self._position.get(base, -1), written)
        if whole and fits:
            if written >= 0:
                self._position[node] = written
        elif name == "copy":
            self._add(node, "other", (written,))
        elif taken is not None and fits and len(set(taken)) == len(taken):
            if parts != (-1, -1):
                self._add(node, "other" if -1 in parts else "concatenation", parts, axis=axis, written=tuple(taken))
        elif name == "select_scatter" and -1 not in parts:
            self._add(node, "stack", inputs)
        else:
            self._join(node, inputs)

    def _viewed(self, position: int, shape: tuple[int, ...]) -> int:
        """The value that another one is a view of, where it has the wanted shape."""
        operation = self.operations[position]
        if position >= 0 and operation.is_view and self.operations[operation.inputs[0]].shape == shape:
            return operation.inputs[0]
        return position
