"""Accuracy and loss against epoch, as pictures beside the numbers they show."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pytorch_lightning import LightningModule, Trainer

from nnmass.callbacks.pictures import log_picture
from nnmass.callbacks.recorder import Recorder
from nnmass.runtime.files import read_table, write_figure

__all__ = ["LearningCurves", "draw_curve"]

_LABELS = {"accuracy": "accuracy", "loss": "cross-entropy (nat)"}


class LearningCurves(Recorder):
    """Draws ``accuracy.png`` and ``loss.png`` from the run's ``metrics.csv`` at the end of the training."""

    missed = "No learning curves are drawn"

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the whole training."""
        with self.tolerant():
            self._draw(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the epochs up to the interruption."""
        with self.tolerant():  # a full disk may be the very exception
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()
        table = Path(trainer.default_root_dir) / "metrics.csv"
        if not trainer.is_global_zero or not table.exists():
            return
        history = read_table(table)
        for quantity in _LABELS:
            picture = table.with_name(f"{quantity}.png")
            write_figure(picture, draw_curve(history, quantity))
            log_picture(trainer, picture)


def draw_curve(history: pd.DataFrame, quantity: str) -> Figure:
    """Draw one quantity of the training and validation set against the epoch.

    Args:
        history: Columns ``epoch``, ``train/<quantity>`` and ``val/<quantity>``, as in metrics.csv.
        quantity: ``accuracy`` or ``loss``.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for stage, label in (("train", "training"), ("val", "validation")):
        column = f"{stage}/{quantity}"
        if column in history:
            points = history[["epoch", column]].dropna()
            axes.plot(points["epoch"] + 1, points[column], marker=".", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel(_LABELS[quantity])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
