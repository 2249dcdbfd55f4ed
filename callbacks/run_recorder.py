"""The record of a run, run.json: configuration, device, seed, code, end and results."""

import platform
import subprocess
import time
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from shutil import which
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from nnmass.callbacks.complete_resume import stopped_early, time_is_over
from nnmass.callbacks.resume_checkpoint import TrainingStopped
from nnmass.runtime.device_facts import device_facts
from nnmass.runtime.files import read_run, update_run
from nnmass.runtime.partial import part_seen
from nnmass.zoo.precision import tf32_in_use
from nnmass.zoo.wrappers import pass_in_use

__all__ = ["RunRecorder"]

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm", "fvcore", "pandas", "numpy")


class RunRecorder(Callback):
    """Writes ``run.json`` into the trainer's ``default_root_dir``: at the start, after every epoch, at the end.

    Its ``status`` is ``running``, ``trained``, ``interrupted`` or ``failed``; whoever tests the network last says that
    it is ``finished``.

    Args:
        facts: Entries that only the caller knows, such as seed, command and configuration name.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self._began = time.monotonic()
        self._earlier_s = 0.0
        self._has_noted_pass = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the configuration, device and code before the run."""
        if not trainer.is_global_zero:
            return
        folder = trainer.default_root_dir
        earlier = read_run(folder)
        self._earlier_s = earlier.get("wall_time_s", 0.0)
        device = trainer.strategy.root_device
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        update_run(
            folder,
            **self.facts,
            status="running",
            reason=None,  # why an earlier part ended is over
            began=earlier.get("began", _now()),
            resumes=earlier.get("resumes", -1) + 1,
            versions={"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
            git_commit=_git_commit(),
            **device_facts(device),
            host=platform.node(),
            threads=torch.get_num_threads(),
            precision=str(trainer.precision),
            tf32=device.type == "cuda" and tf32_in_use(),
            world_size=trainer.world_size,
            batch_size_per_process=getattr(datamodule, "batch_size", None),
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note at which step this part of the training begins."""
        starts = read_run(trainer.default_root_dir).get("starts", [])
        self._note(trainer, starts=[*starts, trainer.global_step])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note after the first batch in which way the network's cells run."""
        if not self._has_noted_pass:
            self._note(trainer, forward_pass=pass_in_use(pl_module))
            self._has_noted_pass = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the newest metrics."""
        self._note(trainer, epochs=trainer.current_epoch + 1, last=_logged_numbers(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best validation accuracy."""
        accuracy = trainer.callback_metrics.get("val/accuracy")
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and accuracy is not None:
            best = read_run(trainer.default_root_dir).get("best_val_accuracy") or 0.0
            self._note(trainer, best_val_accuracy=max(best, float(accuracy)), val_part=part_seen(trainer, "val"))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the training came to its end, and why, if before its last epoch."""
        status = "interrupted" if time_is_over(trainer) else "trained"
        self._note(trainer, status=status, ended=_now(), stopped_early=stopped_early(trainer))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the test metrics, and their checkpoint; those of the last weights are kept beside."""
        checkpoint = Path(str(trainer.ckpt_path)).name if trainer.ckpt_path else "last weights"
        tested: dict[str, Any] = {**_logged_numbers(trainer, "test/"), "checkpoint": checkpoint}
        tested |= {"precision": str(trainer.precision), "part": part_seen(trainer, "test")}
        self._note(trainer, test=tested, **({} if trainer.ckpt_path else {"test_last": tested}))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Note why the training ended early."""
        if trainer.state.fn == TrainerFn.FITTING:
            stopped = isinstance(exception, KeyboardInterrupt | SystemExit | TrainingStopped)
            with suppress(OSError):  # a full disk may be the very exception
                self._note(trainer, status="interrupted" if stopped else "failed", ended=_now(), reason=repr(exception))

    def _note(self, trainer: Trainer, **entries: Any) -> None:
        if not trainer.is_global_zero or not read_run(trainer.default_root_dir):
            return
        if trainer.state.fn == TrainerFn.FITTING:
            entries["wall_time_s"] = round(self._earlier_s + time.monotonic() - self._began, 1)
        update_run(trainer.default_root_dir, **entries)


def _logged_numbers(trainer: Trainer, prefix: str = "") -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _git_commit() -> str | None:
    """Commit of this code, with ``-dirty`` where files differ from it; None where git does not track it."""
    here = Path(__file__)
    if which("git") is None or _git(here, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(file: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=file.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
