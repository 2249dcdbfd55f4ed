"""A graph of ATen operators, reduced to the operations that matter to topology."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import fx

from nnmass.zoo.reader import operators
from nnmass.zoo.reader.constants import Constants
from nnmass.zoo.reader.entries import Entries, shape_of
from nnmass.zoo.reader.internals import HigherOrderOperator
from nnmass.zoo.reader.operation import Operation, common_names
from nnmass.zoo.reader.operators import VIEWS, operator
from nnmass.zoo.reader.parts import Parts
from nnmass.zoo.reader.record import Record

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
        constants = Constants(constant)
        self._entries = Entries(constants)
        self._record = Record()
        self._parts = Parts(self._record, self._entries)
        self.operations, self.nodes = self._record.operations, self._record.nodes
        self._position, self._learnt = self._record.position, self._record.learnt
        for node in graph.nodes:
            if constants.is_stored(node):
                if constants.is_parameter(node):
                    self._learnt.add(node)
            elif node.op == "placeholder":
                self._record.add(node, "input", ())
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
            self._record.add(node, "unknown", inputs)
        elif name == "getitem" and self._parts.is_cut(sources[0]):
            self._parts.take_piece(node, sources[0], arguments[1])
        elif name in operators.CUTS:
            self._parts.cut(node, inputs[0], self._axis(node, arguments, 1 if name == "unbind" else 2, inputs[0]))
        elif name in operators.CONVOLUTIONS and arguments[0] in self._position:
            self._convolve(node, arguments, name)
        elif name in operators.PRODUCTS:
            added = self._position.get(arguments[0]) if 0 not in operators.PRODUCTS[name] else None
            factors = [arguments[factor] for factor in operators.PRODUCTS[name]]
            if not any(factor in self._position for factor in factors):
                self._record.add(node, "other", inputs)
            else:
                self._multiply(node, name, factors)
                if added is not None:
                    self._record.add(node, "addition", (added, self._position[node]))
        elif name in operators.ATTENTION:
            self._record.add(node, "product", inputs)
        elif name in operators.WRITES:
            self._parts.write(node, name, arguments, inputs)
        elif name in operators.SELECTIONS and len(sources) == 1 and arguments[0] in self._position:
            axis, taken = self._entries.selected(node, name, arguments, self._record.shape(inputs[0]))
            if taken is None:
                self._record.add(node, "other", inputs)
            elif name == "select" and self._record.shape(inputs[0])[axis] == 1:
                self._record.add(node, "other", inputs, rearranges=False, is_view=True)
            else:
                self._parts.take(node, inputs[0], axis, taken)
        else:
            self._combine(node, name, arguments, inputs)

    def _combine(self, node: fx.Node, name: str, arguments: list[Any], inputs: tuple[int, ...]) -> None:
        """Record an operator that joins values, scales one by another, or works on one."""
        if name == "cat" and sum(part in self._position for part in arguments[0]) > 1:
            parts = tuple(self._position.get(part, -1) for part in arguments[0])
            self._record.add(node, "concatenation", parts, axis=self._axis(node, arguments, 1, inputs[0]))
        elif name == "stack" and len(inputs) > 1:
            self._record.add(node, "stack", inputs)
        elif name in operators.ADDITIONS and len(inputs) == 2:
            self._record.add(node, "addition", inputs)
        elif name in operators.SCALED_ADDITIONS:
            self._add_up(node, [arguments[:1], arguments[1:3]])
        elif name == "lerp":
            self._add_up(node, [[arguments[0], arguments[2]], [arguments[1], arguments[2]]])
        elif name in operators.SCALINGS and len(inputs) == 2:
            self._record.add(node, "other", self._record.signal(*inputs))
        elif name == "mul" and (zeroed := self._zeroed(node, arguments)) is not None:
            self._record.add(node, "other", (inputs[0], -1), axis=zeroed[0], written=tuple(zeroed[1]))
        elif name == "where":
            branches = dict.fromkeys(self._position[part] for part in arguments[1:] if part in self._position)
            self._record.join(node, tuple(branches) or inputs)
        elif name in operators.LED_BY_FIRST and arguments[0] in self._position:
            self._record.add(node, "other", (self._position[arguments[0]],))
        elif name in operators.COMPARISONS:
            self._record.add(node, "other", inputs)
        else:
            self._record.join(node, inputs)

    def _add_up(self, node: fx.Node, terms: list[list[Any]]) -> None:
        """Record a sum of products: an addition of those terms that depend on the input, of each its signal."""
        positions: list[int] = []
        for factors in terms:
            values = tuple(dict.fromkeys(self._position[part] for part in factors if part in self._position))
            values = self._record.signal(*values) if len(values) == 2 else values
            if len(values) == 2:
                self._record.add(node, "other", values)
                values = (self._position[node],)
            positions += values
        if len(set(positions)) == 2:
            self._record.add(node, "addition", (positions[0], positions[1]))
        else:
            self._record.add(node, "other", (positions[0],))

    def _axis(self, node: fx.Node, arguments: list[Any], index: int, source: int) -> int:
        axis: Any = arguments[index] if len(arguments) > index else node.kwargs.get("dim", 0)
        return axis % len(self._record.shape(source))

    def _convolve(self, node: fx.Node, arguments: list[Any], name: str) -> None:
        """Record a convolution: a layer if its weight is learnt or computed from the input, else a fixed filter."""
        position, weight = self._position[arguments[0]], arguments[1]
        channels = self._record.shape(position)[1]
        transposed = "transpose" in name or (name == "convolution" and arguments[6])
        depthwise = not transposed and channels > 1 and shape_of(weight)[1] == 1
        if weight in self._learnt or weight in self._position:
            self._record.add(node, "layer", (position,), in_channels=channels, is_convolution=True, depthwise=depthwise)
        elif depthwise:
            same = self._record.shape(position) == shape_of(node)
            self._record.add(node, "other", (position,), keeps_channels=same)
        else:
            matrix = None if transposed else self._entries.filter_matrix(weight)
            self._multiply_by_constant(node, position, matrix, 1)

    def _multiply(self, node: fx.Node, name: str, factors: list[Any]) -> None:
        """Record a matrix product: of two values, of a value and learnt weights, or of a value and something else."""
        left, right = factors
        inputs = tuple(dict.fromkeys(self._position[factor] for factor in factors if factor in self._position))
        if left in self._position and right in self._position:
            self._record.add(node, "product", inputs)
        elif left in self._position and right in self._learnt:
            self._record.add(node, "layer", (self._position[left],), in_channels=shape_of(left)[-1])
        elif right in self._position and left in self._learnt:
            self._record.add(node, "layer", (self._position[right],), in_channels=shape_of(right)[-2:][0])
        else:
            on_the_right = left in self._position
            factor = self._entries.factor_matrix(right if on_the_right else left, on_the_right == (name == "linear"))
            dimensions = len(self._record.shape(inputs[0]))
            self._multiply_by_constant(node, inputs[0], factor, dimensions - (1 if on_the_right else 2))

    def _multiply_by_constant(self, node: fx.Node, source: int, matrix: np.ndarray | None, axis: int) -> None:
        """Record a product along ``axis`` by a fixed matrix (entries, results): a slice if each result is one entry."""
        shape, chosen = self._record.shape(source), self._entries.chosen_by(matrix)
        if (
            matrix is not None
            and chosen is not None
            and len(matrix) == shape[axis]
            and shape_of(node) == (*shape[:axis], len(chosen), *shape[axis + 1 :])
        ):
            self._parts.take(node, source, axis, chosen)
        else:
            self._record.add(node, "other", (source,), mixes=True, rearranges=True)

    def _zeroed(self, node: fx.Node, arguments: list[Any]) -> tuple[int, list[int]] | None:
        """The dimension along which a fixed factor takes entries out, and these; None where it takes none out."""
        factor = next((part for part in arguments[:2] if part not in self._position), None)
        return None if factor in self._learnt else self._entries.zeroed(factor, len(shape_of(node)))
