"""A traced graph with the sample dimension of every value, so that parts of it run on any number of samples."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

from torch import fx

from nnmass.zoo.reader.entries import shape_of
from nnmass.zoo.reader.operations import VIEWS, Operation, Reduction
from nnmass.zoo.reader.tracing import TracedGraph

__all__ = ["BatchGraph", "operator_name", "reduced"]

# After these samples may lie elsewhere although the first dimension is as long as it was.
_MOVING = {"permute", "transpose", "t", "expand", "repeat", "bmm", "baddbmm", "mv", "addmv", "dot", "index", "unfold"}
_MOVING |= {"select", "unbind", "index_select", "gather", "roll", "flip"}
_REDUCING = {"mean", "sum", "var", "std", "var_mean", "amax", "amin", "linalg_vector_norm", "norm", "prod"}
# The arguments of these may hold the number of samples.
_SIZED = {
    *VIEWS,
    "expand",
    "repeat",
    "new_empty",
    "new_zeros",
    "new_ones",
    "new_full",
    "full",
    "zeros",
    "ones",
    "arange",
}


class BatchGraph:
    """The operators of a network at a batch of N samples.

    Where samples lie, and which arguments are made of their number, no operator tells. So the network is traced once
    more, with a sample more, and what differs is told from what does not; but only where a part of the graph asks.

    Args:
        traced: The graph at N samples.
        again: Traces the network with a given number of samples.
        samples: N.

    Attributes:
        nodes: The graph's nodes, in order.
        index: Of each node, its position among them.
        operations: Of each node that depends on the input, what the reader makes of it.
        layers: The layers among them.
    """

    def __init__(self, traced: TracedGraph, again: Callable[[int], TracedGraph], samples: int) -> None:
        self.constant = traced.constant
        self.samples = samples
        self.nodes = list(traced.graph.nodes)
        self.index = {node: position for position, node in enumerate(self.nodes)}
        self._again = again
        reduction = Reduction(traced.graph, traced.constant)
        self.operations: dict[fx.Node, Operation] = {}
        self.layers: list[tuple[fx.Node, fx.Node, Operation]] = []  # with what enters
        for node, operation in zip(reduction.nodes, reduction.operations, strict=True):
            self.operations[node] = operation
            if operation.kind == "layer":
                self.layers.append((node, reduction.nodes[operation.inputs[0]], operation))
        self._layer_nodes = {node for node, _, _ in self.layers}
        self.data: set[fx.Node] = set()
        self._in_front: set[fx.Node] = set()
        for node in self.nodes:
            if node.op == "placeholder" or any(source in self.data for source in node.all_input_nodes):
                self.data.add(node)
                if self._stays_in_front(node):
                    self._in_front.add(node)

    def is_layer(self, node: fx.Node) -> bool:
        """Return whether a node applies learnt weights."""
        return node in self._layer_nodes

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """Inputs of a node that depend on the network's input."""
        return [source for source in node.all_input_nodes if source in self.data]

    def rows(self, node: fx.Node) -> tuple[int, int] | None:
        """The dimension of a value that counts samples, and its entries per sample; None where there is none."""
        if node in self._in_front:
            return 0, 1
        ours, theirs = shape_of(node), shape_of(self._twins[node])
        if len(ours) != len(theirs):
            return None
        longer = [
            (axis, more - size) for axis, (size, more) in enumerate(zip(ours, theirs, strict=True)) if more != size
        ]
        if len(longer) != 1 or ours[longer[0][0]] != self.samples * longer[0][1]:
            return None
        return longer[0]

    def varies(self, node: fx.Node) -> bool:
        """Return whether the value of a constant depends on the number of samples."""
        if node.op != "call_function" or node in self.data:
            return False
        if operator_name(node) in _SIZED and self._sized(node, self.samples + 1) != (node.args, node.kwargs):
            return True
        return any(map(self.varies, node.all_input_nodes))

    def arguments(self, node: fx.Node, samples: Fraction | int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A node's arguments at another number of samples."""
        name = operator_name(node)
        if samples == self.samples or name not in {*_SIZED, "native_group_norm"}:
            return node.args, node.kwargs
        if name == "native_group_norm":
            images = Fraction(node.args[3], self.samples) * samples  # type: ignore[arg-type]
            return (*node.args[:3], int(images), *node.args[4:]), node.kwargs
        return self._sized(node, samples)

    def _sized(self, node: fx.Node, samples: Fraction | int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        twin, more = self._twins[node], samples - self.samples
        arguments = [_scaled(ours, theirs, more) for ours, theirs in zip(node.args, twin.args, strict=True)]
        return tuple(arguments), {name: _scaled(node.kwargs[name], twin.kwargs[name], more) for name in node.kwargs}

    @cached_property
    def _twins(self) -> dict[fx.Node, fx.Node]:
        """Of each node the one of the trace with a sample more."""
        nodes = list(self._again(self.samples + 1).graph.nodes)
        if [node.target for node in nodes if node.op != "get_attr"] != [
            node.target for node in self.nodes if node.op != "get_attr"
        ]:
            raise ValueError(
                f"Expected a network that does the same with a batch of {self.samples} and of {self.samples + 1}, "
                "but its operations differ."
            )
        return dict(zip(self.nodes, nodes, strict=True))

    def _stays_in_front(self, node: fx.Node) -> bool:
        """Return whether samples lie in front, as in all that the node takes; False where that is not sure."""
        sources, name, shape = self.sources(node), operator_name(node), shape_of(node)
        if (
            not shape
            or shape[0] != self.samples
            or name in _MOVING
            or any(one not in self._in_front for one in sources)
        ):
            return False
        if name in _REDUCING:
            axes: Any = reduced(node)
            return bool(axes) and all(axis % len(shape_of(sources[0])) for axis in axes)
        if name in VIEWS:
            return self.samples > 1 or len(shape) == 2
        return name not in ("mm", "addmm", "matmul") or node.args[-2] in self.data


def operator_name(node: fx.Node) -> str:
    """The ATen operator's name, such as ``add`` for ``aten.add.Tensor``; empty for anything else."""
    if node.op != "call_function":
        return ""
    target: Any = node.target
    return str(getattr(target, "overloadpacket", getattr(target, "__name__", ""))).rpartition(".")[2]


def reduced(node: fx.Node) -> Sequence[int] | None:
    """The dimensions that a reduction takes together, if it names them."""
    index = 2 if operator_name(node) in ("linalg_vector_norm", "norm") else 1
    given: Any = node.args[index] if len(node.args) > index else None
    return [given] if isinstance(given, int) else given


def _scaled(ours: Any, theirs: Any, more: Fraction | int) -> Any:
    """An argument at ``more`` samples, of which one makes it differ as two traces do."""
    if isinstance(ours, list | tuple):
        return type(ours)(_scaled(one, other, more) for one, other in zip(ours, theirs, strict=True))
    if isinstance(ours, int) and not isinstance(ours, bool):
        return int(ours + (theirs - ours) * more)
    return ours
