"""Moving averages of the weights: one that follows them closely at first, and integers that no average takes in."""

from collections.abc import Callable

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from nnmass.callbacks.complete_resume import callbacks_of
from nnmass.runtime.lightning_internals import keep_integers

__all__ = ["EMAWithWarmUp", "KeptIntegers", "warmed_up_average"]


class EMAWithWarmUp(WeightAveraging):
    """Exponential moving average (EMA) of the weights whose decay rises to its full value, so that no start remains.

    After n averages the decay is min(decay, 1 - (1 + n)^-power). The averaged weights are validated, tested and saved.

    Args:
        decay: Full decay, at least 0 and below 1.
        power: How fast the decay rises, above 0 and at most 1; with 1 the average is the equal mean until it has risen.
        use_buffers: Average running statistics too.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Crowson's warm-up, as in timm's ``ModelEmaV3``, whose default power is also 2/3.
    """

    def __init__(self, decay: float = 0.9998, power: float = 2 / 3, use_buffers: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"Expected trainer.callbacks.decay to be at least 0 and below 1, but got {decay}.")
        if not 0 < power <= 1:
            raise ValueError(f"Expected trainer.callbacks.power to lie above 0 and up to 1, but got {power}.")
        # The number of averages is part of the checkpoint, and so the decay goes on where it was.
        super().__init__(use_buffers=use_buffers, avg_fn=warmed_up_average(decay, power))


def warmed_up_average(decay: float, power: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """New average from average, weights and number of averages so far.

    Args:
        decay: Full decay.
        power: How fast the decay rises.

    Example:
        >>> average = warmed_up_average(decay=0.9, power=1.0)
        >>> [round(float(average(torch.ones(()), torch.zeros(()), torch.tensor(n))), 3) for n in (1, 4, 99)]
        [0.5, 0.8, 0.9]
    """

    def average(averaged: Tensor, weights: Tensor, number: Tensor) -> Tensor:
        if not averaged.is_floating_point():  # links and counts: whole numbers have no average
            return weights
        # The number stays a tensor: to read it the host would wait for the device. A share of the new weights, not of
        # the old ones, keeps its digits in float32.
        share = ((1 + number.to(torch.float32)) ** -power).clamp(min=1 - decay)
        return averaged.lerp(weights, share.to(averaged.dtype))

    return average


class KeptIntegers(Callback):
    """Leaves integers out of every average of the weights: rounding would lead links to other channels."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the averages, which the callbacks before this one have set up, take integers over as they are."""
        for average in callbacks_of(trainer, WeightAveraging):
            keep_integers(average)
