"""What the rows of a study are and what they will cost, before anything is trained."""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import nn

from datamodules.base import DataModule
from datamodules.loader import ResumableLoader
from studies.definition import Row, Study
from studies.ensemble import Samples, train_together
from studies.ensemble_engine import ensemble_rate
from studies.work import Build, closed_size, size_of
from zoo.classifier import Classifier

__all__ = ["planned"]

_TIMED_STEPS = 3  # after one that warms up
_ENSEMBLE_BATCHES = 30


def planned(study: Study, rows: Sequence[Row], build: Build) -> Iterator[dict[str, Any]]:
    """Topology, size and cost of every architecture of a study.

    The time is that of a few steps of the real thing on this machine, times the number of steps.

    Args:
        study: The study.
        rows: Its rows.
        build: Makes model and data of a row's configuration.

    Yields:
        ``config``, ``network``, ``seeds``, topology and size; where something is to be trained also ``training_macs``
        (three times the MACs, for the way forward and back, of all samples of all epochs) and ``seconds`` of one
        training. The last two are missing where the data is not at hand, and ``reason`` says what is missing.
    """
    first: dict[tuple[str, str], Row] = {}
    seeds: dict[tuple[str, str], int] = {}
    for row in rows:
        first.setdefault((row.config, row.network), row)
        seeds[row.config, row.network] = seeds.get((row.config, row.network), 0) + 1
    configurations: dict[str, _Configuration] = {}
    for key, row in first.items():
        facts = {"config": row.config, "network": row.network, "seeds": seeds[key]}
        if not row.configuration:
            yield facts | size_of(row, build)
            continue
        if row.config not in configurations:
            configurations[row.config] = _configuration(row, build)
        facts |= _size_and_cost(study, row, build, configurations[row.config])
        yield facts


class _Configuration(NamedTuple):
    """What the rows of one configuration share: a model like theirs, the data, and its batches if it is at hand."""

    model: Classifier
    data: DataModule
    loader: ResumableLoader | None
    reason: str


def _configuration(row: Row, build: Build) -> _Configuration:
    model, data = build(row.configuration, row.id)
    if hasattr(data, "download"):
        data.download = False
    try:
        data.prepare_data()
        return _Configuration(model, data, data.training_batches(), "")
    except (OSError, ValueError) as error:
        return _Configuration(model, data, None, str(error))


def _size_and_cost(study: Study, row: Row, build: Build, shared: _Configuration) -> dict[str, Any]:
    size = closed_size(row, shared.model, shared.data)
    if shared.loader is None:
        return (size or size_of(row, build)) | {"reason": shared.reason}
    model, _ = build(row.configuration, row.id)
    size = size or size_of(row, build)
    per_step = (_together if study.engine == "ensemble" else _alone)(model, shared.data, row)
    epochs = row.configuration.get("trainer", {}).get("max_epochs") or 0
    samples, steps = shared.loader.sampler.num_samples, len(shared.loader)
    return size | {"training_macs": 3 * size["macs"] * samples * epochs, "seconds": per_step * steps * epochs}


def _alone(model: Classifier, data: DataModule, row: Row) -> float:
    """Seconds of one step of a training by ``fit``."""
    precision = str(row.configuration.get("trainer", {}).get("precision", ""))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).train()
    parameters = list(model.parameters())
    optimizer = model.optimizer(parameters)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(data.batch_size, *data.input_size, generator=generator).to(device)
    labels = torch.randint(data.num_classes, (data.batch_size,), generator=generator).to(device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision.startswith("bf16")):
            loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device

    step()
    start = time.perf_counter()
    for _ in range(_TIMED_STEPS):
        step()
    return (time.perf_counter() - start) / _TIMED_STEPS


def _together(model: Classifier, data: DataModule, row: Row) -> float:
    """Seconds of one step of one member of an ensemble."""
    rate = ensemble_rate(model, data, row)
    batches = list(islice(data.training_batches(), _ENSEMBLE_BATCHES))
    few = Samples.of(torch.cat([inputs for inputs, _ in batches]), torch.cat([labels for _, labels in batches]))
    networks: Any = [model.network, model.network]  # the first one waits for the compiler
    results = list(train_together(networks, [0, 0], few, {}, 1, data.batch_size, rate, workers=1))
    return results[-1].seconds / len(batches)
