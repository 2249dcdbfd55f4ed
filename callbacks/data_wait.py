"""How long the network waits for its data."""

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["DataWait"]


class DataWait(Callback):
    """Logs ``train/data_wait_s``: seconds of each training epoch between the end of a step and the next batch."""

    def __init__(self) -> None:
        self._mark = 0.0
        self._waited = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of an epoch that goes on in its middle."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._mark, self._waited = time.perf_counter(), 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop the clock."""
        self._waited += time.perf_counter() - self._mark

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start it again."""
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a validation within the epoch out."""
        self._mark = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's sum, the mean over the processes."""
        pl_module.log("train/data_wait_s", self._waited, batch_size=1, sync_dist=True)
