"""Checkpoint from which an interrupted run is resumed: written between two batches, whatever ends the run."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch.distributed import ReduceOp

from nnmass.runtime.files import part_of
from nnmass.runtime.hosts import hosts
from nnmass.runtime.lightning_internals import follows_another_batch, leave_signals_to_us, takes_statistics_only

__all__ = ["ResumeCheckpoint", "StopRequest", "TrainingStopped"]

# What the processes tell each other after each batch; the highest wins.
_GO_ON, _SAVE, _STOP = 0, 1, 2
# Any other signal outranks these: it asks to be queued again.
_ORDER = {None: _GO_ON, **{getattr(signal, name, name): _STOP for name in ("SIGTERM", "SIGINT", "SIGHUP")}}
_REQUEUE = 3


class StopRequest(Protocol):
    """Request that the training should stop, noted until it is asked for.

    Attributes:
        received: The signal that asks for it; None as long as there is none.
    """

    received: signal.Signals | None

    def watch(self) -> None:
        """Listen to Ctrl-C too, and set the signal handlers again; Lightning replaces that of SIGTERM."""


class TrainingStopped(Exception):  # noqa: N818 -- no error
    """A signal has ended the training between two batches, and its state is saved.

    Args:
        step: Optimizer steps that were taken.
        come_back: Whether the signal announced the end of a job's time, rather than asked for the end.
    """

    def __init__(self, step: int, come_back: bool) -> None:
        super().__init__(f"Stopped at step {step}")
        self.come_back = come_back


class ResumeCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``, and the one before it as ``previous.ckpt``.

    It is written at the end of each epoch, after every ``every_n_minutes``, and when a signal asks for the end: then
    after the batch at hand, of the training or of the validation, which begins anew when the run goes on. All
    processes agree after each batch, since a signal reaches them at different times.

    Args:
        folder: Where the checkpoints lie.
        request: Whether to stop.
        every_n_minutes: Minutes of training between two checkpoints within an epoch.

    Raises:
        TrainingStopped: In every process, once the checkpoint is written.
    """

    def __init__(self, folder: Path, request: StopRequest, every_n_minutes: float = 15.0) -> None:
        self.path = folder / "last.ckpt"
        self.request, self.every_n_minutes = request, every_n_minutes
        self._saved_at = time.monotonic()
        self._between_steps = True
        self._common_batches = 0

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back."""
        self.request.watch()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back, and start the clock."""
        self.request.watch()
        leave_signals_to_us(trainer)
        self._saved_at = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, if it is time; the epoch before is saved, and all its metrics are logged."""
        self._agree(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save or stop, if it is time and neither a validation nor the epoch's end follows: there it is done, too."""
        has_stepped = trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self._between_steps = has_stepped or takes_statistics_only(trainer)
        if self._between_steps and follows_another_batch(trainer):
            self._agree(trainer, may_save=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches that every process has: at these they can meet."""
        self._meet(trainer, trainer.num_val_batches)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Stop, if it is time; gradients that are gathered for the next step would be lost."""
        if not trainer.sanity_checking and self._between_steps and batch_idx < self._common_batches:
            self._agree(trainer, may_save=trainer.state.fn == TrainerFn.FITTING)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save."""
        self._save(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back, and count the batches that every process has."""
        self.request.watch()
        self._meet(trainer, trainer.num_test_batches)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Stop, if it is time; the training is over and saved."""
        if batch_idx < self._common_batches:
            self._agree(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let a validation that is cut off begin at its first batch when the run goes on."""
        if trainer.validating and trainer.state.fn == TrainerFn.FITTING:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            batches = progress["current"]["ready"]
            for counts, before in ((progress["current"], 0), (progress["total"], progress["total"]["ready"] - batches)):
                counts |= {"ready": before + 1, "started": before + 1, "processed": before, "completed": before}
            progress["is_last_batch"] = False

    def _meet(self, trainer: Trainer, batches: list[int | float]) -> None:
        self._common_batches = -self._highest(trainer, -int(sum(batches)))

    def _agree(self, trainer: Trainer, may_save: bool = False) -> None:
        """Save or stop if any process asks for it; only between two training batches is there something to save."""
        due = may_save and time.monotonic() - self._saved_at > 60 * self.every_n_minutes
        wish = self._highest(trainer, max(_ORDER.get(self.request.received, _REQUEUE), _SAVE if due else _GO_ON))
        if may_save and wish >= _SAVE:
            self._save(trainer)
        if wish >= _STOP:
            raise TrainingStopped(trainer.global_step, wish == _REQUEUE)

    def _highest(self, trainer: Trainer, number: int) -> int:
        """The highest of the processes' numbers; by way of the hosts, so that no GPU is waited for."""
        if trainer.world_size == 1:
            return number
        highest = torch.tensor(number)
        torch.distributed.all_reduce(highest, ReduceOp.MAX, hosts(trainer))
        return int(highest)

    def _save(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.path.exists():
            _keep(self.path, self.path.with_name("previous.ckpt"))
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()


def _keep(path: Path, name: Path) -> None:
    """Let ``name`` mean what ``path`` means now; where the file system has no links, ``path`` itself is renamed."""
    link = part_of(name)
    try:
        os.link(path, link)
    except OSError:
        os.replace(path, name)
        return
    try:
        os.replace(link, name)
    finally:
        with suppress(OSError):
            link.unlink()
