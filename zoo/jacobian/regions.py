"""Where a layer begins and ends in a traced graph: its activations, normalisations and padding."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import fx

from nnmass.zoo.jacobian.graph import BatchGraph, operator_name, reduced, shape_of
from nnmass.zoo.jacobian.operators import (
    ACTIVATIONS,
    ALONG,
    CUTS,
    MOVES,
    NORMS,
    PADDING,
    REDUCTIONS,
    RESHAPING,
    WRITES,
    dimension,
    is_pointwise,
    is_tensor,
    pools_channels,
)
from nnmass.zoo.reader.operations import VIEWS, common_names

__all__ = ["Span", "between", "shares_weights", "spans_of"]


@dataclass(frozen=True)
class Span:
    """Where a layer lies in the graph.

    Attributes:
        name: Dotted name of the module with the weights.
        entering: The node of what enters it, which is none of its own.
        weighted: The node that applies the weights.
        leaving: Its last node.
        tokens: Whether its samples are tokens, the rows of a linear layer, which its other nodes have in their images.
    """

    name: str
    entering: fx.Node
    weighted: fx.Node
    leaving: fx.Node
    tokens: bool

    @cached_property
    def nodes(self) -> list[fx.Node]:
        """Everything on the way from ``entering`` to ``leaving``, in order."""
        return between(self.entering, self.leaving)


def between(start: fx.Node, end: fx.Node) -> list[fx.Node]:
    """The nodes that depend on ``start`` and that ``end`` depends on, in order; ``end`` too, unless it is ``start``."""
    dependent, node = {start: None}, start  # a dict, because it keeps the order
    while node is not end:
        node = node.next
        if any(argument in dependent for argument in node.all_input_nodes):
            dependent[node] = None
    needed = {end}
    for node in reversed(dependent):
        if node in needed:
            needed.update(node.all_input_nodes)
    return [node for node in dependent if node in needed and node is not start]


def spans_of(graph: BatchGraph) -> list[Span]:
    """Give every activation, normalisation and padding to a layer, in the order in which the layers run.

    From the operator with the weights on, a layer takes what depends on its value and on nothing else, as long as what
    comes out has its shape and nothing else uses what lies between (a region of one entry and one exit); backward
    from the operator, padding, and activations and normalisations that follow no layer.
    """
    regions = _Regions(graph)
    ends = {layer: regions.after(layer) for layer, _, _ in graph.layers}
    taken = {node for layer, (end, _) in ends.items() for node in [layer, *between(layer, end)]}
    spans = []
    for layer, operand, operation in graph.layers:
        entering, before = regions.before(operand, taken, not operation.is_convolution)
        end, after = ends[layer]
        tokens = before or after or shares_weights(layer)
        spans.append(Span(operation.scope, entering, layer, end, tokens))
    return spans


def shares_weights(layer: fx.Node) -> bool:
    """Whether a layer multiplies a batch of matrices, whose rows are tokens, by one and the same matrix of weights."""
    if operator_name(layer) != "bmm":
        return False
    weights: fx.Node = layer.args[1]  # type: ignore[assignment]
    if shape_of(weights)[0] == 1:
        return True
    while operator_name(weights) in {*RESHAPING, "permute", "t", "transpose", "clone", "_to_copy"}:
        (source,) = weights.all_input_nodes
        if operator_name(weights) == "expand" and shape_of(source)[:-2] in ((), (1,) * len(shape_of(source)[:-2])):
            return True
        weights = source
    return False


class _Regions:
    """Steps from a value to the next through one activation or normalisation, of however many operators."""

    def __init__(self, graph: BatchGraph) -> None:
        self.graph = graph
        self._steps: dict[tuple[fx.Node, bool], list[fx.Node]] = {}

    def after(self, layer: fx.Node) -> tuple[fx.Node, bool]:
        """The last node of a layer, and whether its samples are tokens.

        What stands in a module that is closer to the next layer's is left to that one.
        """
        end, scope = layer, self.graph.operations[layer].scope
        undone = self._undone(layer)
        tokens = undone is not None and self._is_own(self._step(undone, True), scope)
        if undone is not None and tokens:
            end = undone
        while self._is_own(step := self._step(end, tokens), scope):
            end = step[-1]
        return end, tokens

    def before(self, operand: fx.Node, taken: set[fx.Node], linear: bool) -> tuple[fx.Node, bool]:
        """What enters a layer whose weights are applied to ``operand``, and whether its samples are tokens."""
        first = operand
        source = operand
        while linear and operator_name(source) in RESHAPING and source not in taken:
            (earlier,) = self.graph.sources(source)
            if len(shape_of(earlier)) < 3 or shape_of(earlier)[-1] != shape_of(operand)[-1]:
                break
            source = earlier
        if source is not operand:
            first = self._back(source, taken, True)
            return (operand, False) if first is source else (first, True)
        return self._back(operand, taken, False), False

    def _back(self, value: fx.Node, taken: set[fx.Node], tokens: bool) -> fx.Node:
        while (earlier := self._step_back(value, taken, tokens)) is not None:
            value = earlier
        return value

    def _undone(self, layer: fx.Node) -> fx.Node | None:
        """The value of a linear layer with its rows, the tokens, put back into their images; None without tokens."""
        ours, users = shape_of(layer), list(layer.users)
        if self.graph.operations[layer].is_convolution:
            return None
        if len(users) == 1 and operator_name(users[0]) in VIEWS:
            undone = shape_of(users[0])
            if len(undone) > 2 and undone[-1] == ours[-1]:
                return users[0]
        return layer if shares_weights(layer) else None

    def _is_own(self, step: Sequence[fx.Node], scope: str) -> bool:
        """Whether there is a step, and no module of a layer behind it is closer than this layer's."""
        if not step:
            return False
        names = common_names(node.meta.get("scope", "") for node in step)
        own = len(common_names((".".join(names), scope)))
        return all(len(common_names((".".join(names), other))) <= own for other in self._layers_after(step[-1]))

    def _layers_after(self, value: fx.Node) -> set[str]:
        """The modules of the layers that a value reaches through activations, normalisations and padding only."""
        found, waiting, seen = set(), [value], {value}
        while waiting:
            current = waiting.pop()
            reached = list(self._step(current, False)[-1:])
            for user in current.users:
                if self.graph.is_layer(user):
                    found.add(self.graph.operations[user].scope)
                elif self._keeps_channels(user) or self._pads(user):
                    reached.append(user)
            waiting += [node for node in reached if node not in seen]
            seen.update(reached)
        return found

    def _pads(self, node: fx.Node) -> bool:
        written = {operator_name(user) for user in node.users}
        name = operator_name(node)
        return name in PADDING or name in ("copy", "slice_scatter") or (name == "slice" and written <= {"copy"})

    def _step(self, start: fx.Node, tokens: bool) -> list[fx.Node]:
        """The fewest nodes after ``start`` that alone use its value and whose last has its shape; none if none do."""
        if (start, tokens) not in self._steps:
            self._steps[start, tokens] = self._find_step(start, tokens)
        return self._steps[start, tokens]

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
            only = not any(nodes[place] is not node for place in waiting)
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

    def _step_back(self, end: fx.Node, taken: set[fx.Node], tokens: bool) -> fx.Node | None:
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

    def _belongs(self, node: fx.Node, tokens: bool, alone: bool) -> bool:
        """Whether a node may be part of an activation or normalisation of a value."""
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
        return alone and self._keeps_channels(node)

    def _axis(self, node: fx.Node) -> int | None:
        rows = self.graph.rows(node)
        return None if rows is None else rows[0]

    def _without_samples(self, node: fx.Node) -> tuple[int, ...]:
        """A value's shape without the dimension of the samples, if it has one."""
        axis, shape = self._axis(node), shape_of(node)
        return shape if axis is None else shape[:axis] + shape[axis + 1 :]

    def _treats_tokens_alone(self, node: fx.Node, name: str) -> bool:
        """Whether a node takes only what one token holds, its last dimension."""
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
        """Whether this is an activation or normalisation: it keeps the shape, or halves the channels (GLU)."""
        names = {operator_name(node) for node in inside}
        if names <= {*MOVES, *PADDING, *WRITES}:
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
        """Whether a value is the other with more around it, made by copies alone."""
        names = {operator_name(node) for node in inside}
        ours, theirs = shape_of(start), shape_of(end)
        if not names <= {*MOVES, *PADDING, *WRITES} or len(ours) != len(theirs) or len(ours) < 3:
            return False
        if names <= PADDING:
            return True
        return ours[:2] == theirs[:2] and ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))

    def _keeps_channels(self, node: fx.Node) -> bool:
        operation = self.graph.operations.get(node)
        return operation is not None and operation.keeps_channels and len(self.graph.sources(node)) == 1
