"""Watch over the loss and the weights: a training ends as soon as they are no longer numbers."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["FiniteLoss", "NonFiniteLossError"]

_NEVER = -1  # stands for a step, on the device


class NonFiniteLossError(RuntimeError):
    """The training loss became infinite or not a number, or the weights did."""


class FiniteLoss(Callback):
    """Raises when a training loss was infinite or not a number, or when weights are not numbers after an epoch.

    The first bad step is noted on the device; reading it there costs a synchronisation, so that happens only every
    ``every_n_steps`` steps and at the end of each epoch, before that epoch's checkpoint is written.

    Args:
        every_n_steps: Training steps between two looks.

    Raises:
        NonFiniteLossError: It names the step.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self._first_bad: torch.Tensor | None = None
        self._step = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note which optimizer step the batch belongs to."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether this step's loss is finite."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if self._first_bad is None:
            self._first_bad = torch.full((), _NEVER, device=loss.device)
        fresh = (self._first_bad == _NEVER) & ~torch.isfinite(loss.detach())
        self._first_bad = torch.where(fresh, self._step, self._first_bad)
        if (batch_idx + 1) % self.every_n_steps == 0:
            self._require_finite_losses(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check once more before the epoch's checkpoint, the weights too: no loss has shown those of the last step."""
        flags = [_local(weights).isnan().any() for weights in pl_module.parameters()]
        # The device has both answers to compute before either is read, so that it is waited for once.
        bad_weights = torch.where(torch.stack(flags).any(), self._step, _NEVER) if flags else None
        self._require_finite_losses(trainer)
        if bad_weights is not None and int(bad_weights) != _NEVER:
            raise _error(trainer, f"weights hold NaN by step {self._step}")

    def _require_finite_losses(self, trainer: Trainer) -> None:
        if self._first_bad is not None and (step := int(self._first_bad)) != _NEVER:
            raise _error(trainer, f"training loss was not finite at step {step}")


def _error(trainer: Trainer, what: str) -> NonFiniteLossError:
    remedy = "try a lower learning rate, a warm-up or precision 32-true"
    return NonFiniteLossError(f"The {what} (epoch {trainer.current_epoch}); {remedy}.")


def _local(weights: torch.Tensor) -> torch.Tensor:
    """The part of sharded weights that this process has."""
    part: torch.Tensor = getattr(weights, "to_local", weights.detach)()
    return part
