"""Transfer of numbers from the host to the training device, without waiting for what the device has still to do."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["Constants", "host_generator", "to_device"]


def to_device(values: Any, device: torch.device) -> Tensor:
    """Put numbers on a device.

    Args:
        values: Numbers, an array or a tensor, of any shape. CUDA takes over at once what is pinned or below 64 KB.
        device: Where they are wanted.

    Returns:
        A tensor of the same shape; what is there already is not copied.
    """
    tensor = values if isinstance(values, Tensor) else torch.tensor(values)
    # Apple's GPUs need the wait: they may else read what has been freed, and the host what has not arrived.
    return tensor.to(device, non_blocking=device.type not in ("mps", "cpu"))


class Constants:
    """A table of numbers that is put on each device once.

    Args:
        rows: The numbers, row by row.
    """

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        self.rows = rows
        self._copies: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """The table (rows, columns) on a device, float32."""
        if device not in self._copies:
            self._copies[device] = to_device(np.array(self.rows, dtype=np.float32), device)
        return self._copies[device]


def host_generator(generator: Generator) -> np.random.Generator:
    """Derive a generator of the host from the state of any device's generator, and move that one on.

    A number that was drawn on a device cannot be read before the device has done all that was asked of it; the state of
    its generator lies on the host.

    Args:
        generator: On any device.

    Returns:
        A function of the state alone; another one at the next call.

    Example:
        >>> import torch
        >>> first, again = (host_generator(torch.Generator().manual_seed(3)) for _ in range(2))
        >>> first.random() == again.random()
        True
    """
    state = bytes(generator.get_state().tolist())
    torch.empty(1, device=generator.device).uniform_(generator=generator)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(state).digest(), "big"))
