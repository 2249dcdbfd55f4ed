"""Train the MLPs of a study together, each to what it would come to alone."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from nnmass.datamodules.base import DataModule, InMemoryDataModule
from nnmass.datamodules.images import ImageDataModule
from nnmass.studies.definition import Row, takes_one_device
from nnmass.studies.ensemble.arrays import Samples
from nnmass.studies.ensemble.batched import train_batched
from nnmass.studies.ensemble.trainer import EpochResult, train_together
from nnmass.studies.measurer import Measurer
from nnmass.studies.rows import prepare, write_curve, write_row, write_weights
from nnmass.studies.work import Work, begun, failed, protocol, reached_by, rounds_to_tf32
from nnmass.zoo.networks.mlp import RandomSkipMLP
from nnmass.zoo.precision import tf32
from nnmass.zoo.training.classifier import Classifier

__all__ = ["ensemble_rate", "fill_together"]

_MEMBERS_PER_WORKER = 8  # that a process claims at once


def fill_together(work: Work, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train MLPs together, configuration by configuration, since the members of an ensemble see the same data."""
    measure, on_gpu = Measurer(work.study.jacobian, work.study.measures), torch.cuda.is_available()
    for config in dict.fromkeys(row.config for row in rows):
        same = [row for row in rows if row.config == config]
        _, data = same[0].build()
        data.prepare_data()
        samples = _samples(data)
        # A GPU takes all members at once; a processor leaves to other processes what it does not need at once.
        size = len(same) if on_gpu else _MEMBERS_PER_WORKER * work.workers
        for begin in range(0, len(same), size):
            with work.ours(same[begin : begin + size]) as ours:
                yield from _ensemble_of(ours, work, measure, samples)


def _ensemble_of(
    rows: Sequence[Row], work: Work, measure: Measurer, samples: tuple[Samples, dict[str, Samples]]
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Build and measure these rows, then train those that can be trained, kind by kind."""
    kinds: dict[tuple, list[tuple[Row, Any, dict[str, Any]]]] = {}
    for row in rows:
        prepare(work.folder, row)
        record = begun(work.study, row)
        try:
            model, data = row.build()
            record |= protocol(model, data, row)
            network: Any = model.network
            rate = ensemble_rate(model, data, row)
            record |= measure(row, model, data)
            kind = (network.width, type(network.activation), data.batch_size, rate, record["epochs"])
            kinds.setdefault(kind, []).append((row, network, record))
        except Exception as error:  # whatever is wrong with a row is that row's result
            record = failed(record, error)
        write_row(work.folder, row, record)
        if record["status"] == "failed":
            yield row, record
    for (*_, batch_size, rate, epochs), members in kinds.items():
        networks, seeds = [network for _, network, _ in members], [row.seed for row, _, _ in members]
        train: Callable = partial(train_together, workers=work.workers)
        if torch.cuda.is_available():
            train = partial(train_batched, device="cuda")
        curves: list[list[EpochResult]] = [[] for _ in members]
        with tf32(rounds_to_tf32(rows[0].configuration)):
            for result in train(networks, seeds, *samples, epochs, batch_size, rate):
                curves[result.member].append(result)
                row, network, record = members[result.member]
                work.watch(row, result.epoch + 1, result.metrics)
                if len(curves[result.member]) == epochs:
                    write_weights(work.folder, row, network)
                    record = _finished(row, record, curves[result.member], work.folder)
                    yield row, record


def _finished(row: Row, record: dict[str, Any], results: Sequence[EpochResult], folder: Path) -> dict[str, Any]:
    """Write and return the record of a member that is trained."""
    curve = pd.DataFrame([{"epoch": result.epoch, **result.metrics} for result in results])
    write_curve(folder, row, curve)
    if np.isfinite(curve.to_numpy()).all():
        record |= reached_by(curve, record["val_on_test"])
        record |= {"wall_time_s": round(sum(result.seconds for result in results), 2), "status": "finished"}
    else:
        record = failed(record, "The loss is not finite.")
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
    plain = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=optimizer.defaults["lr"]).defaults
    means = ("foreach", "fused")  # how the same step is calculated
    trainer = dict(row.configuration.get("trainer") or {})
    if takes_one_device(row.configuration):
        trainer.pop("devices", None)
    rules = {
        "networks of the class RandomSkipMLP": isinstance(model.network, RandomSkipMLP),
        "the optimizer torch.optim.Adam with its default betas and eps": type(optimizer) is torch.optim.Adam
        and all(optimizer.defaults[key] == value for key, value in plain.items() if key not in means),
        "the schedule constant without warm-up": model.schedule == "constant" and not model.warmup_epochs,
        "the loss cross_entropy": type(model.train_loss) is nn.CrossEntropyLoss,
        "no weights to start from and no frozen parts": model.weights is None and not model.has_frozen_part,
        "one learning rate and weight decay for all layers": model.layer_decay == 1 and model.decay_norms,
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
    """Read the samples that the data module's loaders hand out: to train on, and to evaluate on."""

    def of(loader: Any) -> Samples:
        chosen = loader.chosen
        return Samples.of(data.prepare_eval(loader.samples[chosen]), loader.labels[chosen])

    held_out = {"val": of(data.val_dataloader())}
    if not data.val_on_test:
        held_out["test"] = of(data.test_dataloader())
    return of(data.training_batches()), held_out
