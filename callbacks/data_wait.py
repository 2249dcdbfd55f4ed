"""Time that the network waits for its data."""

from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["DataWait"]


class DataWait(Callback):
    """Logs ``train/data_wait_s``: seconds of each training epoch in which the training loop waited for its next batch.

    The loader counts them, as ``waited_s``: what lies between two steps otherwise, such as callbacks, a validation, a
    checkpoint or the agreement with other processes, is no wait for data. Nothing is logged of a loader that does not
    count. On a GPU it is the host that waits; the GPU has work as long as the host is ahead of it.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's sum, the mean over the processes."""
        waited: float | None = getattr(trainer.train_dataloader, "waited_s", None)
        if waited is not None:
            pl_module.log("train/data_wait_s", waited, batch_size=1, sync_dist=True)
