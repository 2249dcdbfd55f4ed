"""Time of one step of a row's training on this machine, by taking a few."""

import time
from itertools import islice
from typing import Any

import torch
from torch import nn

from nnmass.datamodules.base import DataModule
from nnmass.studies.definition import Row
from nnmass.studies.ensemble.arrays import Samples
from nnmass.studies.ensemble.engine import ensemble_rate
from nnmass.studies.ensemble.trainer import train_together
from nnmass.zoo.training.classifier import Classifier

__all__ = ["seconds_alone", "seconds_together"]

_STEPS = 3  # after one that warms up
_TYPES = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}  # by what trainer.precision begins with
_ENSEMBLE_BATCHES = 30


def seconds_alone(model: Classifier, data: DataModule, row: Row) -> float:
    """Time one step of a training by ``fit``, in s.

    Args:
        model: The row's.
        data: The row's.
        row: Says in which precision.
    """
    kind, _, way = row.precision.partition("-")
    numbers = _TYPES.get(kind, torch.float32)
    is_mixed = numbers.itemsize == 2 and way != "true"
    of_weights = torch.float32 if is_mixed else numbers
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device, of_weights).train()
    parameters = list(model.parameters())
    optimizer = model.optimizer(parameters)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(data.batch_size, *data.train_input_size, generator=generator)
    inputs = inputs.to(device, of_weights)
    labels = torch.randint(data.num_classes, (data.batch_size,), generator=generator).to(device)

    def step() -> None:
        with torch.autocast(device, numbers, enabled=is_mixed):
            loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device

    step()
    start = time.perf_counter()
    for _ in range(_STEPS):
        step()
    return (time.perf_counter() - start) / _STEPS


def seconds_together(model: Classifier, data: DataModule, row: Row) -> float:
    """Time one step of one member of an ensemble, in s.

    Args:
        model: The row's.
        data: The row's, which must be at hand.
        row: Says by which optimizer.

    Raises:
        ValueError: If the row cannot be trained so.
    """
    rate = ensemble_rate(model, data, row)
    batches = list(islice(data.training_batches(), _ENSEMBLE_BATCHES))
    few = Samples.of(torch.cat([inputs for inputs, _ in batches]), torch.cat([labels for _, labels in batches]))
    networks: Any = [model.network, model.network]  # the first one waits for the compiler
    results = list(train_together(networks, [0, 0], few, {}, 1, data.batch_size, rate, workers=1))
    return results[-1].seconds / len(batches)
