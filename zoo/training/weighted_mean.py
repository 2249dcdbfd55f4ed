"""WeightedMean: the mean over all samples of an epoch, added up without reading any value."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["WeightedMean", "restore"]


class WeightedMean(Metric):
    """Sum over samples divided by their number, over all batches and processes.

    ``torchmetrics.MeanMetric`` either looks for values that are not numbers, for which it waits for the device at every
    batch, or leaves the weights out of account (``nan_strategy="disable"``).

    Example:
        >>> mean = WeightedMean()
        >>> mean.update(torch.tensor(6.0), 3)
        >>> mean.update(torch.tensor(0.0), 1)
        >>> mean.compute().item()
        1.5
    """

    full_state_update = False
    total: Tensor
    number: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("number", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, total: Tensor, number: int) -> None:
        """Add a batch.

        Args:
            total: Sum over its samples.
            number: How many there are.
        """
        self.total += total
        self.number += number

    def compute(self) -> Tensor:
        """The mean of all that was added."""
        return self.total / self.number


def restore(metric: Metric, count: int, values: dict[str, Tensor], rank: int, size: int) -> None:
    """Restore a metric of sums from those of all processes; if their number has changed, the first takes the total.

    Args:
        metric: The metric.
        count: Updates that it has seen.
        values: Its states by name, of all processes, (processes, ...).
        rank: Number of this process.
        size: Number of processes.
    """
    metric.reset()
    metric._update_count = count
    for name, of_all in values.items():
        total = of_all.sum(dim=0) if rank == 0 else torch.zeros_like(of_all[0])
        mine = of_all[rank] if len(of_all) == size else total
        setattr(metric, name, mine.to(metric.device))
