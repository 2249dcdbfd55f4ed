"""Networks considered per second: by building them, by their closed forms, and by the searches for a design."""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nnmass.zoo import (
    RandomSkipDenseNet,
    Shape,
    count_macs,
    densenet_grid,
    densenet_size,
    fewest_params,
    highest_mass,
    nn_mass,
    pareto_front,
)

DEPTHS, MULTIPLIERS, CHOICES = range(4, 21), (1, 1.5, 2, 2.5, 3), range(0, 301, 5)
BUDGET = {"max_params": 5e6, "max_macs": 0.8e9}


def draw(generator: random.Random) -> tuple[int, float, list[int]]:
    """Depth, width multiplier and t_c of one network of the grid."""
    return generator.choice(DEPTHS), generator.choice(MULTIPLIERS), [generator.choice(CHOICES) for _ in range(3)]


def build(depth: int, multiplier: float, tc: list[int]) -> None:
    network = RandomSkipDenseNet(depth, multiplier, tc)
    sum(parameter.numel() for parameter in network.parameters())
    count_macs(network, (3, 32, 32))


def evaluate(depth: int, multiplier: float, tc: list[int]) -> None:
    widths = [int(base * multiplier) for base in (16, 32, 64)]
    densenet_size([depth] * 3, widths, tc)
    nn_mass(depth, widths, tc)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    generator = random.Random(0)
    rows: list[tuple[str, int, float]] = []
    for name, one, number in (("built and counted", build, 10), ("closed form, one by one", evaluate, 2000)):
        drawn = [draw(generator) for _ in range(number)]
        one(*drawn[0])
        rows.append((name, number, seconds(lambda one=one, drawn=drawn: [one(*network) for network in drawn])))

    def networks(grid: list[Shape]) -> int:
        return sum(shape.networks for shape in grid)

    searches = {
        "Pareto front, vectorised": lambda grid: pareto_front(grid, **BUDGET),
        "highest mass, exact": lambda grid: highest_mass(grid, **BUDGET),
        "fewest parameters, exact": lambda grid: fewest_params(grid, 755, **BUDGET),
    }
    for name, search in searches.items():
        grid: list[Shape] = []
        taken = seconds(lambda search=search, grid=grid: search(_filled(grid, CHOICES)))
        rows.append((name, networks(grid), taken))
    grid = []
    taken = seconds(lambda grid=grid: highest_mass(_filled(grid, range(1500)), **BUDGET))
    rows.append(("highest mass, t_c any of 0 to 1499", networks(grid), taken))
    slowest = rows[0][1] / rows[0][2]
    table = Table("way", "networks", "time (s)", "networks per s", "multiple of building")
    for name, number, taken in rows:
        rate = number / taken
        table.add_row(name, f"{number:.3g}", f"{taken:.3f}", f"{rate:.2g}", f"{rate / slowest:.2g}")
    Console().print(table)


def _filled(grid: list[Shape], choices: range) -> list[Shape]:
    """The grid is made anew, as part of the work."""
    grid.extend(densenet_grid(DEPTHS, MULTIPLIERS, choices))
    return grid


if __name__ == "__main__":
    main()
