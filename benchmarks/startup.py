"""How long the command line takes to answer, as a multiple of ``import pytorch_lightning`` in the same run."""

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
BASELINE = "import pytorch_lightning"
COMMANDS = {
    BASELINE: ["-c", BASELINE],
    "cli.py --help": ["cli.py", "--help"],
    "cli.py fit --help": ["cli.py", "fit", "--help"],
    "import zoo": ["-c", "import zoo"],
}


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    rounds = range(REPEATS + 1)  # the first warms the disk cache and does not count
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in track(rounds, "Starting programs", console=Console(stderr=True), transient=True):
        for name, arguments in COMMANDS.items():
            taken = seconds(arguments)
            if number:
                times[name].append(taken)
    baseline = statistics.median(times[BASELINE])
    table = Table("command", "median (s)", "multiple of the import", title=f"Start-up, {REPEATS} rounds")
    for name, values in times.items():
        table.add_row(name, f"{statistics.median(values):.2f}", f"{statistics.median(values) / baseline:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
