"""The layers of any network as functions of their own, cut out of its traced graph."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from nnmass.zoo.jacobian.batch_statistics import give_statistics, require_statistics_of, take_batch_statistics
from nnmass.zoo.jacobian.graph import BatchGraph, operator_name
from nnmass.zoo.jacobian.operators import ORDERS, RESHAPING
from nnmass.zoo.jacobian.regions import Span, between, shares_weights, spans_of
from nnmass.zoo.reader.entries import shape_of
from nnmass.zoo.reader.operations import VIEWS
from nnmass.zoo.reader.tracing import TracedGraph, traced_graph
from nnmass.zoo.wrappers import replica, unwrapped

__all__ = ["Layer", "layers_at"]

# After one of these a linear layer's Jacobian is D W with a diagonal D.
_ELEMENTWISE = {"relu", "elu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "hardtanh", "hardswish", "softplus"}


_GROUPED = {"bmm", "baddbmm", "addbmm", "mv", "addmv", "dot"}


@dataclass(frozen=True)
class Layer:
    """One layer of a network at one batch: s_i as a function of all that enters it, x_{i-1}.

    Attributes:
        name: Dotted name of the module with the weights.
        function: Maps x_{i-1} (N, ...) to s_i (N, ...), each sample on its own, for any N.
        entering: x_{i-1}, (N, ...).
        weight: W of a linear layer that at most an elementwise activation follows, (rows, columns); else None.
        slopes: For such a layer, maps x_{i-1} to the activation's derivative at the pre-activations, (N, rows).
    """

    name: str
    function: Callable[[Tensor], Tensor]
    entering: Tensor
    weight: Tensor | None = None
    slopes: Callable[[Tensor], Tensor] | None = None


def layers_at(model: nn.Module, batch: Tensor, bn: Literal["eval", "batch"] = "batch") -> Iterator[Layer]:
    """The layers of a network, each with what enters it at one batch.

    A layer is a convolution or linear layer with the activations and normalisations that belong to it, of however many
    operators: those that follow it and nothing else, unless their module lies closer to the next layer's, and those
    before it that follow no layer. So does padding before it.

    Args:
        model: Any network of one input, bare or wrapped.
        batch: Inputs, (N, ...).
        bn: ``batch`` lets batch norms use mean and variance of this batch, ``eval`` their running statistics; constants
            in either case.

    Yields:
        The layers in the order in which they run; values are forgotten as soon as no later layer needs them.

    Raises:
        ValueError: If the network cannot be traced on this batch, or has no layer; or if the statistics of a batch norm
            are not what ``bn`` asks for; or if a layer mixes its samples, or takes more than one value.
    """
    network, batch = replica(unwrapped(model)), batch.contiguous()  # as other numbers of samples are traced
    give_statistics(network, bn)
    traced = traced_graph(network, batch)
    if bn == "batch":
        require_statistics_of(take_batch_statistics(network, batch), traced)
    samples = len(batch)
    try:
        graph, cuts = _cuts(network, traced, batch)
    except ValueError:
        if samples > 1:
            raise
        batch = batch.expand(2, *batch.shape[1:])  # torch treats dimensions of one in a way of their own
        graph, cuts = _cuts(network, traced_graph(network, batch), batch)
    for layer in _run(cuts, graph, batch):
        yield replace(layer, entering=layer.entering[: len(layer.entering) * samples // len(batch)])


def _cuts(network: nn.Module, traced: TracedGraph, batch: Tensor) -> tuple[BatchGraph, list["_Cut"]]:
    """The graph of a network at a batch, and its layers."""

    def again(samples: int) -> TracedGraph:
        return traced_graph(network, batch.new_empty((samples, *batch.shape[1:])))

    graph = BatchGraph(traced, again, len(batch))
    spans = spans_of(graph)
    if not spans:
        raise ValueError("Expected a network with convolutions or linear layers, but it has none.")
    return graph, [_Cut(graph, span, type(network).__name__) for span in spans]


class _Cut:
    """A layer cut out of its graph.

    Args:
        graph: The graph.
        span: Where the layer lies.
        network: The network's name, for a layer without one.

    Attributes:
        others: The nodes whose values it takes beside what enters: weights.

    Raises:
        ValueError: If its samples do not lie in one dimension from beginning to end, or others of its values have them.
    """

    def __init__(self, graph: BatchGraph, span: Span, network: str) -> None:
        self.graph, self.span = graph, span
        name = span.name or network
        self.shares_weights = shares_weights(span.weighted) and span.weighted.args[0] in graph.data
        if operator_name(span.weighted) in _GROUPED and not self.shares_weights:
            raise ValueError(f"Expected layers with the samples in front, but {name} multiplies groups of features.")
        self.nodes = self._with_constants(span.nodes)
        inside = {span.entering, *self.nodes}
        self.others = {source for node in self.nodes for source in node.all_input_nodes if source not in inside}
        self.entering_axis = self.leaving_axis = 0
        self.rows = 1
        if not span.tokens:
            entering, leaving = graph.rows(span.entering), graph.rows(span.leaving)
            if entering is None or leaving is None or entering[1] != leaving[1]:
                raise ValueError(
                    f"Expected layers that treat each sample alone, but {name} mixes or loses the samples."
                )
            (self.entering_axis, self.rows), self.leaving_axis = entering, leaving[0]
            for node in self.nodes:  # a node whose arguments are unknown for another batch size is refused here
                graph.arguments(node, graph.samples + 1)
        if self.shares_weights:
            rows = graph.rows(span.weighted)
            if rows is None or rows[0] == len(shape_of(span.weighted)) - 1:
                raise ValueError(
                    f"Expected layers that treat each sample alone, but {name} mixes or loses the samples."
                )
        if any(other in graph.data and graph.rows(other) is not None for other in self.others):
            raise ValueError(f"Expected layers of one input, but {name} takes another that depends on the sample.")

    def _with_constants(self, nodes: list[fx.Node]) -> list[fx.Node]:
        """These nodes, and before each the constants that it takes and that hold the number of samples."""
        ordered: dict[fx.Node, None] = {}

        def add(node: fx.Node) -> None:
            shared = self.shares_weights and node is self.span.weighted
            for source in node.all_input_nodes:
                if source not in ordered and not shared and self.graph.varies(source):
                    add(source)
            ordered[node] = None

        for node in nodes:
            add(node)
        return list(ordered)

    def entering(self, values: dict[fx.Node, Any]) -> Tensor:
        """Input of the layer, with the samples in front."""
        value: Tensor = values[self.span.entering]
        return value.flatten(0, -2) if self.span.tokens else value.movedim(self.entering_axis, 0)

    def function(self, values: dict[fx.Node, Any]) -> Callable[[Tensor], Tensor]:
        """The layer as a function of what enters, samples in front."""
        fixed = {node: values[node] for node in self.others}
        tokens, span = self.span.tokens, self.span

        def function(x: Tensor) -> Tensor:
            samples = Fraction(len(x), self.rows)
            known = {**fixed, span.entering: _token(x, span.entering) if tokens else x.movedim(0, self.entering_axis)}
            for node in self.nodes:
                if tokens and operator_name(node) in {*RESHAPING, *ORDERS} and node in self.graph.data:
                    known[node] = _token(known[node.args[0]].reshape(len(x), -1), node)  # type: ignore[index]
                elif node is span.weighted and self.shares_weights:
                    known[node] = known[node.args[0]] @ fixed[node.args[1]][0]  # type: ignore[index]
                else:
                    known[node] = _call(node, *self.graph.arguments(node, samples), known)
            value = known[span.leaving]
            return value.flatten(0, -2) if tokens else value.movedim(self.leaving_axis, 0)

        return function

    def layer(self, values: dict[fx.Node, Any]) -> Layer:
        """The layer at these values of the nodes before it."""
        span, weight, slopes = self.span, None, None
        function, entering = self.function(values), self.entering(values)
        if operator_name(span.weighted) in ("mm", "addmm"):
            left, right = span.weighted.args[-2:]
            after = [node for node in between(span.weighted, span.leaving) if operator_name(node) not in VIEWS]
            if left is span.entering and {operator_name(node) for node in after} <= _ELEMENTWISE:
                weight = values[right].T  # type: ignore[index]

                def linear(x: Tensor) -> Tensor:
                    return _call(span.weighted, span.weighted.args, span.weighted.kwargs, {**values_of, left: x})

                values_of = {node: values[node] for node in self.others}

                def activation(x: Tensor) -> Tensor:
                    for node in after:
                        x = _call(node, node.args, node.kwargs, {node.all_input_nodes[0]: x})
                    return x

                def slopes(x: Tensor) -> Tensor:
                    pre_activations = linear(x)
                    return torch.func.jvp(activation, (pre_activations,), (torch.ones_like(pre_activations),))[1]

        return Layer(span.name, function, entering, weight, slopes)


def _token(x: Tensor, node: fx.Node) -> Tensor:
    """Tokens (N, features) as the one token of each of N images, in as many dimensions as a node's value has."""
    return x.reshape(len(x), *[1] * (node.meta["val"].ndim - 2), -1)


def _run(cuts: list[_Cut], graph: BatchGraph, batch: Tensor) -> Iterator[Layer]:
    """Compute the graph, and hand out each layer when its last node is known."""
    index, nodes = graph.index, graph.nodes
    last_use = {node: max((index[user] for user in node.users), default=position) for node, position in index.items()}
    ending: dict[int, list[_Cut]] = {}
    for cut in cuts:
        end = index[cut.span.leaving]
        ending.setdefault(end, []).append(cut)
        for node in {cut.span.entering, *cut.others}:
            last_use[node] = max(last_use[node], end)
    values: dict[fx.Node, Any] = {}
    for position, node in enumerate(nodes):
        if node.op == "output":
            break
        values[node] = batch if node.op == "placeholder" else _value(node, values, graph.constant)
        for cut in ending.get(position, []):
            yield cut.layer(values)
        for done in [known for known in values if last_use[known] <= position]:
            del values[done]


@torch.no_grad()
def _value(node: fx.Node, values: dict[fx.Node, Any], constant: Callable) -> Any:
    return constant(node) if node.op == "get_attr" else _call(node, node.args, node.kwargs, values)


def _call(node: fx.Node, arguments: Sequence[Any], keywords: dict[str, Any], values: dict[fx.Node, Any]) -> Any:
    target: Any = node.target
    given: Any
    given, named = fx.node.map_arg((tuple(arguments), keywords), values.__getitem__)
    if node.is_impure(impure_random=False):  # writes to what is the network's own, which it has to find as it was
        given, named = tree_map_only(Tensor, Tensor.clone, (given, named))
    name = operator_name(node)
    if name.startswith("rrelu_with_noise"):  # draws nothing in eval mode, yet vmap refuses it
        bounds = list(given[2:4])
        lower, upper = bounds + [1 / 8, 1 / 3][len(bounds) :]
        value = nn.functional.leaky_relu(given[0], (lower + upper) / 2)
        return (value, None) if name.endswith("functional") else value
    if name == "copy":  # has no derivative of its own
        return given[1].to(given[0]).expand_as(given[0])
    return target(*given, **named)
