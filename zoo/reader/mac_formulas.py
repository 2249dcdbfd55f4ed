"""Table of operators: those whose multiply-adds count, with their formulas, those that have none, and unknown ones."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest
from math import prod
from typing import Any, Literal

import torch

__all__ = ["COMPOSITES", "FORMULAS", "HIDDEN", "Shape", "base_name", "kind"]


class Shape(tuple[int, ...]):
    """Sizes of a tensor that stands among an operator's arguments; a plain tuple there is an argument of its own."""


Formula = Callable[[Sequence[Any], Sequence[Any]], int]


def _broadcast(left: Sequence[int], right: Sequence[int]) -> int:
    """Elements of two shapes that are stretched to each other."""
    return prod(max(sizes) for sizes in zip_longest(reversed(left), reversed(right), fillvalue=1))


def _matrix_product(left: Shape, right: Shape) -> int:
    """(..., M, K) by (..., K, N): M K N for each of the stretched leading dimensions; of a vector M or N is 1."""
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    return _broadcast(left[:-2], right[:-2]) * rows * left[-1] * columns


def _product_of(first: int) -> Formula:
    """Product of the argument at an index by the next one."""
    return lambda arguments, _: _matrix_product(arguments[first], arguments[first + 1])


def _linear(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    """(..., K) by (N, K), or by (K)."""
    return prod(arguments[0]) * prod(arguments[1][:-1])


def _inner(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    """(..., K) by (..., K), every row by every row; a number scales and is no product."""
    left, right = arguments[:2]
    return prod(left) * prod(right[:-1]) if left and right else 0


def _vectors(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    """Dot products of vectors, position by position."""
    return _broadcast(*arguments[:2])


def _correlate(arguments: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Each output (N, C_out, ...) sums over a filter (C_out, C_in / groups, ...), padding included."""
    return prod(outputs[0]) * prod(arguments[1][1:])


def _correlate_transposed(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    """Transposed: each input (N, C_in, ...) is multiplied by a filter (C_in, C_out / groups, ...)."""
    return prod(arguments[0]) * prod(arguments[1][1:])


def _convolution(arguments: Sequence[Any], outputs: Sequence[Any]) -> int:
    return (_correlate_transposed if arguments[6] else _correlate)(arguments, outputs)


def _convolution_in_time(arguments: Sequence[Any], outputs: Sequence[Any]) -> int:
    """(T, N, C_in) by (taps, C_in, C_out)."""
    return prod(outputs[0]) * prod(arguments[1][:2])


def _bilinear(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    """x_1 W x_2 with W (N, K_1, K_2): one multiply-add per weight and row."""
    return prod(arguments[0][:-1]) * prod(arguments[2])


def _trilinear(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    """The same as torch runs it: three tensors with dimensions of size 1 put in, multiplied and summed."""
    shapes = []
    for shape, inserted in zip(arguments[:3], arguments[3:6], strict=True):
        stretched = list(shape)
        for dimension in inserted:
            stretched.insert(dimension, 1)
        shapes.append(stretched)
    return prod(map(max, *shapes))


def _recurrent(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    """Every weight matrix of every layer and direction, projections too, once per step: (steps, N, K) or packed."""
    weights = next(argument for argument in reversed(arguments[:4]) if isinstance(argument, list))
    return prod(arguments[0][:-1]) * sum(prod(weight) for weight in weights if len(weight) == 2)


def _recurrent_layer(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    return prod(arguments[0][:-1]) * (prod(arguments[1]) + prod(arguments[2]))


def _attention(arguments: Sequence[Any], _: Sequence[Any]) -> int:
    """Queries (..., Q, K) by keys (..., S, K), weights (..., Q, S) by values (..., S, V), a mask's share included."""
    query, key, value = arguments[:3]
    return _broadcast(query[:-2], key[:-2]) * query[-2] * key[-2] * (query[-1] + value[-1])


# By the name of the ATen operator without its namespace; in-place forms have the same.
FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(
        ("matmul", "linalg_matmul", "mm", "bmm", "mv", "dot", "vdot", "_int_mm", "_scaled_mm"), _product_of(0)
    ),
    **dict.fromkeys(("addmm", "addmv", "addbmm", "baddbmm", "_addmm_activation"), _product_of(1)),
    **dict.fromkeys(("linear", "mkldnn_linear"), _linear),
    "inner": _inner,
    "linalg_vecdot": _vectors,
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
    **dict.fromkeys(
        (
            *("conv1d", "conv2d", "conv3d", "_convolution_mode", "mkldnn_convolution", "cudnn_convolution"),
            *("cudnn_convolution_relu", "_conv_depthwise2d", "conv_depthwise3d", "thnn_conv2d", "_slow_conv2d_forward"),
            *("slow_conv3d", "slow_conv3d_forward", "slow_conv_dilated2d", "slow_conv_dilated3d", "deform_conv2d"),
        ),
        _correlate,
    ),
    **dict.fromkeys(
        (
            *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cudnn_convolution_transpose"),
            *("slow_conv_transpose2d", "slow_conv_transpose3d"),
        ),
        _correlate_transposed,
    ),
    "conv_tbc": _convolution_in_time,
    "bilinear": _bilinear,
    "_trilinear": _trilinear,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "_cudnn_rnn"), _recurrent),
    "mkldnn_rnn_layer": _recurrent_layer,
    **dict.fromkeys(
        (
            *("scaled_dot_product_attention", "_scaled_dot_product_attention_math", "flex_attention"),
            *("_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu"),
            *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention"),
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        _attention,
    ),
}

# Operators that torch takes apart into those above, in an order that depends on the sizes.
COMPOSITES = (
    *("einsum", "tensordot", "linalg_multi_dot", "chain_matmul", "matrix_power", "linalg_matrix_power"),
    *("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
)
# Operators that torch takes apart into multiplications and sums, which count as no product.
HIDDEN = ("linalg_vecdot",)

# Decompositions, inverses, transforms and the like: they multiply and add, but are neither convolution nor product.
_UNKNOWN = re.compile(
    r"_?(fft|linalg)_.+|i?stft|matrix_exp|p?inverse|(log|slog)?det|svd|qr|geqrf|orgqr|ormqr|_?cholesky.+|_?lu_.+"
    r"|triangular_solve|cov|corrcoef|_?pdist.*|_?cdist.*|_euclidean_dist|nuclear_norm|_foreach_mm|.*(fbgemm|quantized).*"
)
_KNOWN = re.compile(r"fft_(i?fftshift|r?fftfreq)|linalg_((vector_)?norm|_powsum|cross|diagonal)|quantized_max_pool.*")
# Operators that take several tensors and whose schema does not say that they work element by element.
_FREE = re.compile(
    r"__\w+__|.*(batch|layer|group|instance|rms|weight)_norm.*|_?(native_)?(adaptive_|fractional_)?(avg|max)_(un)?pool\d?d?.*"
    r"|.*embedding.*|.*_loss.*|kl_div|binary_cross_entropy.*|_?(native_|fused_|feature_|alpha_)*dropout|_foreach_.+|_fused_(adagrad|adam|adamw|sgd)"
    r"|_?(unsafe_)?(index|masked)(_.+)?|(scatter|select|slice|diagonal|as_strided)(_.+)?|gather|take|take_along_dim|put"
    r"|_?copy.*|set|set_data|resize_as.*|type_as|fill|_?grid_sampler.*|cudnn_grid_sampler|affine_grid_generator"
    r"|bernoulli|binomial|normal|_philox.+|poisson|randint_like|lin(space)|logspace|result_type|allclose|is_same_size"
    r"|is_set_to|isin|isclose|_has_.+|_?unique.*|_aminmax|cummax|cummin|_cummax_helper|_cummin_helper|sort|topk|kthvalue"
    r"|mode|median|nanmedian|quantile|nanquantile|bucketize|searchsorted|histogram.*|_histogram.+|bincount|count"
    r"|cross|dist|pairwise_distance|cosine_similarity|outer|ger|addr|kron|complex|polar|diff|gradient|trapezoid|trapz"
    r"|cumulative_trapezoid|repeat_interleave|segment_reduce|_?pack_.+|_pad_packed_sequence|_thnn_fused_(lstm|gru)_cell"
    r"|_nested_.+|_?(padded_dense_to_jagged|jagged_to_padded_dense)_forward|_transform_bias_rescale_qkv|_fused_sdp_choice"
    r"|_?sparse_(bsc|bsr|compressed|coo|csc|csr)_tensor.*|_validate_sparse.+|sparse_mask|_functional_assert_async"
    r"|_?prelu(_kernel)?|rrelu_with_noise.*|_add_relu|_safe_softmax|.*softmax.*|fake_quantize.+|_fake_quantize.+"
    r"|quantize_per_(tensor|channel)|log_sigmoid_forward|(floor_|true_)?divide|multiply|subtract|greater|less"
    r"|(greater|less|not)_equal|arctan2|special_(gammainc|gammaincc|xlogy)|_test_.+|_make_dual.*|_new_zeros_with.+"
)
# Of other libraries; what else they offer is unknown.
_FREE_ELSEWHERE = re.compile(
    r"torchvision::(nms|(ps_)?roi_(align|pool))|prim::.+|prims::.+|inductor::.+|profiler::_record_function_.+"
)


def base_name(operator: str) -> str:
    """Name without namespace and without the underscore of an in-place form.

    Example:
        >>> base_name("aten::addmm_")
        'addmm'
    """
    name = operator.partition("::")[2]
    return name if name.endswith("__") else name.removesuffix("_")


@cache
def kind(operator: str) -> Literal["counted", "free", "unknown"]:
    """Classify an operator: its multiply-adds count, it has none that do, or this is unknown.

    Free are operators that take no tensor, look at one differently, or work element by element, over one dimension, in
    windows or by position: shapes, activations, normalisations, pooling, indexing, sampling, random draws, losses.

    Args:
        operator: Namespace and name, as ``aten::addmm_``.

    Example:
        >>> kind("aten::addmm_"), kind("aten::relu"), kind("aten::fft_rfft2")
        ('counted', 'free', 'unknown')
    """
    namespace, name = operator.partition("::")[0], base_name(operator)
    if (name in FORMULAS or name in COMPOSITES) and (namespace != "torchvision" or name == "deform_conv2d"):
        return "counted"
    if namespace != "aten":
        return "free" if _FREE_ELSEWHERE.fullmatch(operator) else "unknown"
    if _KNOWN.fullmatch(name) or (_FREE.fullmatch(name) and not _UNKNOWN.fullmatch(name)):
        return "free"
    return "unknown" if _UNKNOWN.fullmatch(name) or not _is_plain(operator) else "free"


def _is_plain(operator: str) -> bool:
    """Return whether torch tags an ATen operator as element by element, or it takes one tensor at most or views one."""
    names = {operator.partition("::")[2], base_name(operator)}
    packets = [getattr(torch.ops.aten, name) for name in names if hasattr(torch.ops.aten, name)]
    forms = [getattr(packet, form) for packet in packets for form in packet.overloads()]
    if any({torch.Tag.pointwise, torch.Tag.reduction} & set(form.tags) for form in forms):
        return True
    return bool(forms) and all(_takes_one_tensor(form._schema) for form in forms)


def _takes_one_tensor(schema: Any) -> bool:
    views = any(result.alias_info is not None and not result.alias_info.is_write for result in schema.returns)
    tensors = [argument for argument in schema.arguments if "Tensor" in str(argument.type) and argument.name != "out"]
    return views or len(tensors) < 2
