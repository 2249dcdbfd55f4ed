"""Progress that stays: one line per epoch, above the bar where there is one."""

import time

from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["EpochLines"]


class EpochLines(Callback):
    """Prints one line per training epoch, on rank 0: number, losses, accuracies, highest learning rate, seconds."""

    def __init__(self) -> None:
        self._began = 0.0
        self._rate = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of an epoch that goes on in its middle."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and note the learning rate before the schedule moves on."""
        self._began = time.monotonic()
        self._rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line; a bar, which is drawn over itself, is asked to print it above."""
        if not trainer.is_global_zero:
            return
        left_out = ("lr-", "train/data_wait_s")
        metrics = {name: value for name, value in trainer.callback_metrics.items() if "/" in name}
        parts = [f"{name} {float(value):.4g}" for name, value in metrics.items() if not name.startswith(left_out)]
        seconds = time.monotonic() - self._began
        of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        epoch = f"epoch {trainer.current_epoch + 1}{of}"
        line = ", ".join([epoch, *parts, f"lr {self._rate:.3g}", f"{seconds:.1f} s"])
        bar = trainer.progress_bar_callback
        if bar is not None and getattr(bar, "is_enabled", True):
            bar.print(line)
        else:
            print(line, flush=True)
