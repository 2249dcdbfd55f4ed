"""The layers of any network as functions of their own, cut out of its traced graph."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.macs import first_parameter
from zoo.reader.flow import Flow
from zoo.reader.operations import VIEWS, Reduction, common_names
from zoo.reader.tracing import traced_graph
from zoo.wrappers import replica, unwrapped

__all__ = ["Layer", "layers_at"]

# After one of these a linear layer's Jacobian is D W with a diagonal D.
_ELEMENTWISE = {"relu", "elu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "hardtanh", "hardswish", "softplus"}


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


@dataclass(frozen=True)
class _Span:
    """Where a layer lies in the graph: its nodes in order, behind the node of what enters it."""

    name: str
    entering: fx.Node
    weighted: fx.Node
    leaving: fx.Node

    @cached_property
    def nodes(self) -> list[fx.Node]:
        """Everything on the way from ``entering`` to ``leaving``."""
        return _between(self.entering, self.leaving)

    @cached_property
    def others(self) -> set[fx.Node]:
        """Values that the nodes take beside each other's: weights, and gates computed elsewhere."""
        inside = {self.entering, *self.nodes}
        return {argument for node in self.nodes for argument in node.all_input_nodes if argument not in inside}


def layers_at(model: nn.Module, batch: Tensor, bn: Literal["eval", "batch"] = "batch") -> Iterator[Layer]:
    """The layers of a network, each with what enters it at one batch.

    A layer is a convolution or linear layer with the activations and normalisations that belong to it: those that
    follow it and nothing else, unless their module lies closer to the next layer's, and those before it that follow no
    layer.

    Args:
        model: Any network of one input, bare or wrapped.
        batch: Inputs, (N, ...).
        bn: ``batch`` lets batch norms use mean and variance of this batch, ``eval`` their running statistics; constants
            in either case.

    Yields:
        The layers in the order in which they run; values are forgotten as soon as no later layer needs them.

    Raises:
        ValueError: If the network cannot be traced on this batch, or has no layer; or if the statistics of a batch norm
            are not what ``bn`` asks for.
    """
    network = replica(unwrapped(model))
    _give_statistics(network, bn)
    traced = traced_graph(network, batch)
    if bn == "batch":
        _take_batch_statistics(network, batch)
    spans = _spans(Reduction(traced.graph, traced.constant))
    if not spans:
        raise ValueError("Expected a network with convolutions or linear layers, but it has none.")
    for span in spans:
        if span.weighted.target in (torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default):
            name = span.name or type(network).__name__
            raise ValueError(f"Expected layers with the samples in front, but {name} multiplies groups of features.")
    yield from _run(list(traced.graph.nodes), spans, traced.constant, batch)


def _give_statistics(network: nn.Module, bn: str) -> None:
    """Let batch norms that keep no running statistics keep those of the batch."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            if bn == "eval":
                raise ValueError(f"Expected batch norms with running statistics for bn='eval', but {name} has none.")
            weight = first_parameter(network)
            for statistic in ("running_mean", "running_var"):
                module.register_buffer(statistic, weight.new_zeros(module.num_features))


def _take_batch_statistics(network: nn.Module, batch: Tensor) -> None:
    """Set the running statistics of every batch norm to those of the batch, one after the other as they run."""
    names: dict[nn.Module, str] = {
        module: name for name, module in network.named_modules() if isinstance(module, _BatchNorm)
    }
    done: set[nn.Module] = set()

    def measure(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        value = arguments[0]
        if module in done:
            raise ValueError(f"Expected each batch norm to run once for bn='batch', but {names[module]} runs again.")
        if value.numel() <= value.shape[1]:
            raise ValueError(
                f"Expected more than one value per channel for bn='batch', but {names[module]} gets one; "
                "take more samples, or bn='eval'."
            )
        done.add(module)
        positions = [dimension for dimension in range(value.ndim) if dimension != 1]
        variance, mean = torch.var_mean(value, positions, unbiased=False)
        module.running_var.copy_(variance)  # type: ignore[operator]
        module.running_mean.copy_(mean)  # type: ignore[operator]

    handles = [module.register_forward_pre_hook(measure) for module in names]
    with torch.no_grad():
        network(batch)
    for handle in handles:
        handle.remove()


def _spans(reduction: Reduction) -> list[_Span]:
    """Give every activation and normalisation to a layer."""
    operations, nodes = reduction.operations, reduction.nodes
    flow = Flow(operations)
    layers = [position for position, operation in enumerate(operations) if operation.kind == "layer"]
    after: dict[int, list[int]] = {}
    taken: set[int] = set()
    for layer in layers:
        chain, current = [], layer
        while (user := _next(flow, nodes, current, layer)) is not None:
            following = _layers_after(flow, user)
            own = len(common_names((operations[user].scope, operations[layer].scope)))
            if any(len(common_names((operations[user].scope, operations[other].scope))) > own for other in following):
                break
            chain.append(user)
            current = user
        after[layer] = chain
        taken.update(chain)
    spans = []
    for layer in layers:
        before, current = [], operations[layer].inputs[0]
        while operations[current].keeps_channels and current not in taken:
            before.append(current)
            current = operations[current].inputs[0]
        if isinstance(nodes[current].meta["val"], list | tuple):  # pooling with indices: the pooled values enter
            current = before.pop()
        leaving = nodes[after[layer][-1] if after[layer] else layer]
        spans.append(_Span(operations[layer].scope, nodes[current], nodes[layer], leaving))
    return spans


def _next(flow: Flow, nodes: list[fx.Node], position: int, layer: int) -> int | None:
    """The operation that takes a layer's value as it is, so far, and nothing else does; None where there is none.

    A linear layer sees tokens in one long row, which is undone behind it: what treats each token alone is let through.
    """
    operations, users = flow.operations, flow.users[position]
    if len(users) != 1:
        return None
    if operations[users[0]].keeps_channels:
        return users[0]
    undone = operations[users[0]].is_view and operations[users[0]].shape[-1] == operations[layer].shape[-1]
    if operations[layer].is_convolution or not undone or len(flow.users[users[0]]) != 1:
        return None
    treated = nodes[flow.users[users[0]][0]]
    norm = _name(treated) == "native_layer_norm" and list(treated.args[1]) == [operations[layer].shape[-1]]  # type: ignore[arg-type]
    return users[0] if norm or _name(treated) in _ELEMENTWISE else None


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "overloadpacket", "")).rpartition(".")[2]


def _between(start: fx.Node, end: fx.Node) -> list[fx.Node]:
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


def _layers_after(flow: Flow, position: int) -> list[int]:
    """The layers that a value reaches through activations and normalisations only."""
    found, waiting = [], [position]
    while waiting:
        for user in flow.users[waiting.pop()]:
            if flow.operations[user].kind == "layer":
                found.append(user)
            elif flow.operations[user].keeps_channels:
                waiting.append(user)
    return found


def _run(nodes: list[fx.Node], spans: list[_Span], constant: Callable, batch: Tensor) -> Iterator[Layer]:
    """Compute the graph, and hand out each layer when its last node is known."""
    index = {node: place for place, node in enumerate(nodes)}
    last_use = {node: max((index[user] for user in node.users), default=place) for node, place in index.items()}
    ending: dict[int, list[_Span]] = {}
    for span in spans:
        end = index[span.nodes[-1]]
        ending.setdefault(end, []).append(span)
        for node in {span.entering, *span.others}:
            last_use[node] = max(last_use[node], end)
    values: dict[fx.Node, Any] = {}
    for place, node in enumerate(nodes):
        if node.op == "output":
            break
        values[node] = batch if node.op == "placeholder" else _value(node, values, constant)
        for span in ending.get(place, []):
            yield _layer(span, values)
        for done in [known for known in values if last_use[known] <= place]:
            del values[done]


@torch.no_grad()
def _value(node: fx.Node, values: Mapping[fx.Node, Any], constant: Callable) -> Any:
    return constant(node) if node.op == "get_attr" else _call(node, values)


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    target: Any = node.target
    arguments: Any
    arguments, keywords = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    if target is torch.ops.aten.native_group_norm.default:  # the graph holds the traced batch's size
        arguments = (*arguments[:3], len(arguments[0]), *arguments[4:])
    return target(*arguments, **keywords)


def _layer(span: _Span, values: dict[fx.Node, Any]) -> Layer:
    fixed = {node: values[node] for node in span.others}

    def part(nodes: Sequence[fx.Node], entering: fx.Node) -> Callable[[Tensor], Tensor]:
        def function(x: Tensor) -> Tensor:
            known = {**fixed, entering: x}
            for node in nodes:
                known[node] = known[node.args[0]] if _name(node) in VIEWS else _call(node, known)  # type: ignore[index]
            return known[nodes[-1] if nodes else entering]

        return function

    weight, slopes = None, None
    after = _between(span.weighted, span.leaving)
    names = {_name(node) for node in after} - set(VIEWS)
    if span.weighted.target in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
        left, right = span.weighted.args[-2:]
        if left is span.entering and names <= _ELEMENTWISE:
            weight = fixed[right].T  # type: ignore[index]
            linear, activation = part([span.weighted], span.entering), part(after, span.weighted)

            def slopes(x: Tensor) -> Tensor:
                pre_activations = linear(x)
                return torch.func.jvp(activation, (pre_activations,), (torch.ones_like(pre_activations),))[1]

    return Layer(span.name, part(span.nodes, span.entering), values[span.entering], weight, slopes)
