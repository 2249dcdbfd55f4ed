"""CIFAR-10 against the clock: seconds from the start of the process to its end, and the test accuracy it ends with.

Run: python benchmarks/cifar10.py --data-dir DIR [--seeds 3] [--config FILE] [further options of fit]. Nothing is
asserted. Each seed is a process of its own, so that the time holds imports, compilation, reading the data, validation
after every epoch and the test of the best checkpoint.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.table import Table

PROGRAM = Path(__file__).resolve().parent.parent / "cli.py"


def trained(config: str, seed: int, options: list[str]) -> tuple[float, dict]:
    """Seconds, and what ``run.json`` says."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, str(PROGRAM), "fit", "--config", config, "--output_dir", folder]
        command += ["--trainer.devices", "1"]  # on more it would be another protocol
        begun = time.perf_counter()
        subprocess.run([*command, "--seed_everything", str(seed), *options], check=True)
        seconds = time.perf_counter() - begun
        return seconds, json.loads((Path(folder) / "latest" / "run.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", "--data_dir", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", default="cifar10_dense_fast.yaml")
    options, further = parser.parse_known_args()
    runs = [
        trained(options.config, seed, ["--data.data_dir", options.data_dir, *further]) for seed in range(options.seeds)
    ]
    accuracies, times = [100 * run["test"]["test/accuracy"] for _, run in runs], [seconds for seconds, _ in runs]
    facts = runs[0][1]
    title = f"{options.config}, {facts['device']}, torch {facts['versions']['torch']}"
    table = Table("seed", "seconds", "test accuracy (%)", title=title)
    for seed, figures in enumerate(zip(times, accuracies, strict=True)):
        table.add_row(str(seed), *(f"{figure:.2f}" for figure in figures))
    if len(runs) > 1:
        table.add_row("mean ± std", *(f"{mean(column):.2f} ± {stdev(column):.2f}" for column in (times, accuracies)))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
