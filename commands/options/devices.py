"""The option --device."""

import re
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["device_name", "device_named"]


def device_name(text: str) -> str:
    """Check the text of an option ``--device``.

    Raises:
        ArgumentTypeError: If no device can be meant.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ArgumentTypeError(f"Expected --device to be auto, cpu, cuda or cuda:N, but got {text!r}.")
    return text


def device_named(name: str) -> "torch.device":
    """Return the device of that name.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU if there is one.

    Raises:
        ValueError: If it is not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("Expected --device to be there, but torch sees no CUDA device here.")
        if device.index is None:
            return torch.device("cuda", torch.cuda.current_device())
        if device.index >= torch.cuda.device_count():
            last = torch.cuda.device_count() - 1
            known = "cuda:0" if last == 0 else f"cuda:0 to cuda:{last}"
            raise ValueError(f"Expected --device to be {known}, but got {name}.")
    return device
