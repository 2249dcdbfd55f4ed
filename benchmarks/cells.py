"""Random-skip cells: training step, evaluation and activation memory, against plain modules and bare convolutions.

Run: python benchmarks/cells.py [--quick] [--precision bf16]. Nothing is asserted; compare ratios of one run.

*plain* runs the same network module by module (share_outputs off) in the faster of both memory formats. *convolutions*
are the network's convolutions alone, same shapes and precision, channels_last, each on an input that is there already.
Memory is the peak of what is allocated beyond weights and images during a step.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from zoo import create_model, list_models
from zoo.variants import VARIANTS

BATCH = 32


def median_times(works: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Median time of each work in s, over rounds in which each runs once: a slow moment hits all alike."""
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [median(taken) for taken in times]


def peak_memory(work: Callable[[], Any]) -> int:
    """Most bytes allocated at once on the processor during the work."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    now = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def step(network: nn.Module, images: Tensor, precision: torch.dtype) -> None:
    """Forward and backward."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        loss = network(images).float().square().mean()
    loss.backward()
    network.zero_grad()


@torch.no_grad()
def evaluate(network: nn.Module, images: Tensor, precision: torch.dtype) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        network(images)


def convolutions(network: nn.Module, images: Tensor, precision: torch.dtype) -> list[tuple[Tensor, nn.Conv2d, Tensor]]:
    """Each convolution with an input and an output of its shapes."""
    found: list[tuple[Tensor, nn.Conv2d, Tensor]] = []

    def record(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        alike = [
            torch.randn(value.shape).to(precision).to(memory_format=torch.channels_last)
            for value in (arguments[0], output)
        ]
        found.append((alike[0], module, alike[1]))  # type: ignore[arg-type]

    handles = [module.register_forward_hook(record) for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return found


def run_convolutions(shapes: list[tuple[Tensor, Tensor, Tensor, list]], backward: bool) -> None:
    for position, (value, weight, gradient, arguments) in enumerate(shapes):
        torch.ops.aten.convolution(value, weight, None, *arguments)
        if backward:
            wanted = [position > 0, True, False]
            torch.ops.aten.convolution_backward(gradient, value, weight, None, *arguments, wanted)


def measure(name: str, precision: torch.dtype, rounds: int) -> list[str]:
    images = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    last = images.to(memory_format=torch.channels_last)
    ours: Any = create_model(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain: Any = create_model(name, share_outputs=False)
    plain_last: Any = create_model(name, share_outputs=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shapes = [
        (
            value,
            module.weight.detach().to(precision).to(memory_format=torch.channels_last),
            gradient,
            [module.stride, module.padding, module.dilation, False, [0, 0], module.groups],
        )
        for value, module, gradient in convolutions(plain_last, last, precision)
    ]
    networks = ((ours, last), (plain, images), (plain_last, last))
    figures = []
    for work, backward in ((step, True), (evaluate, False)):
        for network, _ in networks:
            network.train(backward)
        runs: list[Callable[[], Any]] = [partial(work, network, batch, precision) for network, batch in networks]
        mine, first, second, bare = median_times([*runs, partial(run_convolutions, shapes, backward)], rounds)
        figures.append((mine / bare, min(first, second) / bare, min(first, second) / mine))
    for network, _ in networks:
        network.train()
    memory = [peak_memory(partial(step, network, last, precision)) for network in (ours, plain_last)]
    (mine, other, faster), (evaluating, other_evaluating, _) = figures
    return [
        f"{mine:.2f}",
        f"{other:.2f}",
        f"{faster:.2f}",
        f"{memory[0] / 2**20:.0f}",
        f"{memory[0] / memory[1]:.2f}",
        f"{evaluating:.2f}",
        f"{other_evaluating:.2f}",
    ]


def print_profile(name: str) -> None:
    """Where the time of two steps goes, operator by operator."""
    network: Any = create_model(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    step(network, images, torch.float32)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(2):
            step(network, images, torch.float32)
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three networks in place of fifteen")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--profile", action="store_true", help="what a step of the 31 layers is made of, and no more")
    options = parser.parse_args()
    if options.profile:
        print_profile("dense_31_w2_30_50_100")
        return
    precision = torch.bfloat16 if options.precision == "bf16" else torch.float32
    table = Table(
        title=f"{options.precision}, batch {BATCH}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    headings = ("network", "step / convolutions", "plain / convolutions", "speed-up", "memory (MiB)", "memory / plain")
    for heading in (*headings, "evaluation / convolutions", "plain / convolutions"):
        table.add_column(heading, justify="right" if table.columns else "left")
    patterns = ["dense_31_w2", "dense_64_w2", "dsconv_31_w2_e1"]
    if not options.quick:
        patterns = [f"dense_{layers}_w{multiplier}" for multiplier in (1, 2, 3) for layers in (31, 40, 49, 64)]
        patterns += ["dsconv_31_w2_e1", "dsconv_31_w2_e6", "dsconv_64_w2_e1"]
    console = Console(width=160)
    for pattern in track(patterns, console=console, transient=True):
        rows = sorted(list_models(f"{pattern}_*_*_*"), key=lambda name: VARIANTS[name].arguments["tc"])
        name = rows[len(rows) // 2]
        table.add_row(name, *measure(name, precision, 7))
    console.print(table)


if __name__ == "__main__":
    main()
