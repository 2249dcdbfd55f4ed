"""Extent of each layer in a traced graph: its activations, normalisations and padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import fx

from nnmass.zoo.jacobian.graph import BatchGraph, operator_name
from nnmass.zoo.jacobian.operators import ORDERS, RESHAPING, is_reshaping
from nnmass.zoo.jacobian.steps import Steps
from nnmass.zoo.reader.entries import shape_of
from nnmass.zoo.reader.operations import VIEWS, common_names

__all__ = ["Span", "between", "shares_weights", "spans_of"]


@dataclass(frozen=True)
class Span:
    """Extent of a layer in the graph.

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
    """Return whether a layer multiplies a batch of matrices, whose rows are tokens, by one matrix of weights."""
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
    """Nodes before and after the operator with the weights that belong to its layer."""

    def __init__(self, graph: BatchGraph) -> None:
        self.graph = graph
        self._steps = Steps(graph)

    def after(self, layer: fx.Node) -> tuple[fx.Node, bool]:
        """The last node of a layer, and whether its samples are tokens.

        What stands in a module that is closer to the next layer's is left to that one.
        """
        end, scope = layer, self.graph.operations[layer].scope
        undone = self._undone(layer)
        tokens = undone is not None and self._is_own(self._steps.after(undone, True), scope)
        if shares_weights(layer) and not tokens:
            return layer, True
        if undone is not None and tokens:
            end = undone
        while self._is_own(step := self._steps.after(end, tokens), scope):
            end = step[-1]
            if tokens and any(operator_name(node) in {*ORDERS, *RESHAPING} for node in step):
                break  # the last dimension may no longer be the features of one token
        return end, tokens

    def before(self, operand: fx.Node, taken: set[fx.Node], linear: bool) -> tuple[fx.Node, bool]:
        """Input of a layer whose weights are applied to ``operand``, and whether its samples are tokens."""
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
        while (earlier := self._steps.before(value, taken, tokens)) is not None:
            value = earlier
        return value

    def _undone(self, layer: fx.Node) -> fx.Node | None:
        """The value of a linear layer with its rows, the tokens, put back into their images; None without tokens."""
        ours, users = shape_of(layer), list(layer.users)
        if self.graph.operations[layer].is_convolution:
            return None
        if shares_weights(layer):
            return self._reshaped(layer)
        if len(users) == 1 and operator_name(users[0]) in VIEWS:
            undone = shape_of(users[0])
            if len(undone) > 2 and undone[-1] == ours[-1]:
                return users[0]
        return None

    def _reshaped(self, layer: fx.Node) -> fx.Node:
        """The last value that holds the rows of a layer, each with its features, in whatever dimensions before them."""
        last = value = layer
        while len(value.users) == 1 and is_reshaping(user := next(iter(value.users))):
            value = user
            if shape_of(value)[-1] == shape_of(layer)[-1]:
                last = value
        return last

    def _is_own(self, step: Sequence[fx.Node], scope: str) -> bool:
        """Return whether there is a step, and no module of a layer behind it is closer than this layer's."""
        if not step:
            return False
        names = common_names(node.meta.get("scope", "") for node in step)
        own = len(common_names((".".join(names), scope)))
        return all(len(common_names((".".join(names), other))) <= own for other in self._layers_after(step[-1]))

    def _layers_after(self, value: fx.Node) -> set[str]:
        """The modules of the layers that a value reaches through activations, normalisations and padding only."""
        scopes, waiting, seen = set(), [value], {value}
        while waiting:
            current = waiting.pop()
            reached = list(self._steps.after(current, False)[-1:])
            for user in current.users:
                if self.graph.is_layer(user):
                    scopes.add(self.graph.operations[user].scope)
                elif self._steps.keeps_channels(user) or self._steps.pads(user):
                    reached.append(user)
            waiting += [node for node in reached if node not in seen]
            seen.update(reached)
        return scopes
