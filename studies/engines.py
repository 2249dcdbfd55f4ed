"""The three ways to fill the rows of a study: train each alone, train MLPs together, or take published accuracies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from callbacks.run_file import read_run
from datamodules.base import DataModule, InMemoryDataModule
from datamodules.images import ImageDataModule
from studies.cores import available_cores
from studies.definition import JacobianChoice, Row, Study
from studies.ensemble import EpochResult, Samples, train_together
from studies.ensemble_torch import train_batched
from studies.rows import claimed, prepare, read_row, row_folder, write_curve, write_row
from zoo.classifier import Classifier
from zoo.jacobian.spectra import hidden_mean, layer_spectra
from zoo.measure import topology
from zoo.mlp import RandomSkipMLP
from zoo.variants import create_model

__all__ = ["Build", "ensemble_rate", "run_study", "size_of"]

Build = Callable[[Mapping[str, Any], str], tuple[Classifier, DataModule]]
"""Makes model and data of a configuration; its name is for messages."""

_PROGRAM = Path(__file__).resolve().parent.parent / "cli.py"
_MEMBERS_PER_WORKER = 8  # that a process claims at once


def run_study(
    study: Study, rows: Sequence[Row], folder: Path, build: Build, workers: int
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Fill all rows that are neither finished nor another process's.

    Args:
        study: The study.
        rows: Its rows, or some of them.
        folder: The study's folder.
        build: Makes model and data of a row's configuration.
        workers: Trainings at once.

    Yields:
        Every row that has come to its end, with its record; a row that failed says why, and stops no other.

    Raises:
        ValueError: If the engine cannot train what the study asks for.
    """
    engine = {"fit": _fit, "ensemble": _ensemble, "published": _published}[study.engine]
    yield from engine(study, [row for row in rows if not _is_finished(folder, row)], folder, build, workers)


def _is_finished(folder: Path, row: Row) -> bool:
    return read_row(folder, row).get("status") == "finished"


@contextmanager
def _ours(folder: Path, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Of these rows, those that no other process is working on or has finished meanwhile."""
    with claimed(folder, rows) as ours:
        yield [row for row in ours if not _is_finished(folder, row)]


def size_of(row: Row, build: Build) -> dict[str, Any]:
    """Topology and size of a row's network.

    Args:
        row: The row.
        build: Makes model and data of its configuration.
    """
    if not row.configuration:
        return _size(create_model(row.network), None)
    model, data = build(row.configuration, row.id)
    return _size(model.network, data.input_size)


def _size(network: nn.Module, input_size: Sequence[int] | None) -> dict[str, Any]:
    record = topology(network, input_size)
    names = ("nn_mass", "nn_density", "average_degree", "num_params", "macs", "flops", "num_layers")
    return {name: getattr(record, name) for name in names}


class _Measurer:
    """Topology and Jacobians of one row after another; topology is read once per architecture, samples once per data.

    Tracing is not for several threads at once: whoever measures holds the lock.
    """

    def __init__(self, choice: JacobianChoice | None) -> None:
        self.choice = choice
        self.lock = Lock()
        self.sizes: dict[tuple[str, str], dict[str, Any]] = {}
        self.samples: dict[str, Tensor] = {}

    def __call__(self, row: Row, model: Classifier, data: DataModule) -> dict[str, Any]:
        key = (row.config, row.network)
        if key not in self.sizes:
            self.sizes[key] = _size(model.network, data.input_size)
        figures = dict(self.sizes[key])
        if self.choice is not None:
            spectra = list(layer_spectra(model.network, self._images(row.config, data), self.choice.bn, seed=row.seed))
            figures["mean_singular_value"] = hidden_mean(spectra)
            figures["isometry"] = float(np.mean([found.spectrum.isometry.value for found in spectra[1:-1]]))
        return figures

    def _images(self, config: str, data: DataModule) -> Tensor:
        """The first samples of training, the same for all rows of a configuration."""
        assert self.choice is not None
        if config not in self.samples:
            parts: list[Tensor] = []
            for inputs, _ in data.training_batches():
                parts.append(inputs)
                if sum(map(len, parts)) >= self.choice.samples:
                    break
            self.samples[config] = torch.cat(parts)[: self.choice.samples]
        return self.samples[config]


def _begun(study: Study, row: Row) -> dict[str, Any]:
    """What is known of a row before it is built."""
    words = {
        key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in row.arguments.items()
    }
    facts = {"study": study.name, "row": row.id, "engine": study.engine, "config": row.config, "network": row.network}
    return {**facts, "seed": row.seed, **words, "status": "running", "began": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def _protocol(model: Classifier, data: DataModule, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """How a row is trained, as columns of the table."""
    optimizer = model.optimizer([nn.Parameter(torch.zeros(1))])
    return {
        "data": type(data).__name__,
        "epochs": configuration.get("trainer", {}).get("max_epochs"),
        "batch_size": data.batch_size,
        "optimizer": type(optimizer).__name__,
        "learning_rate": optimizer.defaults["lr"],
        "schedule": model.schedule,
        "val_on_test": data.val_on_test,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": str(torch.__version__),
    }


def _reached(curve: pd.DataFrame, val_on_test: bool) -> dict[str, Any]:
    """Accuracies of a curve: at the last epoch, at the best by validation, and the mean after the first third."""
    if val_on_test:
        curve = curve.assign(**{"test/accuracy": curve["val/accuracy"]})
    best = int(curve["val/accuracy"].to_numpy().argmax())
    found: dict[str, Any] = {"best_epoch": int(curve["epoch"].iloc[best])}
    for name in ("train/loss", "train/accuracy", "val/accuracy", "test/accuracy"):
        if name in curve:
            word = name.replace("/", "_")
            found[f"{word}_last"] = float(curve[name].iloc[-1])
            if name.endswith("accuracy"):
                found[f"{word}_best"] = float(curve[name].iloc[best])
                found[f"{word}_late"] = float(curve[name].iloc[len(curve) // 3 :].mean())
    return found


def _failed(record: Mapping[str, Any], reason: object) -> dict[str, Any]:
    text = " ".join(str(reason).split()) or type(reason).__name__
    return {**record, "status": "failed", "reason": text}


def _published(
    study: Study, rows: Sequence[Row], folder: Path, build: Build, workers: int
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Topology of each network beside the accuracy that is given."""
    for row in rows:
        with _ours(folder, [row]) as ours:
            if ours:
                accuracy = (row.accuracy or 0.0) / 100
                record = {**_begun(study, row), **size_of(row, build), "test_accuracy_last": accuracy}
                record["status"] = "finished"
                write_row(folder, row, record)
                yield row, record


def _ensemble(
    study: Study, rows: Sequence[Row], folder: Path, build: Build, workers: int
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train MLPs together, configuration by configuration, since the members of an ensemble see the same data."""
    measure = _Measurer(study.jacobian)
    for config in dict.fromkeys(row.config for row in rows):
        same = [row for row in rows if row.config == config]
        model, data = build(same[0].configuration, same[0].id)
        rate = ensemble_rate(model, data, same[0])
        data.prepare_data()
        train, held_out = _samples(data)

        def together(networks: list[Any], seeds: list[int], epochs: int) -> Iterator[EpochResult]:
            what = (networks, seeds, train, held_out, epochs, data.batch_size, rate)  # noqa: B023
            return train_batched(*what, "cuda") if torch.cuda.is_available() else train_together(*what, workers)

        # A GPU takes all members at once; a processor leaves to other processes what it does not need at once.
        size = len(same) if torch.cuda.is_available() else _MEMBERS_PER_WORKER * workers
        for begin in range(0, len(same), size):
            with _ours(folder, same[begin : begin + size]) as ours:
                yield from _ensemble_of(ours, study, folder, build, measure, together)


def _ensemble_of(
    rows: Sequence[Row], study: Study, folder: Path, build: Build, measure: "_Measurer", together: Callable
) -> Iterator[tuple[Row, dict[str, Any]]]:
    members: list[tuple[Row, Any, dict[str, Any]]] = []
    for row in rows:
        prepare(folder, row)
        record = _begun(study, row)
        try:
            model, data = build(row.configuration, row.id)
            record |= _protocol(model, data, row.configuration) | measure(row, model, data)
            members.append((row, model.network, record))
        except (ValueError, ArithmeticError) as error:
            record = _failed(record, error)
        write_row(folder, row, record)
        if record["status"] == "failed":
            yield row, record
    if not members:
        return
    epochs = members[0][2]["epochs"]
    curves: list[list[dict[str, float]]] = [[] for _ in members]
    times = [0.0] * len(members)
    for result in together([network for _, network, _ in members], [row.seed for row, _, _ in members], epochs):
        curves[result.member].append({"epoch": result.epoch, **result.figures})
        times[result.member] += result.seconds
        if len(curves[result.member]) == epochs:
            row, _, record = members[result.member]
            curve = pd.DataFrame(curves[result.member])
            record |= _reached(curve, record["val_on_test"])
            record |= {"wall_time_s": round(times[result.member], 2), "status": "finished"}
            write_curve(folder, row, curve)
            write_row(folder, row, record)
            yield row, record


def ensemble_rate(model: Classifier, data: DataModule, row: Row) -> float:
    """Learning rate of a protocol that the ensemble knows.

    Args:
        model: The row's network and how it is trained.
        data: The row's data.
        row: The row.

    Raises:
        ValueError: If it knows another protocol only.
    """
    optimizer = model.optimizer([nn.Parameter(torch.zeros(1))])
    plain = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=optimizer.defaults["lr"])
    trainer = row.configuration.get("trainer", {})
    rules = {
        "networks of the class RandomSkipMLP": isinstance(model.network, RandomSkipMLP),
        "the optimizer torch.optim.Adam with its default betas and eps": type(optimizer) is torch.optim.Adam
        and optimizer.defaults == plain.defaults,
        "the schedule constant without warm-up": model.schedule == "constant" and not model.warmup_epochs,
        "no label smoothing": model.train_loss.label_smoothing == 0,
        "data that fits into memory": isinstance(data, InMemoryDataModule),
        "no augmentation": not isinstance(data, ImageDataModule) or data.augmentation == type(data.augmentation)(),
        "trainer.max_epochs of at least 1, and no other key of the trainer": list(trainer) == ["max_epochs"]
        and trainer["max_epochs"] >= 1,
    }
    for rule, holds in rules.items():
        if not holds:
            raise ValueError(f"Expected a study with the engine ensemble to have {rule}, but {row.config} differs.")
    return optimizer.defaults["lr"]


def _samples(data: Any) -> tuple[Samples, dict[str, Samples]]:
    """What the data module's loaders hand out: training samples, and those to evaluate on."""

    def of(loader: Any) -> Samples:
        chosen = loader.chosen
        return Samples.of(data.prepare_eval(loader.samples[chosen]), loader.labels[chosen])

    held_out = {"val": of(data.val_dataloader())}
    if not data.val_on_test:
        held_out["test"] = of(data.test_dataloader())
    return of(data.training_batches()), held_out


def _fit(
    study: Study, rows: Sequence[Row], folder: Path, build: Build, workers: int
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train each row by ``nnmass fit`` in a process of its own, which goes on where an earlier one was stopped."""
    measure, stop = _Measurer(study.jacobian), Event()
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = {pool.submit(_fit_one, study, row, folder, build, measure, workers, stop): row for row in rows}
            for future in as_completed(waiting):
                record = future.result()
                if record is not None:
                    yield waiting[future], record
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _fit_one(
    study: Study, row: Row, folder: Path, build: Build, measure: _Measurer, workers: int, stop: Event
) -> dict[str, Any] | None:
    """The record of the row; None if another process has it."""
    with _ours(folder, [row]) as ours:
        if not ours:
            return None
        record = _begun(study, row)
        write_row(folder, row, record)
        try:
            with measure.lock:
                model, data = build(row.configuration, row.id)
                data.prepare_data()
                record |= _protocol(model, data, row.configuration) | measure(row, model, data)
            write_row(folder, row, record)
            record |= _trained(row, folder, data.val_on_test, workers, stop)
        except (ValueError, OSError, ArithmeticError, RuntimeError) as error:
            record = _failed(record, error)
        write_row(folder, row, record)
        return record


def _trained(row: Row, folder: Path, val_on_test: bool, workers: int, stop: Event) -> dict[str, Any]:
    """Let ``nnmass fit`` train the row, and read its run folder.

    Raises:
        RuntimeError: If the training fails; the message is the training's own.
    """
    place = row_folder(folder, row)
    command = [sys.executable, str(_PROGRAM), "fit", "--config", str(prepare(folder, row)), "--output_dir", str(place)]
    runs = sorted(path.parent for path in place.glob("*/run.json") if not path.parent.is_symlink())
    resumable = [run for run in runs if (run / "checkpoints" / "last.ckpt").is_file()]
    if resumable and read_run(resumable[-1]).get("status") != "finished":
        command += ["--ckpt_path", "last"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, available_cores() // workers))}
    with (place / "log.txt").open("a+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        while process.poll() is None:
            if stop.wait(0.2):
                process.send_signal(signal.SIGINT)
                process.wait()
                return {"status": "interrupted"}
        log.seek(0)
        last = (log.read().splitlines() or [""])[-1]
    if process.returncode:
        raise RuntimeError(last or f"The training ended with status {process.returncode}.")
    newest = sorted(path.parent for path in place.glob("*/run.json") if not path.parent.is_symlink())[-1]
    run = read_run(newest)
    curve = pd.read_csv(newest / "metrics.csv")
    curve = curve[[name for name in curve.columns if name == "epoch" or name.startswith(("train/", "val/"))]]
    write_curve(folder, row, curve)
    reached = _reached(curve, val_on_test)
    tested = {"last": run["test_last"]["test/accuracy"], "best": run["test"]["test/accuracy"]}
    reached |= {f"test_accuracy_{which}": value for which, value in tested.items()}
    return {
        **reached,
        "device": run["device"],
        "wall_time_s": run["wall_time_s"],
        "run_folder": str(newest.relative_to(folder)),
        "status": "finished",
    }
