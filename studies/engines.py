"""The three ways to fill the rows of a study: train each alone, train MLPs together, or take published accuracies."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any, NamedTuple

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
from studies.rows import claimed, is_locked, prepare, read_row, row_folder, runs_of, write_curve, write_row
from zoo.classifier import Classifier
from zoo.jacobian.spectra import hidden_mean, layer_spectra
from zoo.measure import topology
from zoo.mlp import RandomSkipMLP
from zoo.variants import create_model

__all__ = ["Build", "ensemble_rate", "run_study", "size_of"]

Build = Callable[[Mapping[str, Any], str], tuple[Classifier, DataModule]]
"""Makes model and data of a configuration; its name is for messages."""

_PROGRAM = Path(__file__).resolve().parent.parent / "cli.py"
_STOP_S = 60  # that a training has to end by itself when it is stopped
_MEMBERS_PER_WORKER = 8  # that a process claims at once


def run_study(
    study: Study, rows: Sequence[Row], folder: Path, build: Build, workers: int
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Fill all rows that are neither finished nor another process's; those that failed earlier are tried once more.

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
    work = _Work(study, folder, build, workers, _now())
    yield from engine(work, [row for row in rows if not work.is_done(row)])


class _Work(NamedTuple):
    """What every engine needs to know.

    Attributes:
        study: The study.
        folder: Its folder.
        build: Makes model and data of a row's configuration.
        workers: Trainings at once.
        began: When this process began: what has failed since then has failed in another that shares the rows.
    """

    study: Study
    folder: Path
    build: Build
    workers: int
    began: str

    def is_done(self, row: Row) -> bool:
        """Whether nothing is left to do for a row."""
        record = read_row(self.folder, row)
        if record.get("status") == "failed":
            return record["began"] >= self.began
        return record.get("status") == "finished" and record.get("jacobian") == _jacobian_word(self.study)

    @contextmanager
    def ours(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Of these rows, those that no other process is working on or has done meanwhile."""
        with claimed(self.folder, rows) as ours:
            yield [row for row in ours if not self.is_done(row)]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _jacobian_word(study: Study) -> str | None:
    """How the Jacobians are measured, as an entry of a row's record."""
    return None if study.jacobian is None else f"{study.jacobian.samples} samples, bn {study.jacobian.bn}"


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
        """The first samples that the seed 0 would train on, the same for all rows of a configuration."""
        assert self.choice is not None
        if config not in self.samples:
            parts: list[Tensor] = []
            seed, data.seed = data.seed, 0
            for inputs, _ in data.training_batches():
                parts.append(inputs)
                if sum(map(len, parts)) >= self.choice.samples:
                    break
            data.seed = seed
            self.samples[config] = torch.cat(parts)[: self.choice.samples]
        return self.samples[config]


def _begun(study: Study, row: Row) -> dict[str, Any]:
    """What is known of a row before it is built."""
    words = {
        key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in row.arguments.items()
    }
    facts = {"study": study.name, "row": row.id, "engine": study.engine, "config": row.config, "network": row.network}
    return {**facts, "seed": row.seed, **words, "status": "running", "began": _now(), "jacobian": _jacobian_word(study)}


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
    curve = curve[curve["val/accuracy"].notna()]  # epochs without validation have no say
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


def _published(work: _Work, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Topology of each network beside the accuracy that is given."""
    for row in rows:
        with work.ours([row]) as ours:
            if ours:
                accuracy = (row.accuracy or 0.0) / 100
                record = {**_begun(work.study, row), **size_of(row, work.build), "test_accuracy_last": accuracy}
                record["status"] = "finished"
                write_row(work.folder, row, record)
                yield row, record


def _ensemble(work: _Work, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train MLPs together, configuration by configuration, since the members of an ensemble see the same data."""
    measure, on_gpu = _Measurer(work.study.jacobian), torch.cuda.is_available()
    for config in dict.fromkeys(row.config for row in rows):
        same = [row for row in rows if row.config == config]
        _, data = work.build(same[0].configuration, same[0].id)
        data.prepare_data()
        samples = _samples(data)
        # A GPU takes all members at once; a processor leaves to other processes what it does not need at once.
        size = len(same) if on_gpu else _MEMBERS_PER_WORKER * work.workers
        for begin in range(0, len(same), size):
            with work.ours(same[begin : begin + size]) as ours:
                yield from _ensemble_of(ours, work, measure, samples)


def _ensemble_of(
    rows: Sequence[Row], work: _Work, measure: _Measurer, samples: tuple[Samples, dict[str, Samples]]
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Build and measure these rows, then train those that can be trained, kind by kind."""
    kinds: dict[tuple, list[tuple[Row, Any, dict[str, Any]]]] = {}
    for row in rows:
        prepare(work.folder, row)
        record = _begun(work.study, row)
        try:
            model, data = work.build(row.configuration, row.id)
            record |= _protocol(model, data, row.configuration)
            network: Any = model.network
            rate = ensemble_rate(model, data, row)
            record |= measure(row, model, data)
            kind = (network.width, type(network.activation), data.batch_size, rate, record["epochs"])
            kinds.setdefault(kind, []).append((row, network, record))
        except Exception as error:  # whatever is wrong with a row is that row's result
            record = _failed(record, error)
        write_row(work.folder, row, record)
        if record["status"] == "failed":
            yield row, record
    for (*_, batch_size, rate, epochs), members in kinds.items():
        networks, seeds = [network for _, network, _ in members], [row.seed for row, _, _ in members]
        train: Callable = partial(train_together, workers=work.workers)
        if torch.cuda.is_available():
            train = partial(train_batched, device="cuda")
        curves: list[list[EpochResult]] = [[] for _ in members]
        for result in train(networks, seeds, *samples, epochs, batch_size, rate):
            curves[result.member].append(result)
            if len(curves[result.member]) == epochs:
                row, _, record = members[result.member]
                record = _finished(row, record, curves[result.member], work.folder)
                yield row, record


def _finished(row: Row, record: dict[str, Any], results: Sequence[EpochResult], folder: Path) -> dict[str, Any]:
    """Write and return what a member has come to."""
    curve = pd.DataFrame([{"epoch": result.epoch, **result.figures} for result in results])
    write_curve(folder, row, curve)
    if np.isfinite(curve.to_numpy()).all():
        record |= _reached(curve, record["val_on_test"])
        record |= {"wall_time_s": round(sum(result.seconds for result in results), 2), "status": "finished"}
    else:
        record = _failed(record, "The loss is not finite.")
    write_row(folder, row, record)
    return record


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


def _fit(work: _Work, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train each row by ``nnmass fit`` in a process of its own, which goes on where an earlier one was stopped."""
    measure, stop = _Measurer(work.study.jacobian), Event()
    with ThreadPoolExecutor(work.workers) as pool:
        try:
            waiting = {pool.submit(_fit_one, work, row, measure, stop): row for row in rows}
            for future in as_completed(waiting):
                record = future.result()
                if record is not None:
                    yield waiting[future], record
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _fit_one(work: _Work, row: Row, measure: _Measurer, stop: Event) -> dict[str, Any] | None:
    """The record of the row; None if another process has it."""
    with work.ours([row]) as ours:
        if not ours or any(is_locked(run) for run in runs_of(work.folder, row)):
            return None
        record = _begun(work.study, row)
        write_row(work.folder, row, record)
        try:
            with measure.lock:
                model, data = work.build(row.configuration, row.id)
                data.prepare_data()
                record |= _protocol(model, data, row.configuration) | measure(row, model, data)
            write_row(work.folder, row, record)
            record |= _trained(row, work, data.val_on_test, stop)
        except Exception as error:  # whatever is wrong with a row is that row's result
            record = _failed(record, error)
        write_row(work.folder, row, record)
        return record


def _trained(row: Row, work: _Work, val_on_test: bool, stop: Event) -> dict[str, Any]:
    """Let ``nnmass fit`` train the row where that is not done yet, and read its run folder.

    Raises:
        RuntimeError: If the training fails; the message is the training's own.
    """
    runs = runs_of(work.folder, row)
    if not any(_is_whole(run) for run in runs):
        resumable = runs and (runs[-1] / "checkpoints" / "last.ckpt").is_file()
        unfinished = resumable and read_run(runs[-1]).get("status") != "finished"
        reason = _train(row, work, ["--ckpt_path", "last"] if unfinished else [], stop)
        if reason is not None:
            return reason
    whole = [run for run in runs_of(work.folder, row) if _is_whole(run)]
    if not whole:
        return {"status": "interrupted", "reason": "The training ended before its last epoch."}
    run = read_run(whole[-1])
    curve = pd.read_csv(whole[-1] / "metrics.csv")
    curve = curve[[name for name in curve.columns if name == "epoch" or name.startswith(("train/", "val/"))]]
    write_curve(work.folder, row, curve)
    reached = _reached(curve, val_on_test)
    tested = {"last": run["test_last"]["test/accuracy"], "best": run["test"]["test/accuracy"]}
    reached |= {f"test_accuracy_{which}": value for which, value in tested.items()}
    return {
        **reached,
        "device": run["device"],
        "wall_time_s": run["wall_time_s"],
        "run_folder": str(whole[-1].relative_to(work.folder)),
        "status": "finished",
    }


def _is_whole(folder: Path) -> bool:
    """Whether a run has come to its end and was tested."""
    run = read_run(folder)
    return run.get("status") == "finished" and "test" in run and "test_last" in run


def _train(row: Row, work: _Work, options: list[str], stop: Event) -> dict[str, Any] | None:
    """Run ``nnmass fit`` to its end; if it is stopped before, what the row's record says then.

    Raises:
        RuntimeError: If it fails.
    """
    place = row_folder(work.folder, row)
    command = [sys.executable, str(_PROGRAM), "fit", "--config", str(prepare(work.folder, row))]
    # A row is one process's, whatever job of a cluster it runs in.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment["OMP_NUM_THREADS"] = str(max(1, available_cores() // work.workers))
    with (place / "log.txt").open("a+", encoding="utf-8") as log:
        begin = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [*command, "--output_dir", str(place), *options],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        while process.poll() is None:
            if stop.wait(0.2):
                process.terminate()  # not SIGINT, which a process started in the background ignores
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                return {"status": "interrupted"}
        log.seek(begin)
        lines = log.read().splitlines()
    if process.returncode < 0:
        raise RuntimeError(f"The training was ended by signal {-process.returncode}.")
    if process.returncode:
        raise RuntimeError(lines[-1] if lines else f"The training ended with status {process.returncode}.")
    return None
