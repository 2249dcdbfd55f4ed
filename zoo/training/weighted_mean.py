"""WeightedMean: the mean over all samples of an epoch, added up without reading any value."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["WeightedMean"]


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
