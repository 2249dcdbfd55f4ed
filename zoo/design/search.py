"""Exact search for networks by their NN-Mass, without building any.

Mass, parameters and MACs of a network are sums over its cells (:mod:`zoo.design.grids`). So the choices that bring the
most mass within a budget solve a knapsack of one choice per cell and two limits (:mod:`zoo.design.knapsack`).
"""

from bisect import insort
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from nnmass.zoo.checks import require_integer
from nnmass.zoo.design.grids import Choices, Shape
from nnmass.zoo.design.knapsack import Bound, front_of_cells, left_at_least, most_gain, nondominated
from nnmass.zoo.size import Size

__all__ = ["Answer", "Design", "design_of", "fewest_params", "highest_mass", "pareto_front"]


class Design(NamedTuple):
    """A network that has not been built.

    Attributes:
        arguments: Those of the network's class that make it.
        nn_mass: NN-Mass (Eq. 2; of MobileNetV2 CVPR's Eq. 3).
        num_params: Learnable numbers.
        macs: Multiply-adds for one input, in MAC.
    """

    arguments: dict[str, Any]
    nn_mass: float
    num_params: int
    macs: int


class Answer(NamedTuple):
    """Result of a search.

    Attributes:
        designs: The best network of each of the best shapes, the best first.
        bound: No network of the grid within the budget is better than this, whether it was looked at or ruled out.
    """

    designs: list[Design]
    bound: float


def highest_mass(
    grid: Sequence[Shape], max_params: float = np.inf, max_macs: float = np.inf, count: int = 10
) -> Answer:
    """Find the networks of highest NN-Mass within a budget, at most one of each shape.

    No network of the grid that fits has a higher mass: what is not looked at has been bounded. Of designs of equal mass
    the one of fewer parameters comes first.

    Args:
        grid: What to choose from, as :func:`zoo.densenet_grid` makes it.
        max_params: Most learnable numbers.
        max_macs: Most multiply-adds for one input, in MAC.
        count: How many to return at most.

    Returns:
        Designs by falling mass, none if nothing fits; and an upper bound of the mass.

    Source:
        Bhardwaj, Li, Marculescu, CVPR 2021, section 4.3 (the rule); the search is ours.

    Example:
        >>> from nnmass.zoo import densenet_grid
        >>> answer = highest_mass(densenet_grid([9, 12], [1, 2], range(5, 301, 5)), max_params=5e6, max_macs=0.8e9)
        >>> answer.designs[0].arguments, answer.designs[0].nn_mass, answer.bound
        ({'cell_depth': 9, 'width_multiplier': 2, 'tc': [120, 295, 300]}, 1311.75, 1311.75)
    """
    count = require_integer("count", count, 1)
    open_shapes = []
    for index, shape in enumerate(grid):
        limits = _limits(shape, max_params, max_macs)
        if min(left_at_least(shape.cells, limits)) >= 0:
            open_shapes.append((-shape.mass - shape.unit * Bound(shape.cells, limits).of_all(), index, limits))
    designs: list[Design] = []
    bound = -np.inf
    for negative, index, limits in sorted(open_shapes):
        if len(designs) >= count and -negative < (1 - 1e-12) * designs[count - 1].nn_mass:
            bound = max(bound, -negative)
            break
        design = design_of(grid[index], most_gain(grid[index].cells, limits) or [])
        bound = max(bound, design.nn_mass)
        insort(designs, design, key=lambda one: (-_rounded(one.nn_mass), one.num_params))
    return Answer(designs[:count], bound)


def fewest_params(
    grid: Sequence[Shape],
    min_mass: float,
    max_params: float = np.inf,
    max_macs: float = np.inf,
    count: int = 10,
) -> Answer:
    """Find the networks of fewest parameters that have an NN-Mass, at most one of each shape.

    Args:
        grid: What to choose from, as :func:`zoo.densenet_grid` makes it.
        min_mass: Least NN-Mass, for instance that of a large network whose accuracy is to be kept.
        max_params: Most learnable numbers.
        max_macs: Most multiply-adds for one input, in MAC.
        count: How many to return at most.

    Returns:
        Designs by rising parameters, none if nothing has the mass; and a lower bound of the parameters.

    Source:
        ICLR 2021 submission, appendix H.9 (the rule); the search is ours.

    Example:
        >>> from nnmass.zoo import densenet_grid
        >>> answer = fewest_params(densenet_grid([9, 12], [2], range(5, 301, 5)), min_mass=1126, max_macs=0.81e9)
        >>> answer.designs[0].arguments, answer.designs[0].num_params, answer.bound
        ({'cell_depth': 9, 'width_multiplier': 2, 'tc': [220, 295, 160]}, 4042316, 4042316)
    """
    count = require_integer("count", count, 1)
    open_shapes = []
    for index, shape in enumerate(grid):
        needed = _gain_needed(shape, min_mass)
        limits = _limits(shape, max_params, max_macs)
        if needed is not None and Bound(shape.cells, limits).of_all() >= needed:
            least = _least_params_by_bound(shape, needed, max_params, max_macs)
            open_shapes.append((least, index, needed))
    designs: list[Design] = []
    bound = np.inf
    for least, index, needed in sorted(open_shapes):
        highest = designs[count - 1].num_params if len(designs) >= count else max_params
        if least > highest:
            bound = min(bound, least)
            break
        design = _smallest(grid[index], needed, least, highest, max_macs)
        if design is not None:
            bound = min(bound, design.num_params)
            insort(designs, design, key=lambda one: (one.num_params, -_rounded(one.nn_mass)))
    return Answer(designs[:count], bound)


def pareto_front(
    grid: Sequence[Shape],
    max_params: float = np.inf,
    max_macs: float = np.inf,
    report: Callable[[int, int], None] | None = None,
) -> list[Design]:
    """Find all networks of the grid within the budget that no other surpasses in mass, parameters and MACs.

    Of networks that are equal in all three one is listed. Cells are merged one after the other, and of each part only
    its own front goes on; memory follows the length of the fronts, not the number of networks.

    Args:
        grid: What to choose from, as :func:`zoo.densenet_grid` makes it.
        max_params: Most learnable numbers.
        max_macs: Most multiply-adds for one input, in MAC.
        report: Called after each shape with how many are done, and how many networks are on their front.

    Returns:
        Designs by rising parameters.

    Example:
        >>> from nnmass.zoo import mlp_grid
        >>> [design.nn_mass for design in pareto_front(mlp_grid([8], [4], range(4)))]
        [0.0, 2.2857142857142856, 4.571428571428571, 6.857142857142857]
    """
    front, makers = np.zeros((0, 3)), np.zeros((0, 2), dtype=np.int64)
    paths: list[np.ndarray] = []
    for index, shape in enumerate(grid):
        sums, path = front_of_cells(shape.cells, _limits(shape, max_params, max_macs))
        costs = np.stack(
            [
                shape.size.num_params + sums[:, 0],
                shape.size.macs + sums[:, 1],
                -_rounded(shape.mass - shape.unit * sums[:, 2]),
            ],
            1,
        )
        paths.append(path)
        made = np.stack([np.full(len(path), index), np.arange(len(path))], 1)
        front, makers = np.concatenate([front, costs]), np.concatenate([makers, made])
        keep = nondominated(front)
        front, makers = front[keep], makers[keep]
        if report is not None:
            report(index + 1, len(front))
    return [design_of(grid[index], _values(grid[index].cells, paths[index][row])) for index, row in makers]


def _rounded(mass: Any) -> Any:
    """Round masses, so that those that differ by rounding errors alone become equal."""
    return np.round(mass, 9)


def _limits(shape: Shape, max_params: float, max_macs: float) -> tuple[float, float]:
    return max_params - shape.size.num_params, max_macs - shape.size.macs


def _values(cells: Sequence[Choices], picks: Sequence[int]) -> list[int]:
    return [int(cell.values[pick]) for cell, pick in zip(cells, picks, strict=True)]


def design_of(shape: Shape, values: Sequence[int]) -> Design:
    """Make the network of a shape with these choices.

    Args:
        shape: Of a grid.
        values: The open argument's for each cell or stage, such as t_c.
    """
    picks = [int(np.searchsorted(cell.values, value)) for cell, value in zip(shape.cells, values, strict=True)]
    gain, params, macs = (
        sum(int(column[pick]) for column, pick in zip(columns, picks, strict=True))
        for columns in zip(*((cell.gain, cell.params, cell.macs) for cell in shape.cells), strict=True)
    )
    size = shape.size.plus(Size(params, macs))
    chosen = list(values) if len(values) > 1 else values[0]
    return Design(
        {**shape.arguments, shape.open: chosen},
        shape.mass + shape.unit * gain,
        int(size.num_params),
        int(size.macs),
    )


def _gain_needed(shape: Shape, min_mass: float) -> int | None:
    """The least whole gain that brings the mass; None if none does."""
    missing = min_mass * (1 - 1e-12) - shape.mass
    if missing <= 0:
        return 0
    return ceil(missing / shape.unit) if shape.unit else None


def _least_params_by_bound(shape: Shape, needed: int, max_params: float, max_macs: float) -> int:
    """Lower bound on the parameters of a network that has the gain needed."""
    most = shape.size.num_params + sum(int(cell.params[-1]) for cell in shape.cells)
    low, high = shape.size.num_params - 1, int(min(max_params, most))
    while high - low > 1:
        middle = (low + high) // 2
        limits = _limits(shape, middle, max_macs)
        if min(left_at_least(shape.cells, limits)) >= 0 and Bound(shape.cells, limits).of_all() >= needed:
            high = middle
        else:
            low = middle
    return high


def _smallest(shape: Shape, needed: int, least: int, most: float, max_macs: float) -> Design | None:
    """The smallest network of the shape that has the gain needed and from ``least`` to ``most`` parameters."""
    best = None
    low, step = least - 1, 1
    # The bound is nearly always close, so the search goes up from it in growing steps and then bisects.
    while best is None:
        limit = min(low + step, most)
        values = most_gain(shape.cells, _limits(shape, limit, max_macs), needed - 1)
        if values is not None:
            best = design_of(shape, values)
        elif limit == most or step > 2**50:
            return None
        else:
            low, step = int(limit), 4 * step
    while best.num_params - low > 1:
        middle = (low + best.num_params) // 2
        values = most_gain(shape.cells, _limits(shape, middle, max_macs), needed - 1)
        if values is None:
            low = middle
        else:
            best = design_of(shape, values)
    return best
