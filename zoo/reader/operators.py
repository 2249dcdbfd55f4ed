"""Tables of ATen operators by their effect on the values that pass them. An operator in no table is never guessed at.

An operator that is pointwise by torch's own tag, or that a table names, is known. Of the others, one that takes values
of different layers is a joint that cannot be judged, one of another library is too, and the rest move channels in a way
that is not followed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

__all__ = ["effect", "is_foreign", "is_known", "is_pointwise", "operator"]

# Multiplications of two matrices, by the positions of their factors among the arguments.
PRODUCTS = {
    **dict.fromkeys(("mm", "bmm", "matmul", "linear", "mv", "dot"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm"), (1, 2)),
}
ATTENTION = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
CONVOLUTIONS = (
    *(f"conv{transposed}{dimensions}d" for dimensions in (1, 2, 3) for transposed in ("", "_transpose")),
    "convolution",
    "_convolution",
    "cudnn_convolution",
    "mkldnn_convolution",
    "deform_conv2d",
)
ADDITIONS = ("add", "sub", "rsub")
SCALED_ADDITIONS = ("addcmul", "addcdiv")
# One operand is the other's gate.
SCALINGS = ("mul", "div")
NORMALISATIONS = (
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm", "_batch_norm_no_update", "layer_norm", "native_layer_norm", "group_norm", "native_group_norm",
    "instance_norm", "rms_norm", "_fused_rms_norm",
)  # fmt: skip
# Only the first operand is a signal; the others choose positions in it, or normalise, bend or mask it.
LED_BY_FIRST = (
    "gather", "take_along_dim", "index", "index_select", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d",
    "masked_fill", "_prelu_kernel", "prelu", *NORMALISATIONS,
)  # fmt: skip
# The result is a choice or a truth value, which carries no signal on.
COMPARISONS = (
    "eq", "ne", "lt", "le", "gt", "ge", "isclose", "logical_and", "logical_or", "logical_xor", "logical_not",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "argmax", "argmin", "argsort",
)  # fmt: skip
CUTS = (
    "split",
    "split_with_sizes",
    "split_copy",
    "split_with_sizes_copy",
    "unsafe_split",
    "chunk",
    "tensor_split",
    "unbind",
)
SELECTIONS = ("slice", "select", "narrow", "index_select", "index")
GATHERS = ("gather", "take_along_dim", "sort", "topk")
WRITES = ("slice_scatter", "select_scatter", "index_put", "index_copy", "copy")
VIEWS = ("view", "reshape", "_unsafe_view", "_reshape_alias", "flatten", "unflatten", "squeeze", "unsqueeze")
# These may keep a shape and yet move channels.
REARRANGING = (
    "permute", "transpose", "t", "flip", "roll", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "native_channel_shuffle", "unfold", "im2col", "col2im", "as_strided", "repeat", "grid_sampler", "grid_sampler_2d",
    "grid_sampler_3d", "view_as_real", "view_as_complex", *SELECTIONS, *GATHERS,
)  # fmt: skip
# These take several values together; whether that adds branches up depends on the dimensions.
REDUCTIONS = (
    "sum", "mean", "amax", "amin", "max", "min", "prod", "logsumexp", "var", "std", "var_mean", "std_mean", "norm",
    "linalg_vector_norm", "nansum", "median", "any", "all",
)  # fmt: skip
# These make every entry from many.
MIXING = (
    "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "_fft_r2c", "_fft_c2c", "_fft_c2r",
)  # fmt: skip
# Value k of a channel stays in the channel where the shape stays the same.
CHANNELWISE = (
    "clone", "_to_copy", "contiguous", "alias", "detach", "lift_fresh", "lift_fresh_copy", "expand", "getitem",
    "dropout", "native_dropout", "feature_dropout", "_softmax", "_safe_softmax", "softmax", "_log_softmax",
    "log_softmax",
    "constant_pad_nd", "pad", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d",
    "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "_upsample_nearest_exact2d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d",
    "upsample_trilinear3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
    "embedding", "bernoulli", "masked_fill", "fill", "_prelu_kernel", "prelu", "hardswish", "log_sigmoid_forward",
    "rrelu_with_noise", "cat", *NORMALISATIONS,
)  # fmt: skip
# The shape of a value, filled with something else.
FILLS = (
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like", "new_zeros",
    "new_ones", "new_empty", "new_full", "new_empty_strided", "zero",
)  # fmt: skip
JOINING = ("cat", "stack", "lerp")
_TABLES = (
    (*PRODUCTS, *ATTENTION, *CONVOLUTIONS, *ADDITIONS, *SCALED_ADDITIONS, *SCALINGS, *LED_BY_FIRST, *COMPARISONS),
    (*CUTS, *SELECTIONS, *GATHERS, *WRITES, *VIEWS, *REARRANGING, *REDUCTIONS, *MIXING, *CHANNELWISE),
    (*FILLS, *JOINING),
)
_KNOWN = frozenset(name for table in _TABLES for name in table)
_NAMESPACES = ("aten", "prims", "torchvision")


def operator(node: fx.Node) -> str:
    """Name of the ATen operator, the same for its in-place form: ``add`` for ``aten.add_.Tensor``.

    An operator of another library has its library's name before it: ``mylib::add``.
    """
    target: Any = node.target
    name = getattr(getattr(target, "overloadpacket", target), "__name__", str(target))
    name = name if name.startswith("_") else name.rstrip("_")
    namespace = getattr(target, "namespace", "aten")
    return name if namespace in _NAMESPACES else f"{namespace}::{name}"


def is_foreign(name: str) -> bool:
    """Return whether an operator is of another library; nothing is known of it, not even whether it is a layer."""
    return "::" in name


def is_pointwise(node: fx.Node) -> bool:
    """Return whether torch itself calls an operator pointwise."""
    return torch.Tag.pointwise in getattr(node.target, "tags", ())


def is_known(node: fx.Node) -> bool:
    """Return whether an operator's effect on values and channels is stated here or by torch."""
    name = operator(node)
    return not is_foreign(name) and (name in _KNOWN or is_pointwise(node))


def effect(node: fx.Node, before: tuple[int, ...], after: tuple[int, ...]) -> dict[str, Any]:
    """Fields of an :class:`~zoo.reader.operation.Operation` on one value, whose shape was ``before``."""
    name = operator(node)
    keeps = before == after and name not in REARRANGING
    if keeps and not is_pointwise(node):
        keeps = name in (*CHANNELWISE, *REDUCTIONS, *SCALINGS, *VIEWS)
    mixes = name in (*MIXING, *PRODUCTS) or not is_known(node)
    fields: dict[str, Any] = {"keeps_channels": keeps, "is_view": name in VIEWS, "mixes": mixes}
    fields["rearranges"] = mixes or name in REARRANGING
    if name in REDUCTIONS:
        given: Any = node.args[1] if len(node.args) > 1 else None
        dimensions = given if isinstance(given, Sequence) else range(len(before)) if given is None else [given]
        fields["taken"] = tuple(dimension % len(before) for dimension in dimensions)
    return fields
