"""MLPs: a training step on outputs written side by side against the modules one after the other, and Adam's two ways.

Run: python benchmarks/mlp.py. Nothing is asserted; compare ratios of one run. One thread, 64 images of MNIST's size,
float32. *ours* is forward and backward, *plain* the same with share_outputs off; *Adam* is one step by torch's default,
*fused* one by ``fused=True``.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from nnmass.zoo import RandomSkipMLP

ROUNDS, STEPS = 9, 100


def microseconds(*ways: Callable[[], object]) -> list[float]:
    """Median time of each in us; they take turns, so that all meet the same machine."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS + 1):
        for way, found in zip(ways, times, strict=True):
            began = time.perf_counter()
            for _ in range(STEPS):
                way()
            found.append((time.perf_counter() - began) / STEPS * 1e6)
    return [median(found[1:]) for found in times]  # the first warms up


def step(depth: int, share_outputs: bool) -> Callable[[], None]:
    """Forward and backward of one batch."""
    network = RandomSkipMLP(depth, 8, 5, share_outputs=share_outputs)
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(64, 784, generator=generator), torch.randint(10, (64,), generator=generator)

    def run() -> None:
        network.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()

    return run


def adam(depth: int, fused: bool) -> Callable[[], object]:
    """One step of the optimizer on the gradients of one batch."""
    network = RandomSkipMLP(depth, 8, 5)
    network(torch.rand(64, 784, generator=torch.Generator().manual_seed(0))).sum().backward()
    return torch.optim.Adam(network.parameters(), fused=fused).step


def main() -> None:
    torch.set_num_threads(1)
    table = Table(title=f"One thread, batch 64, torch {torch.__version__}", title_justify="left")
    for heading in ("network", "ours", "plain", "speed-up", "Adam", "fused", "speed-up"):
        table.add_column(heading, justify="right" if table.columns else "left")
    for depth in track((16, 24, 32), "Measuring", transient=True):
        ours, plain, slow, fast = microseconds(
            step(depth, True), step(depth, False), adam(depth, False), adam(depth, True)
        )
        times = (f"{ours:,.0f} us", f"{plain:,.0f} us", f"{plain / ours:.2f}")
        table.add_row(f"d = {depth}, w = 8, t = 5", *times, f"{slow:,.0f} us", f"{fast:,.0f} us", f"{slow / fast:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
