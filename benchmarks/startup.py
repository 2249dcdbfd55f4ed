"""How long the command line takes to answer, as a multiple of imports in the same run.

Run: python benchmarks/startup.py. Nothing is asserted. The data of CIFAR-10 are not looked for, so that the plan of its
study is made without timing steps.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5
BASELINES = ("import torch", "import pytorch_lightning")
COMMANDS = {
    **{baseline: ["-c", baseline] for baseline in BASELINES},
    "cli.py --help": ["cli.py", "--help"],
    "cli.py fit --help": ["cli.py", "fit", "--help"],
    "import zoo": ["-c", "import zoo"],
    "cli.py inspect dense_40_w2_60_130_170": ["cli.py", "inspect", "dense_40_w2_60_130_170"],
    "cli.py inspect resnet50": ["cli.py", "inspect", "resnet50"],
    "cli.py study status digits_mlp": ["cli.py", "study", "status", "digits_mlp"],
    "cli.py study plan cifar10_dense": ["cli.py", "study", "plan", "cifar10_dense"],
}


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    environment = {**os.environ, "NNMASS_DATA": os.devnull}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    rounds = range(REPEATS + 1)  # the first warms the disk cache and does not count
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in track(rounds, "Starting programs", console=Console(stderr=True), transient=True):
        for name, arguments in COMMANDS.items():
            taken = seconds(arguments)
            if number:
                times[name].append(taken)
    medians = {name: statistics.median(values) for name, values in times.items()}
    multiples = [f"multiple of {baseline}" for baseline in BASELINES]
    table = Table("command", "median (s)", *multiples, title=f"Start-up, {REPEATS} rounds")
    for name, taken in medians.items():
        table.add_row(name, f"{taken:.2f}", *(f"{taken / medians[baseline]:.2f}" for baseline in BASELINES))
    Console().print(table)


if __name__ == "__main__":
    main()
