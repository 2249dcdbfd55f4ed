"""Table of metrics, metrics.csv: one row per epoch, whole at any time, continued by a resumed run."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from nnmass.runtime.files import write_atomically

__all__ = ["MetricsHistory", "MetricsTable"]


class MetricsTable(Logger):
    """Writes every logged number to ``metrics.csv``, one row per epoch, columns in the order of their first use.

    Lightning's own CSV logger spreads an epoch over several rows and deletes an existing file. The rows of this one are
    part of every checkpoint (see :class:`MetricsHistory`), so that a resumed run has the history of an unbroken one.

    Args:
        folder: Where the file lies.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows: dict[int, dict[str, Any]] = {}
        self._without_epoch: dict[str, Any] = {}
        self._warned = False

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """Empty: the folder belongs to one run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder of the file."""
        return str(self.path.parent)

    def state_dict(self) -> dict[str, Any]:
        """All rows so far, for a checkpoint."""
        return {"rows": [dict(row) for row in self._rows.values()], "without_epoch": dict(self._without_epoch)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the rows that a checkpoint holds; what was logged later will be logged again."""
        self._rows = {row["epoch"]: dict(row) for row in state["rows"]}
        self._without_epoch = dict(state["without_epoch"])

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log nothing: config.yaml and run.json hold the hyperparameters."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add numbers to the row of their epoch; those that name no epoch go with the next that do.

        Figures of the test set belong to a checkpoint, not to an epoch of the training; run.json holds them.
        """
        metrics = {name: float(value) for name, value in metrics.items() if not name.startswith("test/")}
        epoch = metrics.pop("epoch", None)
        if epoch is None:
            self._without_epoch |= metrics
        if epoch is None or not metrics:
            return
        row = self._rows.setdefault(int(epoch), {"epoch": int(epoch)})
        row |= {"step": step} | self._without_epoch | metrics
        self._without_epoch = {}

    @rank_zero_only
    def save(self) -> None:
        """Write the table."""
        if self._rows:
            table = pd.DataFrame(list(self._rows.values()))
            try:
                write_atomically(self.path, table.to_csv(index=False))
            except OSError as error:  # the next time may be better, and the checkpoints hold the rows
                if not self._warned:
                    print(f"{self.path} cannot be written ({error.strerror}); the training goes on.", file=sys.stderr)
                self._warned = True

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the table a last time."""
        self.save()


class MetricsHistory(Callback):
    """Keeps the rows of the trainer's :class:`MetricsTable` in every checkpoint."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complete the epoch's row before the epoch's checkpoint; Lightning logs the same numbers after it."""
        metrics = {name: float(value) for name, value in trainer.logged_metrics.items() if name.startswith("train/")}
        for table in _tables(trainer):
            table.log_metrics({**metrics, "epoch": trainer.current_epoch}, trainer.global_step - 1)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the rows into the checkpoint."""
        for table in _tables(trainer):
            checkpoint["metrics"] = table.state_dict()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on after the rows of the checkpoint, if the training does."""
        if trainer.state.fn == TrainerFn.FITTING and "metrics" in checkpoint:
            for table in _tables(trainer):
                table.load_state_dict(checkpoint["metrics"])


def _tables(trainer: Trainer) -> list[MetricsTable]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsTable)]
