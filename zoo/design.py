"""Networks of the highest NN-Mass within a budget, found exactly and without building any.

NN-Mass, parameters and MACs of a random-skip DenseNet of given depth and widths are linear in the long-range links of
its cells, and all cells have the same mass per link. So the t_c within a budget that give the most links give the
highest mass: a knapsack of one choice per cell and two limits.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from zoo.mass import link_counts, nn_mass, whole_number
from zoo.size import Size, densenet_size

__all__ = ["Design", "highest_mass"]

_FIRST_BEAM = 1024


class Design(NamedTuple):
    """A :class:`zoo.RandomSkipDenseNet` that has not been built.

    Attributes:
        cell_depth: Layers per cell, d_c.
        width_multiplier: w_m.
        tc: The most long-range channels that a layer of each cell may take, t_c.
        nn_mass: NN-Mass (Eq. 2).
        num_params: Learnable numbers.
        macs: Multiply-adds for one input, in MAC.
    """

    cell_depth: int
    width_multiplier: float
    tc: tuple[int, ...]
    nn_mass: float
    num_params: int
    macs: int


class _Cell(NamedTuple):
    """The choices for one cell by rising number of links, and what one link costs."""

    tc: np.ndarray
    links: np.ndarray
    params: int
    macs: int


def highest_mass(
    cell_depths: Iterable[int],
    width_multipliers: Iterable[float],
    tc: Iterable[int],
    max_params: float = np.inf,
    max_macs: float = np.inf,
    base_widths: Sequence[int] = (16, 32, 64),
    size: Callable[[Sequence[int], Sequence[int], Sequence[int]], Size] = densenet_size,
    count: int = 10,
) -> list[Design]:
    """Of each depth and width multiplier the network of the highest NN-Mass within the budget; the best of them.

    No combination of the grid that fits has a higher mass: what is left out has been bounded. Of designs of equal mass
    the one of fewer parameters comes first.

    Args:
        cell_depths: Layers per cell to choose from.
        width_multipliers: w_m to choose from; every base width times it must be whole.
        tc: t_c to choose from, for each cell on its own.
        max_params: Most learnable numbers.
        max_macs: Most multiply-adds for one input, in MAC.
        base_widths: Widths at multiplier 1, one per cell.
        size: What a network costs, from depths, widths and t_c of its cells; :func:`zoo.densenet_size`, with other
            classes, images, stem or expansion where need be.
        count: How many to return at most.

    Returns:
        Designs by falling mass; none if nothing fits.

    Raises:
        ValueError: If a grid is empty, or a number in it out of range.

    Source:
        Bhardwaj, Li, Marculescu, CVPR 2021, section 4.4 (the rule); the search is ours.

    Example:
        >>> design = highest_mass([9, 12], [1, 2], range(5, 301, 5), max_params=5e6, max_macs=0.8e9)[0]
        >>> design.cell_depth, design.width_multiplier, design.tc, design.nn_mass, design.num_params
        (9, 2, (120, 295, 300), 1311.75, 4897100)
    """
    depths = sorted({whole_number("cell_depths", depth, 1) for depth in cell_depths})
    choices = sorted({whole_number("tc", number, 0) for number in tc})
    multipliers = sorted(set(width_multipliers))
    for name, grid in (("cell_depths", depths), ("width_multipliers", multipliers), ("tc", choices)):
        if not grid:
            raise ValueError(f"Expected {name} to hold at least one number, but got none.")
    problems = []
    for depth, multiplier in product(depths, multipliers):
        widths = _widths(base_widths, multiplier)
        base, cells = _cells(depth, widths, choices, size)
        room = (max_params - base.num_params, max_macs - base.macs)
        if all(limit >= 0 for limit in _left_at_least(cells, room)):
            bound = _mass(depth, _Bound(cells, room).of_all())
            problems.append((-bound, depth, multiplier, widths, cells, room))
    found: list[Design] = []
    for bound, depth, multiplier, widths, cells, room in sorted(problems, key=lambda problem: problem[:3]):
        if len(found) >= count and -bound < (1 - 1e-12) * found[-1].nn_mass:
            break
        best = tuple(_most_links(cells, room))
        cost = size([depth] * len(widths), widths, best)
        mass = nn_mass(depth, widths, best)
        found.append(Design(depth, multiplier, best, mass, int(cost.num_params), int(cost.macs)))
        found = nsmallest(count, found, key=lambda design: (-design.nn_mass, design.num_params))
    return found


def _widths(base_widths: Sequence[int], multiplier: float) -> list[int]:
    widths = [base * multiplier for base in base_widths]
    if not widths or any(width < 1 or width != round(width) for width in widths):
        raise ValueError(
            f"Expected width_multipliers times every base width to be a whole number of at least 1, "
            f"but got {multiplier} x {list(base_widths)}."
        )
    return [round(width) for width in widths]


def _mass(depth: int, links: float) -> float:
    """NN-Mass of so many long-range links, in cells of one depth."""
    return 2 * depth * links / ((depth - 1) * (depth - 2)) if depth > 2 else 0.0


def _cells(depth: int, widths: list[int], choices: list[int], size: Callable) -> tuple[Size, list[_Cell]]:
    """The cost without any link, and of each cell the choices."""
    depths = [depth] * len(widths)
    base = size(depths, widths, [0] * len(widths))
    cells = []
    for index, width in enumerate(widths):
        # One channel for each layer that may take any.
        one = size(depths, widths, [int(index == other) for other in range(len(widths))])
        layers = max(depth - 2, 1)
        counts = np.array([sum(link_counts(depth, width, number)) for number in choices])
        links, first = np.unique(counts, return_index=True)
        cells.append(
            _Cell(
                np.array(choices)[first],
                links,
                (one.num_params - base.num_params) // layers,
                (one.macs - base.macs) // layers,
            )
        )
    return base, cells


def _left_at_least(cells: list[_Cell], room: tuple[float, float]) -> tuple[float, float]:
    """What is left of the budget when every cell has its fewest links."""
    params = sum(cell.params * int(cell.links[0]) for cell in cells)
    macs = sum(cell.macs * int(cell.links[0]) for cell in cells)
    return room[0] - params, room[1] - macs


class _Bound:
    """At most so many links in all, whatever the cells that are not decided yet choose: Lagrange's bound.

    For prices a, b >= 0 of parameter and MAC, links <= a P + b M + sum over cells of max_L (1 - a p_c - b q_c) L. The
    best prices of the whole problem, where choices need not be whole, lie where two of its lines meet.
    """

    def __init__(self, cells: list[_Cell], room: tuple[float, float]) -> None:
        self.cells = cells
        # A limit beyond the dearest choice is none.
        dearest = [
            sum(int(cell.links[-1]) * cost for cell, cost in zip(cells, costs, strict=True))
            for costs in ([cell.params for cell in cells], [cell.macs for cell in cells])
        ]
        self.room = np.minimum(room, dearest)
        self.prices = min(self._corners(), key=lambda prices: self._value(np.array(prices)))

    def of_all(self) -> float:
        """For the whole network."""
        return float(_floor(np.array(self._value(np.array(self.prices)))))

    def of(self, links: np.ndarray, params: np.ndarray, macs: np.ndarray, decided: int) -> np.ndarray:
        """For networks whose first ``decided`` cells together have these links and cost this."""
        left = self.prices[0] * (self.room[0] - params) + self.prices[1] * (self.room[1] - macs)
        return _floor(links + left + self._rest(np.array(self.prices), self.cells[decided:]))

    def _value(self, prices: np.ndarray) -> float:
        return float(prices @ self.room) + self._rest(prices, self.cells)

    @staticmethod
    def _rest(prices: np.ndarray, cells: list[_Cell]) -> float:
        gains = [1 - prices[0] * cell.params - prices[1] * cell.macs for cell in cells]
        return sum(max(gain * cell.links[0], gain * cell.links[-1]) for gain, cell in zip(gains, cells, strict=True))

    def _corners(self) -> list[tuple[float, float]]:
        lines = [(1, 0, 0), (0, 1, 0), *((cell.params, cell.macs, 1) for cell in self.cells)]
        corners = [(0.0, 0.0)]
        for (a, b, c), (d, e, f) in combinations(lines, 2):
            if determinant := a * e - b * d:
                corner = ((c * e - b * f) / determinant, (a * f - c * d) / determinant)
                if min(corner) >= 0:
                    corners.append(corner)
        return corners


def _floor(links: np.ndarray) -> np.ndarray:
    """Links are whole; the margin is far above errors of rounding, and far below one link."""
    return np.floor(links + 1e-6)


def _most_links(cells: list[_Cell], room: tuple[float, float]) -> list[int]:
    """The t_c of the most links within the budget.

    Cells are decided one after the other. Of all that has been decided the most promising go on, as the beam is wide;
    it is widened until the bound of whatever was dropped is no higher than the best network found: that proves it best.
    """
    order = sorted(range(len(cells)), key=lambda index: len(cells[index].links))
    ordered = [cells[index] for index in order]
    bound, beam, best, chosen = _Bound(ordered, room), _FIRST_BEAM, -1, [0] * len(cells)
    while True:
        links, params, macs = (np.zeros(1, dtype=np.int64) for _ in range(3))
        path, dropped = np.zeros((1, 0), dtype=np.int64), -1.0
        for index, cell in enumerate(ordered[:-1]):
            least = _left_at_least(ordered[index + 1 :], room)
            links = (links[:, None] + cell.links).ravel()
            params = (params[:, None] + cell.params * cell.links).ravel()
            macs = (macs[:, None] + cell.macs * cell.links).ravel()
            bounds = bound.of(links, params, macs, index + 1)
            keep = np.flatnonzero((params <= least[0]) & (macs <= least[1]) & (bounds > best))
            if len(keep) > beam:
                ranked = np.argpartition(-bounds[keep], beam)
                dropped = max(dropped, float(bounds[keep[ranked[beam:]]].max()))
                keep = keep[ranked[:beam]]
            previous, choice = np.divmod(keep, len(cell.links))
            path = np.hstack([path[previous], choice[:, None]])
            links, params, macs = links[keep], params[keep], macs[keep]
        if len(links):
            last = ordered[-1]
            most = np.full(len(links), last.links[-1], dtype=np.float64)
            for used, cost, limit in ((params, last.params, room[0]), (macs, last.macs, room[1])):
                if cost and np.isfinite(limit):
                    most = np.minimum(most, (limit - used) // cost)
            choice = np.searchsorted(last.links, most, side="right") - 1
            totals = links + last.links[choice]
            top = int(totals.argmax())
            if totals[top] > best:
                best = int(totals[top])
                picks = [*path[top], choice[top]]
                for index, cell, pick in zip(order, ordered, picks, strict=True):
                    chosen[index] = int(cell.tc[pick])
        if dropped <= best:
            return chosen
        beam *= 8
