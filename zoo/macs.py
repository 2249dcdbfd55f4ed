"""Multiply-adds of a network, counted by fvcore under one stated rule."""

import copy
import warnings
from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["count_macs", "first_parameter"]

# fvcore's names of convolutions, linear layers and matrix products; it counts one fused multiply-add as one.
_COUNTED = ("conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum")


def count_macs(model: nn.Module, input_size: Sequence[int]) -> int:
    """Multiply-adds (MAC) of one forward pass: convolutions, linear layers and matrix products, nothing else.

    Batch 1, eval mode, on a copy: the model is left exactly as it was. FLOPs are twice this number. The figure equals
    half of what ``torch.utils.flop_counter.FlopCounterMode`` prints.

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
    replica = copy.deepcopy(model).eval()
    parameter = first_parameter(replica)
    images = torch.zeros(1, *input_size, device=parameter.device, dtype=parameter.dtype)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore still uses torch.jit, which is deprecated
        from fvcore.nn import FlopCountAnalysis

        try:
            analysis = FlopCountAnalysis(replica, images)
            counts = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"Expected a network that takes input of size {tuple(input_size)}: {reason}") from error
    return int(sum(counts[operator] for operator in _COUNTED))


def first_parameter(model: nn.Module) -> torch.Tensor:
    """The first parameter, or an empty CPU tensor for a network that has none: tells device and precision."""
    return next(model.parameters(), torch.empty(0))
