"""Switches of TF32, the shortened float32 of NVIDIA's tensor cores, and of full precision."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

__all__ = ["full_precision", "set_tf32", "tf32", "tf32_in_use"]


def set_tf32(enabled: bool) -> None:
    """Let float32 convolutions and matrix products on NVIDIA GPUs round their factors to TF32, or not.

    PyTorch's default is on for convolutions and off for matrix products. TF32 keeps float32's range and 10 bits of its
    23-bit mantissa.

    Args:
        enabled: For both.
    """
    torch.backends.cudnn.allow_tf32 = enabled
    torch.backends.cuda.matmul.allow_tf32 = enabled


@contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """Let float32 operations round to TF32, or not, inside the block alone."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    set_tf32(enabled)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


def tf32_in_use() -> bool:
    """Return whether float32 convolutions or matrix products round to TF32, on GPUs that have it."""
    return any(kind.fp32_precision == "tf32" for kind in _kinds()[:3])


@contextmanager
def full_precision() -> Iterator[None]:
    """Calculate in the precision of the numbers inside the block, or function: without TF32 and without autocast.

    What was set before is set again afterwards, by whichever of PyTorch's two ways it had been set.
    """
    with ExitStack() as stack:
        for kind in _kinds():
            stack.callback(setattr, kind, "fp32_precision", kind.fp32_precision)
        # PyTorch refuses to tell by its older interface what has been set by the newer one alone.
        with suppress(RuntimeError):
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.backends.cuda.matmul.allow_tf32 = False
        with suppress(RuntimeError):
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
            torch.backends.cudnn.allow_tf32 = False
        for kind in _kinds():
            kind.fp32_precision = "ieee"
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _kinds() -> list[Any]:
    """The switches of convolutions and matrix products: those of NVIDIA GPUs, then those of processors."""
    backends: Any = torch.backends
    libraries = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    return [*libraries, backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
