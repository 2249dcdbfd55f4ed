"""Parts that the engines of a study share: the choice of rows, and their records."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import nn

from nnmass.datamodules.base import DataModule
from nnmass.runtime.device_facts import device_facts
from nnmass.studies.definition import Row, Study
from nnmass.studies.rows import claimed, read_row
from nnmass.zoo.training.classifier import Classifier

__all__ = [
    "Watch",
    "Work",
    "begun",
    "failed",
    "now",
    "protocol",
    "reached_by",
    "rounds_to_tf32",
]


Watch = Callable[[Row, int, Mapping[str, float]], None]  # told of a row at work: its epochs so far, newest metrics


def _unwatched(row: Row, epochs: int, metrics: Mapping[str, float]) -> None:
    """Tell nobody of a row at work."""


class Work(NamedTuple):
    """Task of an engine.

    Attributes:
        study: The study.
        folder: Its folder.
        workers: Trainings at once.
        began: When this process began: what has failed since then has failed in another that shares the rows.
        limit: Trainings after which to end; None for no limit.
        watch: Told of rows at work, by threads of the engine too.
    """

    study: Study
    folder: Path
    workers: int
    began: str
    limit: int | None
    watch: Watch = _unwatched

    def is_done(self, row: Row) -> bool:
        """Tell whether a row needs no training, though it may lack a measurement."""
        record = read_row(self.folder, row)
        if record.get("status") == "failed":
            return record["began"] >= self.began
        return record.get("status") == "finished"

    @contextmanager
    def ours(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Keep for this process those of the rows that no other is working on or has finished meanwhile."""
        with claimed(self.folder, rows) as ours:
            yield [row for row in ours if not self.is_done(row)]


def now() -> str:
    """Return the time, to the second, as text that sorts."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def begun(study: Study, row: Row) -> dict[str, Any]:
    """Return the record of a row before its network is built."""
    words = {
        key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in row.arguments.items()
    }
    facts = {"study": study.name, "row": row.id, "engine": study.engine, "config": row.config, "network": row.network}
    words |= {key: value if isinstance(value, int | float | str) else str(value) for key, value in row.options.items()}
    return {**facts, "seed": row.seed, **words, "status": "running", "began": now()}


def protocol(model: Classifier, data: DataModule, row: Row) -> dict[str, Any]:
    """Describe how a row is trained, as columns of the table."""
    optimizer = model.optimizer([nn.Parameter(torch.zeros(1))])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "data": type(data).__name__,
        "epochs": (row.configuration.get("trainer") or {}).get("max_epochs"),
        "batch_size": data.batch_size,
        "optimizer": type(optimizer).__name__,
        "learning_rate": optimizer.defaults["lr"],
        "schedule": model.schedule,
        "val_on_test": data.val_on_test,
        **{name: fact for name, fact in device_facts(device).items() if fact is not None},
        "precision": row.precision,
        "tf32": device.type == "cuda" and rounds_to_tf32(row.configuration),
        "torch": str(torch.__version__),
    }


def rounds_to_tf32(configuration: Mapping[str, Any]) -> bool:
    """Tell whether NVIDIA's GPUs are to round the factors of float32, by the option of ``nnmass fit``."""
    return bool(configuration.get("tf32", True))


def reached_by(curve: pd.DataFrame, val_on_test: bool) -> dict[str, Any]:
    """Return accuracies of a curve: of the last epoch, of the best by validation, the mean after the first third."""
    if val_on_test:
        curve = curve.assign(**{"test/accuracy": curve["val/accuracy"]})
    curve = curve[curve["val/accuracy"].notna()]  # epochs without validation have no say
    best = int(curve["val/accuracy"].to_numpy().argmax())
    reached: dict[str, Any] = {"best_epoch": int(curve["epoch"].iloc[best])}
    for name in ("train/loss", "train/accuracy", "val/accuracy", "test/accuracy"):
        if name in curve:
            word = name.replace("/", "_")
            reached[f"{word}_last"] = float(curve[name].iloc[-1])
            if name.endswith("accuracy"):
                reached[f"{word}_best"] = float(curve[name].iloc[best])
                reached[f"{word}_late"] = float(curve[name].iloc[len(curve) // 3 :].mean())
    return reached


def failed(record: Mapping[str, Any], reason: object) -> dict[str, Any]:
    """Return the record of a row that cannot go on, and why."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return {**record, "status": "failed", "reason": text}
