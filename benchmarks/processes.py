"""Two processes against one: how much of a second core, or GPU, reaches the training.

Run: python benchmarks/processes.py [--device cuda]. Nothing is asserted; compare figures of one run.

*efficiency* is the images per second of two processes over twice those of one, each with the same batch (so the global
batch doubles) and one thread. *not connected* are the same two processes without a word to each other: what the machine
itself leaves of a second core. *exchange* is the share of a step that gradients and agreement cost. With
``--device cuda`` and a single GPU there is one process, over NCCL, against one without process group.
"""

import argparse
import logging
import multiprocessing
import os
import socket
import sys
import time
import warnings
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from pytorch_lightning import Callback, Trainer
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, TensorDataset

from nnmass.callbacks import GradientBuckets, ResumeCheckpoint
from nnmass.zoo import Classifier, RandomSkipDenseNet, RandomSkipMLP


class NoRequest:
    """Nobody asks for an end."""

    received = None

    def watch(self) -> None:
        """Do nothing."""


class Stopwatch(Callback):
    """Times of the steps, in s, after the first ten."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def median(self) -> float:
        """Median time from one step's end to the next, in s."""
        return median(b - a for a, b in zip(self.times[10:], self.times[11:], strict=False))


def cases(device: str) -> list[tuple[str, str, int, int]]:
    """Title, network, images of a step and process, and steps."""
    size = 4 if device == "cuda" else 1
    return [
        ("MLP d=24 w=8", "mlp", 64, 300),
        ("31 layers, w_m=1", "dense_1", 32 * size, 40),
        ("31 layers, w_m=2", "dense_2", 32 * size, 25),
    ]


def build(network: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    """A network, and the shape of its input."""
    if network == "mlp":
        return RandomSkipMLP(24, 8, 2), (784,)
    return RandomSkipDenseNet(9, int(network[-1]), [50, 70, 145]), (3, 32, 32)


def train(
    rank: int, processes: int, port: int, network: str, batch: int, steps: int, device: str, folder: str, told: Any
) -> None:
    """One process of a training; tells the median time of a step, in s."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if device == "cpu":
        torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "RANK": str(rank)}
    module, shape = build(network)
    generator = torch.Generator().manual_seed(rank)
    images = torch.randn(batch * steps * max(processes, 1), *shape, generator=generator)
    data = TensorDataset(images, torch.randint(10, (len(images),), generator=generator))
    stopwatch = Stopwatch()
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=steps,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=max(processes, 1),
        strategy="ddp" if processes else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[stopwatch, GradientBuckets(), ResumeCheckpoint(Path(folder), NoRequest(), 1e6)],
    )
    trainer.fit(Classifier(module, channels_last=True), DataLoader(data, batch_size=batch))
    told.put(stopwatch.median())


def step_time(processes: int, connected: bool, *arguments: Any) -> float:
    """Time of a step of the slower process, in s."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = processes if connected else 0
    with TemporaryDirectory() as folder:
        started = [
            context.Process(target=train, args=(rank if connected else 0, together, port, *arguments, folder, told))
            for rank in range(processes)
        ]
        for process in started:
            process.start()
        times = [told.get(timeout=120) for _ in started]
        for process in started:
            process.join()
    return max(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Efficiency of data-parallel training.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    processes = 2 if device == "cpu" else min(2, torch.cuda.device_count())
    table = Table("network, images per process", "one process", f"{processes} connected", "efficiency", "not connected")
    table.add_column("exchange")
    for title, network, batch, steps in cases(device):
        arguments = (network, batch, steps, device)
        alone = step_time(1, False, *arguments)
        apart = step_time(processes, False, *arguments) if device == "cpu" else alone
        together = step_time(processes, True, *arguments)
        table.add_row(
            f"{title}, {batch}",
            *(f"{1e3 * value:.2f} ms" for value in (alone, together)),
            *(f"{alone / value:.2f}" for value in (together, apart)),
            f"{1 - apart / together:.0%}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
