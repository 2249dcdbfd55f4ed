"""The knapsack of a design: one choice for each cell, the most gain within two limits, exactly.

Sums over cells of gain, parameters and MACs; the choices of a cell come by rising gain, and the more it brings the more
it costs.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from nnmass.zoo.design.grids import Choices

__all__ = ["Bound", "front_of_cells", "left_at_least", "most_gain", "nondominated"]

_FIRST_BEAM = 1024
_CHUNK = 2**20  # sums that are computed at once


def nondominated(costs: np.ndarray) -> np.ndarray:
    """Rows that no other row is at most equal to in all three columns, by rising first column; equal rows count once.

    Args:
        costs: Numbers that are to be small, shape (n, 3).

    Returns:
        Indices of the rows.

    Source:
        Kung, Luccio, Preparata, "On finding the maxima of a set of vectors" (1975).

    Example:
        >>> nondominated(np.array([[2, 1, 1], [1, 1, 1], [0, 3, 3]]))
        array([2, 1])
    """
    order = np.lexsort(costs.T[::-1])
    second, third = (np.unique(costs[order, column], return_inverse=True)[1] for column in (1, 2))
    rows, half = np.arange(len(order)), 1
    # Blocks of twice the length at each turn: a row of the later half goes if one of the earlier half dominates it.
    while half < len(order):
        block, later = rows // (2 * half), rows // half % 2 == 1
        sorting = np.argsort(2 * (block * len(order) + second[rows]) + later)
        rows, block, later = rows[sorting], block[sorting] * (len(order) + 1), later[sorting]
        # The offset lets the running minimum of each block start anew.
        lowest = np.minimum.accumulate(np.where(later, len(order), third[rows]) - block) + block
        rows = np.sort(rows[~later | (lowest > third[rows])])
        half *= 2
    return order[rows]


def front_of_cells(cells: Sequence[Choices], limits: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """All choices within the budget for which no other has more gain at no higher cost.

    Args:
        cells: What each cell may be.
        limits: Most parameters, and most MACs, of all cells together.

    Returns:
        Parameters, MACs and negative gain, (n, 3), and the place of each cell's choice, (n, cells).
    """
    front, path = np.zeros((1, 3)), np.zeros((1, 0), dtype=np.int64)
    for index, cell in enumerate(cells):
        choices = np.stack([cell.params, cell.macs, -cell.gain], 1)
        least = left_at_least(cells[index + 1 :], limits)
        merged, merged_path = np.zeros((0, 3)), np.zeros((0, index + 1), dtype=np.int64)
        rows = max(_CHUNK // len(choices), 1)
        for start in range(0, len(front), rows):
            sums = (front[start : start + rows, None] + choices).reshape(-1, 3)
            fits = np.flatnonzero((sums[:, 0] <= least[0]) & (sums[:, 1] <= least[1]))
            previous, choice = np.divmod(fits, len(choices))
            merged = np.concatenate([merged, sums[fits]])
            merged_path = np.concatenate([merged_path, np.column_stack([path[start + previous], choice])])
            keep = nondominated(merged)
            merged, merged_path = merged[keep], merged_path[keep]
        front, path = merged, merged_path
    return front, path


def left_at_least(cells: Sequence[Choices], limits: tuple[float, float]) -> tuple[float, float]:
    """Rest of the budget when every cell has its least gain.

    Args:
        cells: What each cell may be.
        limits: Most parameters, and most MACs, of all cells together.
    """
    return (
        limits[0] - sum(int(cell.params[0]) for cell in cells),
        limits[1] - sum(int(cell.macs[0]) for cell in cells),
    )


class Bound:
    """Lagrange's upper bound on the gain, whatever the undecided cells choose.

    For prices a, b >= 0 of parameter and MAC, gain <= a P + b M + sum over cells of max (gain - a params - b MACs) of
    its choices. The best prices of the whole problem, where choices need not be whole, lie where two of its lines meet.
    """

    def __init__(self, cells: Sequence[Choices], limits: tuple[float, float]) -> None:
        # A limit above the cost of the dearest choices does not bind.
        dearest = [sum(int(cell.params[-1]) for cell in cells), sum(int(cell.macs[-1]) for cell in cells)]
        self.limits = np.minimum(limits, dearest)
        corners = np.array(list(self._corners(cells)))
        values = corners @ self.limits
        for cell in cells:
            ends = [cell.gain[end] - corners @ (cell.params[end], cell.macs[end]) for end in (0, -1)]
            values = values + np.maximum(*ends)
        self.prices = corners[int(values.argmin())]
        rests = [(cell.gain - self.prices[0] * cell.params - self.prices[1] * cell.macs).max() for cell in cells]
        # The cells from each one on add at most this.
        self.rests = np.append(np.cumsum(rests[::-1])[::-1], 0.0)

    def of_all(self) -> float:
        """Bound for the whole network."""
        return float(self.of(np.zeros(1), np.zeros(1), np.zeros(1), 0)[0])

    def of(self, gain: np.ndarray, params: np.ndarray, macs: np.ndarray, decided: int) -> np.ndarray:
        """Bound for networks whose first ``decided`` cells together have this gain and this cost.

        Gain is whole; the margin is far above errors of rounding, and far below one.
        """
        left = self.prices[0] * (self.limits[0] - params) + self.prices[1] * (self.limits[1] - macs)
        return np.floor(gain + left + self.rests[decided] + 1e-6)

    @staticmethod
    def _corners(cells: Sequence[Choices]) -> Iterator[tuple[float, float]]:
        yield 0.0, 0.0
        slopes = [[float(column[-1] - column[0]) for column in (cell.params, cell.macs, cell.gain)] for cell in cells]
        for (a, b, c), (d, e, f) in combinations([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], *slopes], 2):
            if determinant := a * e - b * d:
                corner = ((c * e - b * f) / determinant, (a * f - c * d) / determinant)
                if min(corner) >= 0:
                    yield corner


class _Decided(NamedTuple):
    """Ways to choose in the cells so far: gain and cost of each, and the indices of its choices, (n, cells)."""

    gain: np.ndarray
    params: np.ndarray
    macs: np.ndarray
    path: np.ndarray

    def at(self, rows: np.ndarray) -> "_Decided":
        return _Decided(*(column[rows] for column in self))


def most_gain(cells: Sequence[Choices], limits: tuple[float, float], above: int = -1) -> list[int] | None:
    """The choices of the most gain within the budget.

    Cells are decided one after the other. Of all that has been decided the most promising go on, as the beam is wide;
    it is widened until the bound of whatever was dropped is no higher than the best network found: that proves it best.

    Args:
        cells: What each cell may be.
        limits: Most parameters, and most MACs, of all cells together.
        above: Only more gain than this counts.

    Returns:
        The value of each cell; None if none has as much gain.
    """
    if min(left_at_least(cells, limits)) < 0:
        return None
    order = sorted(range(len(cells)), key=lambda index: len(cells[index].gain))
    ordered = [cells[index] for index in order]
    bound, beam, best = Bound(ordered, limits), _FIRST_BEAM, above
    chosen: list[int] | None = None
    while True:
        decided, dropped = _all_but_the_last(ordered, limits, bound, beam, best)
        if len(decided.gain):
            last = ordered[-1]
            choice = np.minimum(
                np.searchsorted(last.params, limits[0] - decided.params, side="right"),
                np.searchsorted(last.macs, limits[1] - decided.macs, side="right"),
            )
            totals = decided.gain + last.gain[choice - 1]
            top = int(totals.argmax())
            if totals[top] > best:
                best = int(totals[top])
                picks = dict(zip(order, [*decided.path[top], choice[top] - 1], strict=True))
                chosen = [int(cell.values[picks[index]]) for index, cell in enumerate(cells)]
        if dropped <= best:
            return chosen
        beam *= 8


def _all_but_the_last(
    cells: Sequence[Choices], limits: tuple[float, float], bound: Bound, beam: int, best: int
) -> tuple[_Decided, float]:
    """Ways to decide all cells but the last, at most a beam of them, and the bound of those that were dropped."""
    nothing = np.zeros(1, dtype=np.int64)
    decided, dropped = _Decided(nothing, nothing, nothing, np.zeros((1, 0), dtype=np.int64)), -1.0
    for index, cell in enumerate(cells[:-1]):
        least = left_at_least(cells[index + 1 :], limits)
        rows = max(_CHUNK // len(cell.gain), 1)
        parts: list[_Decided] = []
        promises: list[np.ndarray] = []
        for start in range(0, max(len(decided.gain), 1), rows):
            gain, params, macs = (
                (column[start : start + rows, None] + more).ravel()
                for column, more in zip(decided[:3], (cell.gain, cell.params, cell.macs), strict=True)
            )
            bounds = bound.of(gain, params, macs, index + 1)
            keep = np.flatnonzero((params <= least[0]) & (macs <= least[1]) & (bounds > best))
            previous, choice = np.divmod(keep, len(cell.gain))
            path = np.column_stack([decided.path[start + previous], choice])
            parts.append(_Decided(gain[keep], params[keep], macs[keep], path))
            promises.append(bounds[keep])
            if sum(map(len, promises)) > beam:
                joined = _Decided(*map(np.concatenate, zip(*parts, strict=True)))
                promise = np.concatenate(promises)
                ranked = np.argpartition(-promise, beam)
                dropped = max(dropped, float(promise[ranked[beam:]].max()))
                parts, promises = [joined.at(ranked[:beam])], [promise[ranked[:beam]]]
        decided = _Decided(*map(np.concatenate, zip(*parts, strict=True)))
    return decided, dropped
