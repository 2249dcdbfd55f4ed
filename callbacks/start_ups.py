"""Starts of a job that have reached no first step: after three of them it is not started again."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from nnmass.runtime.files import write_atomically
from nnmass.runtime.launch import Launch

__all__ = ["StartUps"]

_MOST = 3


class StartUps(Callback):
    """Keeps in a file which starts of a job have not come to a training, from before anything is built.

    What ends a process in between, such as a killer of processes that take too much memory, lets a job be queued
    again; nothing else would tell of it. Each start is a line with the number of restarts before it. The file goes
    when the training begins, whose starts the record of the run tells, or when all is done.

    Args:
        output_dir: Folder of the runs.
        launch: How this process came to be.
        identity: The configuration's id; a job may train several.
    """

    def __init__(self, output_dir: Path, launch: Launch, identity: str) -> None:
        self.launch = launch
        self.file = output_dir / f".{(launch.job or 'none').replace(' ', '_').replace('/', '_')}_{identity}.starts"

    def note(self) -> None:
        """Add this start, by the first process.

        Raises:
            ValueError: If three earlier ones have come to no training.
        """
        if self.launch.job is None:
            return
        lines = self.file.read_text().split() if self.launch.restarts and self.file.exists() else []
        earlier = [line for line in lines if line.isdigit() and int(line) < self.launch.restarts]
        if len(earlier) >= _MOST:
            raise ValueError(
                f"Expected {self.launch.job} to begin its training when it is started again, but its last {_MOST} "
                "starts have ended before the first step; once the cause is mended, submit it anew."
            )
        if self.launch.rank == 0:
            write_atomically(self.file, "".join(f"{line}\n" for line in [*earlier, self.launch.restarts]))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the starts: this one has come to a training."""
        self.forget()

    def forget(self) -> None:
        """Take the file away, by the first process."""
        if self.launch.rank == 0 and self.launch.job is not None:
            self.file.unlink(missing_ok=True)
