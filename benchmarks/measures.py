"""Training-free measures: multiples of the passes that each states, all together against the sum alone, and memory.

*passes* is the time of a measure over that of as many plain passes as it states: a forward pass with its graph and a
backward pass of the mean cross-entropy to all parameters, of the same network and batch; in double precision for the
measures that compute in it, and of one image for SynFlow. Times are those of the processor in one thread, which other
programs stretch little. *memory* is the peak of what is allocated beyond the network and the batch, over that of one
plain pass forward and backward. Measures without passes over the batch are left out: size and mass need none, and of
Jacobians benchmarks/jacobian.py tells.

Run: python benchmarks/measures.py [--network NAME] [--side PX] [--images N] [--memory]. Nothing is asserted; compare
ratios of one run, never absolute times.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from cells import peak_memory
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from nnmass.zoo import create_model, measure_network
from nnmass.zoo.measures import MEASURES, Batch, Measure

NAMES = ("grad_norm", "snip", "grasp", "synflow", "fisher", "jacob_cov", "naswot", "zen", "zico", "epsilon")
# Measures that compute in double precision, and on how many images; None for all.
IN_DOUBLE = {"synflow": 1, "epsilon": None}


def timed(work: Callable[[], Any]) -> float:
    """Time of the processor that the work takes, in s."""
    start = time.process_time()
    work()
    return time.process_time() - start


def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """One plain pass forward."""
    return nn.functional.cross_entropy(network(images), labels)


def plain_passes(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """The baseline: times of one pass forward and of one backward, in s."""
    start = time.process_time()
    value = loss(network, images, labels)
    forward = time.process_time() - start
    return forward, timed(lambda: torch.autograd.grad(value, list(network.parameters())))


def stated(measure: Measure, forward: float, backward: float) -> float:
    """Time of as many plain passes as a measure states, in s."""
    return measure.forwards * forward + measure.backwards * backward


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Training-free measures against plain passes.")
    parser.add_argument("--network", default="timm/resnet50")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = create_model(args.network).train()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(args.images, 3, args.side, args.side, generator=generator)
    labels = torch.randint(0, 1000, (args.images,), generator=generator)
    batch = Batch(images, labels)
    loss(network, images, labels)  # torch chooses its kernels
    twin = create_model(args.network).double().train()
    table = Table("measure", "forward, backward", "passes", *(["memory"] if args.memory else []))
    plain_peak = peak_memory(lambda: step(network, images, labels), "cpu") if args.memory else 0
    alone = 0.0
    for name in NAMES:
        measure = MEASURES[name]
        if name in IN_DOUBLE:
            part = slice(IN_DOUBLE[name])
            baseline = plain_passes(twin, images[part].double(), labels[part])
        else:
            baseline = plain_passes(network, images, labels)
        seconds = timed(lambda measure=measure: measure(network, batch))
        alone += seconds
        ratio = f"{seconds / stated(measure, *baseline):.2f}"
        row = [name, f"{measure.forwards:g}, {measure.backwards:g}", ratio]
        if args.memory:
            peak = peak_memory(lambda measure=measure: measure(network, batch), "cpu")
            row.append(f"{peak / plain_peak:.2f}")
        table.add_row(*row)
        print(*row, flush=True)
    together = timed(lambda: measure_network(network, batch, NAMES))
    console = Console(width=100)
    console.print(table)
    console.print(
        f"all together / sum of all alone: {together / alone:.2f}; plain memory {plain_peak / 2**20:,.0f} MiB"
    )


def step(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """One plain pass forward and backward."""
    torch.autograd.grad(loss(network, images, labels), list(network.parameters()))


if __name__ == "__main__":
    main()
