"""Parts for tests of interrupted trainings: a network that draws random numbers, signals, a diary."""

import hashlib
import os
import shutil
import signal
import time
from contextlib import suppress
from itertools import count as counting
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from nnmass.datamodules import ImageNet
from nnmass.runtime import checkpoints as checkpoint_io


class DropoutNetwork(nn.Sequential):
    """Draws from the global generator in every step.

    Args:
        features: Inputs.
        num_classes: Outputs.
        normalise: Whether it has running statistics.
    """

    def __init__(self, features: int, num_classes: int, normalise: bool = True) -> None:
        norm = nn.BatchNorm1d(24) if normalise else nn.Identity()
        hidden = [nn.Linear(features, 24), norm, nn.ReLU(), nn.Dropout(0.3)]
        super().__init__(nn.Flatten(), *hidden, nn.Linear(24, num_classes))
        self.num_classes = num_classes


class ThreeClasses(ImageNet):
    """As ImageNet, of three classes."""

    num_classes = 3


def write_photographs(folder: Path, train: int = 14, val: int = 6) -> None:
    """So many photographs of each of three classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label in range(3):
            place = folder / "imagenet" / split / f"n{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize((90, 60))
                pixels.save(place / f"n{label}_{number}.JPEG", quality=95)


class Diary(Callback):
    """Writes a line for every training step: the step, and a sum over the batch as the network sees it.

    Args:
        path: The file.
        pause_s: Seconds to sleep after each step.
    """

    def __init__(self, path: str, pause_s: float = 0.0) -> None:
        self.path, self.pause_s = Path(path), pause_s

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        time.sleep(self.pause_s)
        content = hashlib.sha256(batch[0].numpy().tobytes() + batch[1].numpy().tobytes()).hexdigest()[:16]
        path = self.path.with_name(f"{self.path.name}.{trainer.global_rank}")
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{trainer.global_step} {content}\n")


class Kill(Callback):
    """Kills this process with SIGKILL.

    Args:
        seconds: So long after the training has begun.
        write: In the middle of this checkpoint of all that are written, from 0.
    """

    def __init__(self, seconds: float | None = None, write: int | None = None) -> None:
        self.seconds, self.write = seconds, write

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.seconds is not None:
            Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        if self.write is not None:
            self._break_the_write(self.write)

    def _break_the_write(self, number: int) -> None:
        write, countdown = checkpoint_io.write_atomically, counting(number, -1)

        def broken(path: Path, content: bytes) -> None:
            if next(countdown) == 0:
                path.parent.mkdir(exist_ok=True)
                path.with_name(f".{path.name}.{os.getpid()}.part").write_bytes(content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            write(path, content)

        checkpoint_io.write_atomically = broken  # type: ignore[assignment]


class KillRank(Callback):
    """Kills the process of rank 1 with SIGKILL before its 20th step, once.

    Args:
        folder: Where it notes that it has.
    """

    def __init__(self, folder: str) -> None:
        self.mark = Path(folder) / "killed"

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 20 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Fingerprint(Callback):
    """Notes a sum over the network that each process has built, before the processes exchange anything.

    Args:
        folder: Where to note it.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            parts = (value.double().numpy().tobytes() for value in pl_module.state_dict().values())
            name = f"fingerprint.{trainer.world_size}.{trainer.global_rank}"
            (self.folder / name).write_text(hashlib.sha256(b"".join(parts)).hexdigest())


class Signal(Callback):
    """Sends a signal to this process and to all that it has started, at one moment of the training.

    Args:
        stage: ``epoch``, ``train``, ``val`` or ``test``: before this epoch, or before this batch of all of that kind.
        count: Which one, from 0.
        name: The signal.
    """

    def __init__(self, stage: str, count: int, name: str = "SIGUSR1") -> None:
        self.stage, self.count, self.number = stage, count, signal.Signals[name]

    def _pass(self, stage: str) -> None:
        if stage == self.stage:
            if self.count == 0:
                children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                for process in [*map(int, children), os.getpid()]:
                    os.kill(process, self.number)
            self.count -= 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pass("epoch")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._pass("train")

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self._pass("val")

    def on_test_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._pass("test")


class Snapshots(Callback):
    """Copies the run's folder, as a kill at that moment would leave it, before batches of all kinds.

    The copy of a moment is ``<stage> <epoch> <batch>`` in the folder; the second test is that of the best checkpoint.

    Args:
        folder: Where the copies lie.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.tests = Path(folder), 0

    def _copy(self, trainer: Trainer, stage: str, number: int, batch: int) -> None:
        run = Path(trainer.default_root_dir)
        shutil.copytree(run, self.folder / f"{stage} {number} {batch}" / run.name)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._copy(trainer, "train", trainer.current_epoch, batch_idx)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if not trainer.sanity_checking:
            self._copy(trainer, f"val after {trainer.global_step} in", trainer.current_epoch, batch_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self.tests += batch_idx == 0
        self._copy(trainer, "test", self.tests, batch_idx)


class FillDisk(Callback):
    """Leaves no room on a file system when the third epoch begins.

    Args:
        folder: In the file system.
    """

    def __init__(self, folder: str) -> None:
        self.file = Path(folder) / "filler"

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 2:
            with suppress(OSError), self.file.open("wb", buffering=0) as file:
                while file.write(bytes(65536)):
                    pass


class Vanish(Callback):
    """Renames a folder in the middle of the second epoch.

    Args:
        folder: The folder; it is then called ``vanished``.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1 and batch_idx == 3:
            self.folder.rename(self.folder.with_name("vanished"))


class UnreachableLogger(CSVLogger):
    """Fails at its first number, or when the second epoch is logged.

    Args:
        when: ``start`` or ``middle``.
    """

    def __init__(self, when: str) -> None:
        super().__init__("nowhere")
        self.when = when

    @property
    def experiment(self) -> Any:
        if self.when == "start":
            raise ConnectionError("no route to host")
        return None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if metrics.get("epoch", 0) >= 1:
            raise ConnectionError("no route to host")

    def log_hyperparams(self, params: Any = None) -> None:
        """Nothing."""

    def save(self) -> None:
        """Nothing."""
