"""metrics.csv: one row per epoch, whole at any time, continued by a resumed run."""

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from callbacks.run_file import write_atomically

__all__ = ["MetricsTable"]


class MetricsTable(Logger):
    """Writes every logged number to ``metrics.csv``, one row per epoch, columns in the order of their first use.

    Lightning's own CSV logger spreads an epoch over several rows and deletes an existing file; this one goes on in it.

    Args:
        folder: Where the file lies.
        resume_step: Optimizer steps that the resumed checkpoint had taken: later rows are dropped, since they will be
            written again. With 0 a file of an earlier run is an error.

    Raises:
        FileExistsError: If the file is there and ``resume_step`` is 0.
    """

    def __init__(self, folder: str | Path, resume_step: int = 0) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows: dict[Any, dict[str, Any]] = {}
        self._without_epoch: dict[str, Any] = {}
        if getattr(rank_zero_only, "rank", 0) == 0 and self.path.exists():
            if not resume_step:
                raise FileExistsError(f"Expected no metrics of an earlier run, but {self.path} exists.")
            for row in pd.read_csv(self.path).to_dict("records"):
                if row["step"] < resume_step:
                    kept = {str(k): v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))}
                    self._rows[int(row["epoch"])] = kept

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

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml and run.json hold them."""

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
            write_atomically(self.path, table.to_csv(index=False))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the table a last time."""
        self.save()
