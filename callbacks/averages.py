"""Notes before a training on how much an average of its weights will still hold of the first ones."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging
from torch.nn.modules.batchnorm import _BatchNorm

from nnmass.callbacks.complete_resume import callbacks_of
from nnmass.runtime.lightning_internals import averaging_function, first_epoch_of

__all__ = ["AverageNotes", "fitting_decay", "share_of_start"]

# More than this share of weights from the training's beginning is said; a decay that leaves the other is proposed.
_HIGHEST_SHARE, _PROPOSED_SHARE, _NOTHING = 0.1, 0.01, 1e-9


class AverageNotes(Callback):
    """Prints a line for each average of the weights that the planned steps leave empty or near the beginning."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print them, in the first process, before the first step."""
        if trainer.is_global_zero:
            for average in callbacks_of(trainer, WeightAveraging):
                self._judge_moving(trainer, average)
            for average in callbacks_of(trainer, StochasticWeightAveraging):
                self._judge_stochastic(trainer, pl_module, average)

    def _judge_moving(self, trainer: Trainer, average: WeightAveraging) -> None:
        steps = _planned_steps(trainer)
        if steps is None:
            return
        name = type(average).__name__
        updates = sum(average.should_update(step_idx=step) for step in range(steps))
        updates += sum(average.should_update(epoch_idx=epoch) for epoch in range(trainer.max_epochs or 0))
        if not updates:
            print(
                f"{name} begins after the {steps:,} steps of this training: what is validated, tested and saved are "
                "the initial weights; an earlier update_starting_at_step averages."
            )
            return
        share = share_of_start(averaging_function(average), updates)
        if share > _HIGHEST_SHARE:
            print(
                f"{name} keeps {share:.0%} of the weights of its beginning after the {updates:,} updates of this "
                f"training: what is validated, tested and saved is near the initial network; "
                f"--trainer.callbacks.decay {fitting_decay(updates)} keeps {_PROPOSED_SHARE:.0%}."
            )

    def _judge_stochastic(
        self, trainer: Trainer, pl_module: LightningModule, average: StochasticWeightAveraging
    ) -> None:
        begins, epochs = first_epoch_of(average), trainer.max_epochs or -1
        has_statistics = any(isinstance(part, _BatchNorm) for part in pl_module.modules())
        epochs -= has_statistics and epochs > 0  # the callback has added one
        if epochs < 1:
            return
        name = type(average).__name__
        if begins >= epochs:
            print(
                f"{name} begins in epoch {begins + 1}, after the {epochs} of this training: what is tested are the "
                f"initial weights; swa_epoch_start below {epochs} averages."
            )
        elif has_statistics:
            print(
                f"{name} adds an epoch to the {epochs}, in which no weight is trained: batch normalisation takes its "
                "statistics with the averaged weights."
            )


def share_of_start(function: Any, updates: int) -> float:
    """Share of the first weights in an average after so many updates, of which the first copies them.

    Args:
        function: New average from average, weights and number of updates; None for the equal mean.
        updates: At least one.

    Example:
        >>> from torch.optim.swa_utils import get_ema_avg_fn
        >>> round(share_of_start(get_ema_avg_fn(0.999), 380), 3)
        0.684
        >>> from nnmass.callbacks.moving_average import warmed_up_average
        >>> round(share_of_start(warmed_up_average(0.9, power=1.0), 5), 3)  # 1/2 x 2/3 x 3/4 x 4/5
        0.2
        >>> share_of_start(None, 4)
        0.0
    """
    if function is None:  # the equal mean begins where it is told to
        return 0.0

    def decay(number: int) -> float:
        return float(function(torch.ones(()), torch.zeros(()), torch.tensor(number)))

    last, share = decay(updates - 1), 1.0
    for number in range(1, updates):  # the first copies
        present = decay(number)
        if present == last:
            return share * last ** (updates - number)
        share *= present
        if share < _NOTHING:  # a long warm-up need not be followed to its end
            return 0.0
    return share


def fitting_decay(updates: int) -> float:
    """Decay of a moving average that keeps 1 % of the first weights after so many updates, to two digits of 1 - decay.

    Example:
        >>> fitting_decay(380), fitting_decay(100_000)
        (0.988, 0.999954)
    """
    exact: float = 1 - _PROPOSED_SHARE ** (1 / max(1, updates - 1))
    return 1 - float(f"{exact:.2g}")


def _planned_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of the training; None where nothing bounds them."""
    steps = trainer.max_steps
    batches, epochs = trainer.num_training_batches, trainer.max_epochs
    if epochs is not None and epochs > 0 and batches != float("inf"):
        by_epochs = epochs * -(-int(batches) // trainer.accumulate_grad_batches)
        steps = by_epochs if steps < 0 else min(steps, by_epochs)
    return steps if steps >= 0 else None
