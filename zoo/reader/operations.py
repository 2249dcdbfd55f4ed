"""A graph of ATen operators, reduced to the operations that matter to topology."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import prod
from typing import Any, Literal

from torch import Tensor, fx, nn
from torch._ops import HigherOrderOperator

__all__ = ["VIEWS", "Operation", "Reduction", "common_names"]

Kind = Literal["input", "layer", "addition", "concatenation", "stack", "slice", "product", "other"]

# Multiplications of two matrices, by the positions of their factors among the arguments.
_PRODUCTS = {
    **dict.fromkeys(("mm", "bmm", "matmul", "linear", "mv", "dot"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm"), (1, 2)),
}
_CUTS = ("split", "split_with_sizes", "chunk", "tensor_split", "unbind")
_SELECTIONS = ("slice", "select", "narrow", "index_select", "index")
_GATHERS = ("gather", "take_along_dim", "sort", "topk")
# These may keep a shape and yet move channels.
_REARRANGING = ("permute", "transpose", "t", "flip", "roll", *_SELECTIONS, *_GATHERS)
VIEWS = ("view", "reshape", "_unsafe_view", "_reshape_alias", "flatten", "unflatten", "squeeze", "unsqueeze")
# A constant that passes one of these is the same constant.
_COPIES = ("lift_fresh_copy", "lift_fresh", "detach", "alias", "clone", "_to_copy")


@dataclass(frozen=True)
class Operation:
    """One operation on values that depend on the network's input.

    Attributes:
        kind: ``layer`` has learnable weights (convolution, linear); ``addition`` and ``concatenation`` join two or more
            values, ``stack`` does along a new dimension; ``slice`` takes part of one; ``product`` multiplies two values
            as matrices, as attention does.
        inputs: Positions of the operations whose values it takes. Of a signal and the gate that scales it, only the
            signal: a gate lies on no path. -1 stands for a constant among concatenated values.
        shape: Shape of its value, with a batch of one.
        scope: Dotted name of the module that ran it; empty for the network itself.
        cell: Dotted name of the innermost module around it that states itself a cell (``is_cell``), if one does.
        axis: Dimension that a concatenation joins, or that a slice cuts.
        taken: Entries along ``axis`` that a slice takes.
        in_channels: Channels, or features, that enter a layer.
        is_convolution: Whether a layer is a convolution.
        depthwise: Whether a layer is a convolution of each channel on its own.
        keeps_channels: Whether channel k of the value is channel k of its one input, activated or normalised.
        rearranges: Whether it moves or takes entries of its input in a way that is not followed further.
        is_view: Whether its value is its input's in another shape.
    """

    kind: Kind
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    scope: str
    cell: str | None = None
    axis: int = 0
    taken: tuple[int, ...] = ()
    in_channels: int = 0
    is_convolution: bool = False
    depthwise: bool = False
    keeps_channels: bool = False
    rearranges: bool = False
    is_view: bool = False


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
        self._values: dict[fx.Node, Any] = {}  # of the nodes that are constants
        self._learnt: set[Any] = set()  # constants that depend on a parameter
        self._slices: dict[tuple, int] = {}  # the operation that takes these entries of that value
        self._above: list[int] = []  # per operation: bit set of all it depends on, through gates too
        for node in graph.nodes:
            value = constant(node)
            if value is not None:
                self._values[node] = value
                if isinstance(value, nn.Parameter):
                    self._learnt.add(node)
            elif node.op == "placeholder":
                self._add(node, "input", ())
            elif node.op == "call_function":
                self._call(node, _operator(node), list(node.args))

    def _call(self, node: fx.Node, name: str, arguments: list[Any]) -> None:
        if isinstance(node.target, HigherOrderOperator):
            raise ValueError(f"the operator {name} hides layers in a branch or loop that depends on the input's values")
        sources = [argument for argument in node.all_input_nodes if argument in self._position]
        inputs = tuple(self._position[source] for source in sources)
        if not sources:
            if name in _COPIES and arguments[0] in self._values:
                self._values[node] = self._values[arguments[0]]
            if any(argument in self._learnt for argument in node.all_input_nodes):
                self._learnt.add(node)
        elif name == "getitem" and sources[0] in self._pieces:
            axis, taken = self._pieces[sources[0]][arguments[1]]
            self._slice(node, inputs, axis, taken)
        elif name in _CUTS:
            self._cut(node, inputs[0], self._axis(node, arguments, 1 if name == "unbind" else 2, inputs[0]))
        elif "conv" in name and arguments[0] in self._position and self._is_learnt(arguments[1]):
            self._convolve(node, arguments, name)
        elif name in _PRODUCTS:
            self._multiply(node, [arguments[factor] for factor in _PRODUCTS[name]])
            if 0 not in _PRODUCTS[name] and arguments[0] in self._position:
                self._add(node, "addition", (self._position[arguments[0]], self._position[node]))
        elif "attention" in name:
            self._add(node, "product", inputs)
        elif name == "cat" and sum(part in self._position for part in arguments[0]) > 1:
            parts = tuple(self._position.get(part, -1) for part in arguments[0])
            self._add(node, "concatenation", parts, axis=self._axis(node, arguments, 1, inputs[0]))
        elif name == "stack" and len(sources) > 1:
            self._add(node, "stack", inputs)
        elif name in _SELECTIONS and len(sources) == 1:
            self._select(node, inputs, name, arguments)
        elif name in ("add", "sub", "rsub", "lerp") and len(sources) == 2:
            self._add(node, "addition", inputs)
        elif name in ("addcmul", "addcdiv") and len(sources) > 1 and arguments[0] in self._position:
            factors = [self._position[factor] for factor in arguments[1:3] if factor in self._position]
            branch = self._signal(*factors)[0] if len(factors) == 2 else factors[0]
            self._add(node, "addition", (self._position[arguments[0]], branch))
        elif name in ("mul", "div") and len(sources) == 2:
            self._add(node, "other", self._signal(*inputs))
        else:
            self._add(node, "other", inputs)

    def _add(self, node: fx.Node, kind: Kind, inputs: tuple[int, ...], **more: Any) -> None:
        shape = _shape(node)
        keeps = (
            kind == "other"
            and len(inputs) == 1
            and self.operations[inputs[0]].shape == shape
            and _operator(node) not in (*_REARRANGING, *_PRODUCTS)
        )
        if kind == "other" and len(inputs) == 1:
            more |= {"rearranges": _operator(node) in _REARRANGING, "is_view": _operator(node) in VIEWS}
        bits = 1 << len(self.operations)
        for argument in node.all_input_nodes:
            if argument in self._position:
                bits |= self._above[self._position[argument]]
        self._above.append(bits)
        self._position[node] = len(self.operations)
        self.nodes.append(node)
        place = {"scope": node.meta.get("scope", ""), "cell": node.meta.get("cell")}
        self.operations.append(Operation(kind, inputs, shape, **place, keeps_channels=keeps, **more))

    def _axis(self, node: fx.Node, arguments: list[Any], place: int, source: int) -> int:
        axis: Any = arguments[place] if len(arguments) > place else node.kwargs.get("dim", 0)
        return axis % len(self.operations[source].shape)

    def _is_learnt(self, weight: Any) -> bool:
        """Whether a weight is learnt, or computed from the input, and not a fixed filter such as a blur."""
        return weight in self._learnt or weight in self._position

    def _convolve(self, node: fx.Node, arguments: list[Any], name: str) -> None:
        position = self._position[arguments[0]]
        channels = self.operations[position].shape[1]
        transposed = "transpose" in name or (name == "convolution" and arguments[6])
        depthwise = not transposed and channels > 1 and arguments[1].meta["val"].shape[1] == 1
        self._add(node, "layer", (position,), in_channels=channels, is_convolution=True, depthwise=depthwise)

    def _multiply(self, node: fx.Node, factors: list[Any]) -> None:
        """A matrix product: of two values, of a value and learnt weights, or of a value and something else."""
        left, right = factors
        inputs = tuple(dict.fromkeys(self._position[factor] for factor in factors if factor in self._position))
        if left in self._position and right in self._position:
            self._add(node, "product", inputs)
        elif left in self._position and right in self._learnt:
            self._add(node, "layer", (self._position[left],), in_channels=_shape(left)[-1])
        elif right in self._position and left in self._learnt:
            self._add(node, "layer", (self._position[right],), in_channels=_shape(right)[-2:][0])
        else:
            self._add(node, "other", inputs)

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

    def _select(self, node: fx.Node, inputs: tuple[int, ...], name: str, arguments: list[Any]) -> None:
        """A node that takes entries along one dimension."""
        shape = self.operations[inputs[0]].shape
        axis, taken = 0, None
        if name == "index":
            indexed = [dimension for dimension, index in enumerate(arguments[1]) if index is not None]
            if len(indexed) == 1:
                axis, taken = indexed[0], self._indices(node, arguments[1][indexed[0]])
        else:
            axis = self._axis(node, arguments, 1, inputs[0])
            if name == "slice":
                taken = range(shape[axis])[slice(*arguments[2:5])]
            elif name == "narrow":
                taken = range(arguments[2], arguments[2] + arguments[3])
            elif name == "select":
                taken = [arguments[2] % shape[axis]]
            else:
                taken = self._indices(node, arguments[2])
        if taken is None:
            self._add(node, "other", inputs)
        elif list(taken) == list(range(shape[axis])) and _shape(node) == shape:
            self._position[node] = inputs[0]  # all of it
        else:
            self._slice(node, inputs, axis, taken)

    def _slice(self, node: fx.Node, inputs: tuple[int, ...], axis: int, taken: Sequence[int]) -> None:
        """The same entries, taken twice, are one value."""
        key = (inputs, axis, tuple(taken), _shape(node))
        if key in self._slices:
            self._position[node] = self._slices[key]
        else:
            self._add(node, "slice", inputs, axis=axis, taken=tuple(taken))
            self._slices[key] = self._position[node]

    def _indices(self, node: fx.Node, indices: fx.Node) -> Sequence[int] | None:
        """The entries of a constant list of indices; None for any other.

        Raises:
            ValueError: If the links of a stated cell have no values: its mass would be missed.
        """
        value = self._values.get(indices)
        if not isinstance(value, Tensor) or value.ndim != 1:
            return None
        if value.is_meta and node.meta.get("cell"):
            raise ValueError("a cell's channels are taken by indices on the meta device, where they have no values")
        return None if value.is_meta else value.tolist()


def _operator(node: fx.Node) -> str:
    """Name of the ATen operator, the same for its in-place form: ``add`` for ``aten.add_.Tensor``."""
    target: Any = node.target
    name = getattr(getattr(target, "overloadpacket", target), "__name__", str(target))
    return name if name.startswith("_") else name.rstrip("_")


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of a node's value; of several, as a normalisation returns them, the first one's."""
    value = node.meta.get("val")
    value = value[0] if isinstance(value, list | tuple) and value else value
    return tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else ()


def common_names(scopes: Iterable[str]) -> list[str]:
    """The names that all of these dotted names begin with.

    Example:
        >>> common_names(["cells.0.layers.1", "cells.0.layers.2.conv"])
        ['cells', '0', 'layers']
    """
    columns = zip(*(scope.split(".") for scope in scopes), strict=False)
    return [names[0] for names in takewhile(lambda names: len(set(names)) == 1, columns)]
