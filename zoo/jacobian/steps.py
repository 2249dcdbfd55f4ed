"""Steps through a traced graph: from one value to the next through one activation, normalisation or padding."""

import heapq
from collections.abc import Sequence

from torch import fx

from nnmass.zoo.jacobian.graph import BatchGraph, operator_name, reduced
from nnmass.zoo.jacobian.operators import (
    ACTIVATIONS,
    ALONG,
    CUTS,
    MOVES,
    NORMS,
    ORDERS,
    PADDING,
    REDUCTIONS,
    WRITES,
    dimension,
    is_nonlinear,
    is_tensor,
    pools_channels,
)
from nnmass.zoo.reader.entries import shape_of
from nnmass.zoo.reader.operations import VIEWS
from nnmass.zoo.reader.operators import is_pointwise

__all__ = ["Steps"]


class Steps:
    """Activations, normalisations and paddings of a graph, of however many operators each.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: BatchGraph) -> None:
        self.graph = graph
        self._known: dict[tuple[fx.Node, bool], list[fx.Node]] = {}

    def after(self, start: fx.Node, tokens: bool) -> list[fx.Node]:
        """The fewest nodes after ``start`` that alone use its value and whose last has its shape; none if none do.

        An activation may also take the value in another order, of which the singular values know nothing.
        """
        if (start, tokens) not in self._known:
            found = self._find_step(start, tokens)
            self._known[start, tokens] = found or self._find_rearranged(start, tokens)
        return self._known[start, tokens]

    def _find_rearranged(self, start: fx.Node, tokens: bool) -> list[fx.Node]:
        moved, orders = [start], {*ORDERS, *VIEWS, "clone"}
        while len(moved[-1].users) == 1 and operator_name(user := next(iter(moved[-1].users))) in orders:
            moved.append(user)
        step = self._find_step(moved[-1], False) if len(moved) > 1 else []
        if not step or not is_nonlinear(step):
            return []
        if tokens:  # of which each has its features in the last dimension, as long as no constant says which is which
            others = [source for node in step for source in node.all_input_nodes if source not in self.graph.data]
            is_kept = all(max(shape_of(other), default=1) == 1 for other in others)
        else:
            rows, moved_rows = self.graph.rows(start), self.graph.rows(step[-1])
            is_kept = rows is not None and moved_rows is not None and rows[1] == moved_rows[1]
        return [*moved[1:], *step] if is_kept else []

    def _find_step(self, start: fx.Node, tokens: bool) -> list[fx.Node]:
        index, nodes = self.graph.index, self.graph.nodes
        inside: list[fx.Node] = []
        known, waiting = {start}, sorted({index[user] for user in start.users})
        while waiting:
            node = nodes[heapq.heappop(waiting)]
            if node in known:
                continue
            if not all(source in known for source in self.graph.sources(node)):
                return []
            only = not any(nodes[other] is not node for other in waiting)
            if not self._belongs(node, tokens, not inside and only):
                return []
            inside.append(node)
            known.add(node)
            if only and is_tensor(node):
                if self._has_shape(node, start, inside, tokens):
                    return inside
                if shape_of(node) == shape_of(start) and (tokens or self._axis(node) == self._axis(start)):
                    return []  # channels in another order
            for user in node.users:
                heapq.heappush(waiting, index[user])
        return []

    def before(self, end: fx.Node, taken: set[fx.Node], tokens: bool) -> fx.Node | None:
        """The nearest value before ``end`` from which one activation, normalisation or padding leads there alone."""
        inside: list[fx.Node] = []
        needed = {end}
        while needed:
            node = max(needed, key=self.graph.index.__getitem__)
            if len(needed) == 1 and inside and is_tensor(node):
                if self._has_shape(end, node, inside, tokens) or (not tokens and self._is_padding(node, end, inside)):
                    return node
                if shape_of(node) == shape_of(end) and not {operator_name(one) for one in inside} & WRITES:
                    return None  # channels in another order
            moves = not tokens and operator_name(node) in {*PADDING, *WRITES}
            alone = len(needed) == 1 and len(inside) < 2
            if node in taken or not (moves or self._belongs(node, tokens, alone)):
                return None
            inside.append(node)
            needed = needed - {node} | set(self.graph.sources(node))
        return None

    def keeps_channels(self, node: fx.Node) -> bool:
        """Return whether channel k of a node's value is channel k of its one input, activated or normalised."""
        operation = self.graph.operations.get(node)
        return operation is not None and operation.keeps_channels and len(self.graph.sources(node)) == 1

    def pads(self, node: fx.Node) -> bool:
        """Return whether a node pads its input, or writes it into a larger buffer."""
        written = {operator_name(user) for user in node.users}
        name = operator_name(node)
        return name in PADDING or name in ("copy", "slice_scatter") or (name == "slice" and written <= {"copy"})

    def _belongs(self, node: fx.Node, tokens: bool, alone: bool) -> bool:
        """Return whether a node may be part of an activation or normalisation of a value."""
        name = operator_name(node)
        if node.op != "call_function" or self.graph.is_layer(node):
            return False
        if tokens:
            return self._treats_tokens_alone(node, name)
        if is_pointwise(node) or name in ACTIVATIONS:
            return True
        if name in NORMS:
            training = "batch_norm" in name and any(argument is True for argument in node.args[3:6])
            return not training or self._axis(self.graph.sources(node)[0]) == 1  # an instance norm's trick
        if name in ALONG:
            rows, dimensions = self.graph.rows(node), len(shape_of(node))
            return rows is not None and dimension(node, name) % dimensions != rows[0]
        if name in {*REDUCTIONS, *MOVES, *PADDING} or pools_channels(node, name):
            return name in ("getitem", "empty_like") or not is_tensor(node) or self.graph.rows(node) is not None
        return alone and self.keeps_channels(node)

    def _axis(self, node: fx.Node) -> int | None:
        rows = self.graph.rows(node)
        return None if rows is None else rows[0]

    def _without_samples(self, node: fx.Node) -> tuple[int, ...]:
        """A value's shape without the dimension of the samples, if it has one."""
        axis, shape = self._axis(node), shape_of(node)
        return shape if axis is None else shape[:axis] + shape[axis + 1 :]

    def _treats_tokens_alone(self, node: fx.Node, name: str) -> bool:
        """Return whether a node takes only what one token holds, its last dimension."""
        others = [source for source in node.all_input_nodes if source not in self.graph.data]
        last = len(shape_of(self.graph.sources(node)[0])) - 1
        if any(len(shape_of(other)) > 1 and max(shape_of(other)[:-1]) > 1 for other in others):
            return False
        if is_pointwise(node) or name in ACTIVATIONS or name in ("getitem", "clone"):
            return True
        if name in ("native_layer_norm", "_fused_rms_norm"):
            return len(node.args[1]) == 1  # type: ignore[arg-type]
        if name in REDUCTIONS:
            kept = len(shape_of(node)) == last + 1
            return kept and [axis % (last + 1) for axis in reduced(node) or ()] == [last]
        if name in {*ALONG, *CUTS} - {"select", "unbind"}:
            return dimension(node, name) in (last, -1)
        return False

    def _has_shape(self, end: fx.Node, start: fx.Node, inside: Sequence[fx.Node], tokens: bool) -> bool:
        """Return whether this is an activation or normalisation: it keeps the shape, or halves the channels (GLU)."""
        names = {operator_name(node) for node in inside}
        if names <= {*MOVES, *PADDING, *WRITES} or not end.meta["val"].is_floating_point():  # such as a comparison
            return False
        ours, theirs = shape_of(start), shape_of(end)
        if not tokens:  # samples may have moved
            ours, theirs = self._without_samples(start), self._without_samples(end)
        if ours == theirs:
            return True
        halved = [(one, other) for one, other in zip(ours, theirs, strict=False) if one != other]
        gated = names & {"glu", *CUTS}
        return bool(gated) and len(ours) == len(theirs) and len(halved) == 1 and halved[0][0] == 2 * halved[0][1]

    def _is_padding(self, start: fx.Node, end: fx.Node, inside: Sequence[fx.Node]) -> bool:
        """Return whether a value is the other with more around it, made by copies alone."""
        names = {operator_name(node) for node in inside}
        ours, theirs = shape_of(start), shape_of(end)
        if not names <= {*MOVES, *PADDING, *WRITES} or len(ours) != len(theirs) or len(ours) < 3:
            return False
        if names <= PADDING:
            return True
        return ours[:2] == theirs[:2] and ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))
