"""Time that the command line takes to answer, as a multiple of imports in the same run.

Run: python benchmarks/startup.py. Nothing is asserted. Times are the processor's, user and system, which other programs
on the machine change little.
"""

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5
BASELINES = ("import torch", "import pytorch_lightning")
# 400 MLPs with five seeds each.
LARGE = {
    "engine": "ensemble",
    "configs": ["mnist_mlp.yaml"],
    "networks": [{"depth": list(range(10, 30)), "width": [8], "tc": list(range(20))}],
    "seeds": 5,
}


def commands(large: Path) -> dict[str, list[str]]:
    """Arguments of the interpreter by what the table calls them; ``large`` is the file of the large study."""
    plain = (
        "--help",
        "fit --help",
        "inspect dense_40_w2_60_130_170",
        "inspect resnet50",
        "study plan cifar10_dense",
        "study plan digits_mlp",
        "study status digits_mlp",
    )
    rows = {
        f"cli.py study {action}, 2,000 rows": ["cli.py", "study", action, str(large)] for action in ("plan", "status")
    }
    return {
        **{statement: ["-c", statement] for statement in (*BASELINES, "from nnmass import zoo")},
        **{f"cli.py {words}": ["cli.py", *words.split()] for words in plain},
        **rows,
    }


def seconds(arguments: list[str]) -> float:
    """Processor time of one start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    with TemporaryDirectory() as folder:
        large = Path(folder) / "large.yaml"
        large.write_text(yaml.safe_dump(LARGE))
        started = commands(large)
        times: dict[str, list[float]] = {name: [] for name in started}
        rounds = range(REPEATS + 1)  # the first warms the disk cache and does not count
        for number in track(rounds, "Starting programs", console=Console(stderr=True), transient=True):
            for name, arguments in started.items():
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
