"""State that Lightning leaves out of checkpoints, with which a run goes on as if it had not been stopped."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)
from pytorch_lightning.trainer.states import TrainerFn

from nnmass.runtime.lightning_internals import end_as_unbroken

__all__ = ["CompleteResume", "callbacks_of", "stopped_early", "time_is_over"]

# Lightning does not tell them of an epoch that goes on in its middle, and they lose what they decided at its start.
_DECIDE_AT_EPOCH_START = (GradientAccumulationScheduler, StochasticWeightAveraging)


class CompleteResume(Callback):
    """Keeps in every checkpoint, and puts back from it, what Lightning leaves out.

    - Whether the training ends with this epoch. A run that is over calls the hooks of a training's end once more, which
      put averaged weights into the network.
    - The network's weights and their average each under its name: during a validation they are exchanged.
    - The newest metrics, which callbacks read.
    - What callbacks decide when an epoch begins, for a run that goes on in its middle.
    - The learning rates of stochastic weight averaging, whose schedule starts anew before it is restored.
    - Where the best checkpoints lie, for a run folder that has been renamed or moved.
    """

    def __init__(self) -> None:
        self._in_epoch = self._has_swapped = self._averages_stochastically = False
        self._rates: list[float] = []
        self._metrics: dict[str, torch.Tensor] = {}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that weights and average are exchanged."""
        self._has_swapped = bool(callbacks_of(trainer, WeightAveraging))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that weights and average are exchanged back."""
        self._has_swapped = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the next epoch begins at its start."""
        self._in_epoch = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Complete the checkpoint; callbacks that average weights have added theirs."""
        ends = trainer.should_stop and not (time_is_over(trainer) and stopped_early(trainer) is None)
        metrics = {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}
        checkpoint["resume"] = {"in_epoch": self._in_epoch, "ends": ends, "figures": metrics}
        if self._has_swapped and "current_model_state" in checkpoint:
            weights, average = checkpoint["state_dict"], checkpoint["current_model_state"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = average, weights

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take over what is needed before the training, if one goes on."""
        states = checkpoint["callbacks"]
        _follow_the_folder(trainer, states)
        if trainer.state.fn != TrainerFn.FITTING:
            return
        kept = checkpoint.get("resume", {})
        self._in_epoch, self._metrics = kept.get("in_epoch", False), kept.get("figures", {})
        trainer.should_stop = trainer.should_stop or kept.get("ends", False)
        averaging = callbacks_of(trainer, StochasticWeightAveraging)
        schedules = [states.get(part.state_key, {}).get("scheduler_state") for part in averaging]
        self._averages_stochastically = any(state is not None for state in schedules)
        end_as_unbroken(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """In the middle of an epoch let callbacks decide again what they decided at its start, and change nothing."""
        self._rates = _learning_rates(trainer)
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._metrics.items()})
        if not self._in_epoch:
            return
        kept = {name: value.clone() for name, value in pl_module.state_dict().items()}
        for kind in _DECIDE_AT_EPOCH_START:
            for callback in callbacks_of(trainer, kind):
                callback.on_train_epoch_start(trainer, pl_module)
        with torch.no_grad():
            pl_module.load_state_dict(kept)
        _set_learning_rates(trainer, self._rates)
        self._averages_stochastically = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the learning rates of the checkpoint, which the new schedule has overwritten."""
        self._in_epoch = True
        if self._averages_stochastically:
            _set_learning_rates(trainer, self._rates)
        self._averages_stochastically = False


def callbacks_of(trainer: Trainer, kind: type[Callback]) -> list[Any]:
    """The trainer's callbacks of one class."""
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]  # type: ignore[attr-defined]


def time_is_over(trainer: Trainer) -> bool:
    """Return whether a Timer's time is used up; a resumed run may be given more."""
    left = (timer.time_remaining() for timer in callbacks_of(trainer, Timer))
    return any(seconds is not None and seconds <= 0 for seconds in left)


def stopped_early(trainer: Trainer) -> str | None:
    """Reason why EarlyStopping ends the training, in Lightning's words; None if it does not."""
    reasons = (callback.stopping_reason_message for callback in callbacks_of(trainer, EarlyStopping))
    return next((reason.removesuffix(" Signaling Trainer to stop.") for reason in reasons if reason), None)


def _learning_rates(trainer: Trainer) -> list[float]:
    return [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]


def _set_learning_rates(trainer: Trainer, rates: list[float]) -> None:
    groups = (group for optimizer in trainer.optimizers for group in optimizer.param_groups)
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate


def _follow_the_folder(trainer: Trainer, states: dict[str, Any]) -> None:
    """Update a checkpoint's paths to the run's present folder: Lightning forgets the best score where they differ."""
    for callback in callbacks_of(trainer, ModelCheckpoint):
        state = states.get(callback.state_key)
        if not state or not state["best_model_path"]:
            continue
        before, now = state["dirpath"], callback.dirpath

        def moved(path: str, before: str = before, now: str = now) -> str:
            return (
                str(Path(now) / Path(path).relative_to(before)) if path and Path(path).is_relative_to(before) else path
            )

        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = moved(state[name])
        state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
        state["dirpath"] = now
        if not Path(state["best_model_path"]).is_file():
            if trainer.is_global_zero:
                print(f"{state['best_model_path']} is not there; the best checkpoint is that of the epochs to come.")
            del states[callback.state_key]
