"""Time that Lightning and the metrics add to a training step, in microseconds, over a bare loop on the same batches.

Run: python benchmarks/overhead.py. Nothing is asserted; compare figures of one run.

*bare* is forward, loss, backward and optimizer step. *Trainer* trains the Classifier without callbacks, logger or
checkpoints; *without metrics* leaves out what the Classifier measures in the step.
"""

import logging
import sys
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from pytorch_lightning import Callback, Trainer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nnmass.zoo import Classifier, RandomSkipDenseNet, RandomSkipMLP

STEPS = 300


class Stopwatch(Callback):
    """Median time from the start of one step to that of the next, in s."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.starts.append(time.perf_counter())

    def median(self) -> float:
        return median(b - a for a, b in zip(self.starts[20:], self.starts[21:], strict=False))


class WithoutMetrics(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.train_loss(self(batch[0]), batch[1])


def bare(network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Median time of a step in s."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    criterion = nn.CrossEntropyLoss()
    times = []
    for images, labels in batches:
        start = time.perf_counter()
        optimizer.zero_grad()
        criterion(network(images), labels).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return median(times[20:])


def trained(model: Classifier, batches: list[tuple[Tensor, Tensor]]) -> float:
    """The same through a Trainer."""
    stopwatch = Stopwatch()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[stopwatch],
    )
    trainer.fit(model, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return stopwatch.median()


def main() -> None:
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    table = Table("network and batch", "bare step", "added by Trainer and metrics", "of it without metrics")
    for name, build, shape, steps in (
        ("MLP d=16 w=8, 64 x 784", lambda: RandomSkipMLP(16, 8, 3), (64, 784), STEPS),
        ("16 layers, 64 digits of 8 px", lambda: RandomSkipDenseNet(4, 1, 8, in_chans=1), (64, 1, 8, 8), STEPS),
        ("31 layers w_m=1, 32 images of 32 px", lambda: RandomSkipDenseNet(9, 1, 8), (32, 3, 32, 32), 60),
    ):
        generator = torch.Generator().manual_seed(0)
        batches = [
            (torch.randn(shape, generator=generator), torch.randint(10, shape[:1], generator=generator))
            for _ in range(steps)
        ]
        loop = bare(build().to(memory_format=torch.channels_last), batches)  # type: ignore[attr-defined]
        full, lean = (trained(kind(build(), channels_last=True), batches) for kind in (Classifier, WithoutMetrics))  # type: ignore[arg-type]
        table.add_row(name, *(f"{1e6 * value:,.0f} us" for value in (loop, full - loop, lean - loop)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
