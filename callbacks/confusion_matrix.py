"""The confusion matrix, and accuracy, precision, recall and F1 of each class, at test."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from nnmass.callbacks.pictures import log_picture
from nnmass.callbacks.recorder import Recorder, reason
from nnmass.runtime.csv_text import csv_text
from nnmass.runtime.files import write_atomically, write_figure
from nnmass.runtime.hosts import hosts
from nnmass.zoo.training.metrics import class_scores

__all__ = ["ConfusionMatrix", "draw_confusion_matrix"]

_LONGEST = 30  # characters of a class's name in the figure, which would have no room for itself else


class ConfusionMatrix(Recorder):
    """Writes ``confusion_matrix.csv`` and ``.png`` and ``class_accuracy.csv`` into the trainer's ``default_root_dir``.

    It reads the logits that ``Classifier.test_step`` returns; every sample counts once, on any number of processes.
    What cannot be counted or written costs the test nothing, and a line says why.
    """

    missed = "No confusion matrix is recorded"

    def __init__(self) -> None:
        self._counts: Tensor | None = None
        self._failure: str | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with no counts."""
        self._failure = None
        with self._counting():
            num_classes: Any = pl_module.num_classes
            self._counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=pl_module.device)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count one batch."""
        with self._counting():
            if self._counts is not None:
                # torchmetrics' confusion matrix waits for the device at every batch.
                labels, classes = batch[1], len(self._counts)
                cells = labels * classes + outputs.view(len(labels), classes).argmax(1)
                self._counts.view(-1).index_add_(0, cells, torch.ones_like(cells))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files, if every process has counted all of its samples."""
        mine = torch.empty(0)
        with self._counting():
            if self._counts is not None:
                mine = self._counts.cpu()
        with self.tolerant():
            gathered = _of_all(trainer, (mine, self._failure))
            failure = next((failure for _, failure in gathered if failure), None)
            if failure is not None:
                self.say(failure)
            elif trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
                _write(trainer, torch.stack([counts for counts, _ in gathered]).sum(0))

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count nothing more after a failure: the processes tell each other at the end of the test."""
        try:
            yield
        except Exception as error:  # of outputs that are no logits, of a full device
            self._counts, self._failure = None, reason(error)


def _of_all(trainer: Trainer, mine: tuple[Tensor, str | None]) -> list[tuple[Tensor, str | None]]:
    """The counts of all processes; for the first one only, the others get an empty list."""
    if trainer.world_size == 1:
        return [mine]
    gathered: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(mine, gathered, group=hosts(trainer))
    return gathered or []


def _write(trainer: Trainer, counts: Tensor) -> None:
    folder = Path(trainer.default_root_dir)
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    classes = getattr(data, "class_names", None) or [str(label) for label in range(len(counts))]
    table = pd.DataFrame(counts.numpy(), index=pd.Index(classes, name="true class"), columns=classes)
    write_atomically(folder / "confusion_matrix.csv", csv_text(table, index=True))
    images = counts.sum(1)
    scores = class_scores(counts.diag(), counts.sum(0), images)
    columns = {"images": images, "accuracy": scores["recall"], **scores}  # of one class the two are one
    table = pd.DataFrame({"class": classes} | {name: values.tolist() for name, values in columns.items()})
    write_atomically(folder / "class_accuracy.csv", csv_text(table))
    write_figure(folder / "confusion_matrix.png", draw_confusion_matrix(counts, classes))
    best = getattr(trainer.checkpoint_callback, "best_model_path", None)
    if trainer.ckpt_path or not best:  # else the last weights', which the best one's follows
        log_picture(trainer, folder / "confusion_matrix.png")


def draw_confusion_matrix(counts: torch.Tensor, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, each row as shares of its true class.

    Args:
        counts: (C, C), images of true class (row) taken for another (column).
        classes: Names, C of them.

    Returns:
        The figure; the shares are written into the cells for up to 20 classes.
    """
    shares = (counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xlabel("taken for class")
    axes.set_ylabel("true class")
    figure.colorbar(picture, label="share of the true class")
    if len(shares) <= 20:
        names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..." for name in classes]
        axes.set_xticks(range(len(shares)), names, rotation=0 if max(map(len, names)) < 3 else 45, parse_math=False)
        axes.set_yticks(range(len(shares)), names, parse_math=False)
        for row, column in zip(*(shares >= 0.005).nonzero(), strict=True):
            shade = "white" if shares[row, column] > 0.5 else "black"
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=7)
    return figure
