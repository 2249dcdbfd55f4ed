"""Latency of one forward pass."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.benchmark import Timer

__all__ = ["Latency", "measure_latency"]


class Latency(NamedTuple):
    """Time of one forward pass.

    Attributes:
        median: In s.
        spread: Interquartile range, in s.
        repeats: How many passes were timed.
    """

    median: float
    spread: float
    repeats: int


def measure_latency(network: nn.Module, input_size: Sequence[int], batch: int = 1, seconds: float = 0.5) -> Latency:
    """Time forward passes in evaluation mode, on the device and with the number of threads that are set.

    Args:
        network: Any module of one input; its parameters say on which device. Every part keeps its mode.
        input_size: Shape of one input, without the batch.
        batch: Inputs per pass.
        seconds: How long to measure, after a warm-up.

    Source:
        ``torch.utils.benchmark``, which waits for the GPU where there is one.

    Example:
        >>> measure_latency(nn.Linear(3, 2), (3,), seconds=0.01).median > 0
        True
    """
    first = next(network.parameters(), torch.empty(0))
    inputs = torch.zeros(batch, *input_size, device=first.device, dtype=first.dtype)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            timer = Timer("network(inputs)", globals={"network": network, "inputs": inputs}, num_threads=_threads())
            timer.timeit(3)  # the warm-up
            measured = timer.blocked_autorange(min_run_time=seconds)
    finally:
        for module, training in modes.items():
            module.training = training
    return Latency(measured.median, measured.iqr, measured.number_per_run * len(measured.raw_times))


def _threads() -> int:
    """Number of threads in use; the timer's own default is one."""
    return torch.get_num_threads()
