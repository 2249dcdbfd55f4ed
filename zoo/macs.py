"""Multiply-adds of a network, counted by fvcore under one stated rule."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.seeding import kept_random_state
from zoo.wrappers import replica

__all__ = ["attention_in_parts", "count_macs", "first_parameter"]

# fvcore's names of convolutions, linear layers and matrix products; it counts one fused multiply-add as one.
_COUNTED = ("conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum", "scaled_dot_product_attention")
# Operators that multiply matrices inside, of which fvcore does not know how many.
_UNKNOWN = ("lstm", "gru", "rnn", "tensordot", "multi_dot", "baddbmm", "multi_head", "transformer", "bilinear")


def count_macs(model: nn.Module, input_size: Sequence[int]) -> int:
    """Multiply-adds (MAC) of one forward pass: convolutions, linear layers and matrix products, nothing else.

    Batch 1, eval mode, on a copy without forward hooks: the model is left exactly as it was. FLOPs are twice this
    number. fvcore counts, and so does ``torch.utils.flop_counter.FlopCounterMode`` on the network without values. Where
    they differ, half of the latter is right, for fvcore does not see compiled parts, recurrent layers, convolutions
    whose padding is a word, and products inside operators of one's own; where values decide what runs, fvcore is.

    Args:
        model: Any network of one image-like input.
        input_size: Shape of one input without the batch dimension, for example (3, 32, 32), in px.

    Returns:
        MACs of the forward pass of one input.

    Raises:
        ValueError: If the network does not accept an input of this size.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1), (3, 4, 4))
        3456
    """
    # Without gradients: torch's counter stumbles over parameters that are passed to a module as an argument.
    try:
        copied = replica(model).requires_grad_(False)
        parameter = first_parameter(copied)
        images = torch.zeros(1, *input_size, device=parameter.device, dtype=parameter.dtype)
        with kept_random_state(images.device), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fvcore still uses torch.jit, which is deprecated
            counted = None if images.is_meta else _count_with_fvcore(copied, images)
            try:
                return _count_with_torch(copied.to("meta"), images.to("meta"))
            except Exception:  # values decide what runs
                if counted is None:
                    raise
                return counted
    except Exception as error:  # whatever a stranger's forward raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise ValueError(f"Expected a network that takes input of size {tuple(input_size)}: {reason}") from error


def _count_with_fvcore(model: nn.Module, images: torch.Tensor) -> int | None:
    """None where fvcore cannot run the network, or meets operators that it does not know and that count."""
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
    try:
        with attention_in_parts():
            counts = analysis.by_operator()
    except Exception:  # whatever torch.jit does not trace; torch's own counter runs the network as it is
        return None
    if any(unknown in operator for operator in analysis.unsupported_ops() for unknown in _UNKNOWN):
        return None
    return int(sum(counts[operator] for operator in _COUNTED))


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """The two matrix products of attention, which fvcore does not know: queries by keys, and weights by values."""
    query, key, value = (tensor.type().sizes() for tensor in inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _count_with_torch(model: nn.Module, images: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.compiler.set_stance("force_eager"):
        model(images)
    return counter.get_total_flops() // 2


@contextmanager
def attention_in_parts() -> Iterator[None]:
    """Within this context attention runs as its separate operators, and not as one fused kernel of unknown content."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def first_parameter(model: nn.Module) -> torch.Tensor:
    """The first parameter, or an empty CPU tensor for a network that has none: tells device and precision."""
    return next(model.parameters(), torch.empty(0))
