"""Seconds to read and to count a ResNet-50, beside one pass of it: medians of the processor's time.

Run: python benchmarks/reading.py. Nothing is asserted. One thread, weights on the processor, one image of 224 px.
"""

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import fx

from nnmass import zoo

REPEATS = 7
SIZE = (3, 224, 224)


def seconds(task: Callable[[], object]) -> float:
    began = time.process_time()
    task()
    return time.process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    network = zoo.create_model("resnet50").eval()
    image = torch.zeros(1, *SIZE)
    baseline = "forward pass"
    tasks: dict[str, Callable[[], object]] = {
        baseline: torch.no_grad()(lambda: network(image)),
        "torch.fx.symbolic_trace": lambda: fx.symbolic_trace(network),
        "nnmass.zoo.count_macs": lambda: zoo.count_macs(network, SIZE),
        "nnmass.zoo.topology": lambda: zoo.topology(network, SIZE),
        "closed form": lambda: zoo.closed_form("nnmass.zoo.ResNet", {"depth": 50}),
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in track(range(REPEATS + 1), "Reading", console=Console(stderr=True), transient=True):
        for name, task in tasks.items():
            taken = seconds(task)
            if number:  # the first imports, and does not count
                times[name].append(taken)
    medians = {name: statistics.median(values) for name, values in times.items()}
    table = Table("task", "median (s)", f"multiple of a {baseline}", title=f"ResNet-50, {REPEATS} rounds, one thread")
    for name, taken in medians.items():
        table.add_row(name, f"{taken:.4f}", f"{taken / medians[baseline]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
