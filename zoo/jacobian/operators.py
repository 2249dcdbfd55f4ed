"""ATen operators by their part in an activation, a normalisation or a padding."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from nnmass.zoo.jacobian.graph import operator_name
from nnmass.zoo.reader.entries import shape_of
from nnmass.zoo.reader.operations import VIEWS
from nnmass.zoo.reader.operators import is_pointwise

__all__ = [
    "ACTIVATIONS",
    "ALONG",
    "CUTS",
    "MOVES",
    "NORMS",
    "ORDERS",
    "PADDING",
    "REDUCTIONS",
    "RESHAPING",
    "WRITES",
    "dimension",
    "is_nonlinear",
    "is_reshaping",
    "is_tensor",
    "pools_channels",
]

NORMS = {
    "native_layer_norm",
    "native_group_norm",
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "_fused_rms_norm",
}
REDUCTIONS = {"mean", "sum", "var", "std", "var_mean", "amax", "amin", "linalg_vector_norm", "norm"}
ALONG = {"_softmax", "_log_softmax", "glu", "logsumexp"}
# Activations that torch does not call pointwise.
ACTIVATIONS = {
    "hardswish",
    "log_sigmoid_forward",
    "_prelu_kernel",
    "rrelu_with_noise",
    "rrelu_with_noise_functional",
    "_to_copy",
    "masked_fill",
}
CUTS = {"slice", "split", "split_with_sizes", "chunk", "unbind", "select", "narrow"}
MOVES = {*VIEWS, *CUTS, "permute", "transpose", "t", "expand", "clone", "alias", "detach", "getitem", "empty_like"}
RESHAPING = {*VIEWS, "expand"}
ORDERS = {"permute", "transpose", "t"}
PADDING = {
    "constant_pad_nd",
    *(f"{kind}_pad{dimensions}d" for kind in ("reflection", "replication") for dimensions in (1, 2, 3)),
}
WRITES = {"new_empty", "new_zeros", "slice_scatter", "select_scatter", "copy", "cat", "index", "index_select"}


def is_tensor(node: fx.Node) -> bool:
    """Return whether a node has one tensor as its value, and not several."""
    return isinstance(node.meta.get("val"), Tensor)


def is_reshaping(node: fx.Node) -> bool:
    """Return whether a node gives the same numbers in the same order, also by moving dimensions of size 1."""
    name = operator_name(node)
    if name not in ORDERS:
        return name in RESHAPING
    before = shape_of(node.all_input_nodes[0])
    arguments: Any = node.args[1:]
    if name == "permute":
        order = [axis % len(before) for axis in arguments[0]]
    else:
        order = list(range(len(before)))
        first, second = arguments or (0, 1)
        order[first], order[second] = order[second], order[first]
    large = [axis for axis in order if before[axis] > 1]
    return large == sorted(large)


def is_nonlinear(nodes: Sequence[fx.Node]) -> bool:
    """Return whether nodes are an activation, number by number: more than sums and products with constants."""
    names = {operator_name(node) for node in nodes}
    each = all(is_pointwise(node) or operator_name(node) in ACTIVATIONS for node in nodes)
    return each and not names <= {"add", "sub", "mul", "div", "neg", "_to_copy", "masked_fill"}


def dimension(node: fx.Node, name: str) -> int:
    """The dimension along which a softmax, gated linear unit or cut works."""
    index = 2 if name.startswith("split") or name == "chunk" else 1
    given: Any = node.args[index] if len(node.args) > index else node.kwargs.get("dim", -1 if name == "glu" else 0)
    return int(given[0] if isinstance(given, list | tuple) else given)


def pools_channels(node: fx.Node, name: str) -> bool:
    """Return whether a node averages over neighbouring channels, as a local response normalisation does."""
    kernel: Any = node.args[1] if len(node.args) > 1 else ()
    return name in ("avg_pool2d", "avg_pool3d") and all(size == 1 for size in kernel[1:])
