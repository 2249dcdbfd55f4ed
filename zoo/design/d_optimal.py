"""D-optimal choice of networks: those by which the effects of mass, size, depth and t can be told apart best.

A study fits accuracy on features of networks, y = b_0 + sum_k b_k x_k. The information matrix X'X of the networks that
it trains, with a row (1, x_1, x_2, ...) for each, has the determinant n^p times that of their covariances: it is large
if the features vary much and are correlated little, and the confidence ellipsoid of b is then small. The correlations
alone would not do: they are smallest in sets of nearly equal networks, which tell nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import inf, log
from typing import NamedTuple

import numpy as np

from nnmass.zoo.checks import require, require_integer
from nnmass.zoo.design.grids import Shape
from nnmass.zoo.design.search import Design, design_of

__all__ = ["Choice", "Separation", "d_optimal", "design_features", "exchange", "separation"]

MOST_CANDIDATES = 200_000
_STARTS = 10
_RANK = 1e-9  # relative singular value below which a feature follows from the others


class Separation(NamedTuple):
    """Features of networks as they go together.

    Attributes:
        correlations: Between the features, (features, features).
        determinant: That of the correlations: 1 if there are none, 0 if a feature follows from the others.
        inflation: Variance inflation factor of each feature, 1 / (1 - R2 on all others).
    """

    correlations: np.ndarray
    determinant: float
    inflation: np.ndarray


class Choice(NamedTuple):
    """Networks that were chosen together.

    Attributes:
        designs: The networks, by rising depth, width and t.
        features: Names of the features by which they were chosen.
        separation: How these go together among the chosen.
        candidates: Number of networks that there were to choose from.
    """

    designs: list[Design]
    features: list[str]
    separation: Separation
    candidates: int


def d_optimal(
    grid: Sequence[Shape], count: int, max_params: float = inf, max_macs: float = inf, min_mass: float = 0.0
) -> Choice:
    """Choose networks by which a study can tell NN-Mass, parameters, depth and t apart as well as a grid allows.

    Args:
        grid: What to choose from, as :func:`zoo.mlp_grid` makes it; networks without mass have no logarithm, and are
            no candidates.
        count: Networks to choose, each at most once.
        max_params: Most learnable numbers.
        max_macs: Most multiply-adds for one input, in MAC.
        min_mass: Least NN-Mass.

    Raises:
        ValueError: If there are too many networks to look at each, too few to choose from, or only such that a feature
            of which follows from the others.

    Example:
        >>> from nnmass.zoo import mlp_grid
        >>> choice = d_optimal(mlp_grid([4, 8, 16], [4, 8], [1, 4, 16]), count=8)
        >>> choice.candidates, choice.features
        (18, ['log NN-Mass', 'log parameters', 'depth', 'log t'])
        >>> choice.designs[0].arguments
        {'depth': 4, 'width': 4, 'tc': 4}
    """
    networks = sum(shape.networks for shape in grid)
    require(
        networks <= MOST_CANDIDATES,
        "the grid",
        f"hold at most {MOST_CANDIDATES:,} networks for a D-optimal choice",
        f"{networks:,}",
        "take larger steps.",
    )
    candidates = [design for design in _within(grid, max_params, max_macs) if design.nn_mass >= min_mass]
    require(len(candidates) > 0, "the grid", "hold networks with links within the limits", "none")
    require(len(candidates) >= count, "count", f"be at most {len(candidates)}, the networks to choose from", count)
    rows = [design_features(design) for design in candidates]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    varying = {name: column for name, column in values.items() if np.ptp(column) > 0}
    chosen = exchange(varying, count)
    told = separation(np.column_stack([column[chosen] for column in varying.values()]))
    return Choice([candidates[index] for index in chosen], list(varying), told, len(candidates))


def design_features(design: Design) -> dict[str, float]:
    """Describe a network by the numbers that might explain its accuracy.

    Args:
        design: A network with links, so that its mass has a logarithm.

    Returns:
        Natural logarithms of NN-Mass and parameters; the depth, of a cell or in blocks; and for random-skip networks
        the logarithm of t, summed over the cells.

    Example:
        >>> design_features(Design({"depth": 8, "width": 4, "tc": 1}, 2.0, 1000, 900))["log t"]
        0.0
    """
    arguments = design.arguments
    features = {"log NN-Mass": log(design.nn_mass), "log parameters": log(design.num_params)}
    if "repeats" in arguments:
        return features | {"depth": float(sum(arguments["repeats"]))}
    depth = arguments["depth"] if "depth" in arguments else arguments["cell_depth"]
    return features | {"depth": float(depth), "log t": log(np.sum(arguments["tc"]))}


def exchange(features: Mapping[str, np.ndarray], count: int, seed: int = 0) -> np.ndarray:
    """Choose rows of the largest det X'X, by exchanging one chosen row for another as long as that enlarges it.

    With d_ij = x_i' (X'X)^-1 x_j, row j instead of row i multiplies the determinant by (1 + d_jj) (1 - d_ii) + d_ij^2.
    The best of ten random starts is returned; no exchange of a single row makes it better. Scales and units of the
    features do not matter.

    Args:
        features: Columns by name, (n,) each, finite.
        count: Rows to choose, each at most once.
        seed: Of the random starts.

    Returns:
        Indices of the rows, rising, (count,).

    Raises:
        ValueError: If the rows are too few to fit all features, or a feature follows from the others.

    Source:
        Fedorov: "Theory of optimal experiments", 1972; row by row as Cook and Nachtsheim: "A comparison of algorithms
        for constructing exact D-optimal designs", 1980.

    Example:
        >>> exchange({"x": np.array([0.0, 1.0, 2.0, 3.0, 4.0])}, count=2)
        array([0, 4])
    """
    names = ", ".join(features)
    columns = np.column_stack([np.asarray(column, dtype=float) for column in features.values()])
    count = require_integer("count", count, columns.shape[1] + 1, len(columns))
    scale = np.ptp(columns, axis=0)
    centred = (columns - columns.mean(axis=0)) / np.where(scale > 0, scale, 1)
    directions, singular, _ = np.linalg.svd(centred, full_matrices=False)
    require(
        len(singular) == columns.shape[1] and singular[-1] > _RANK * singular[0],
        names,
        "vary, none of them as a linear function of the others",
        "such that do not",
    )
    # Uncorrelated over all rows, which multiplies every determinant by the same number.
    rows = np.column_stack([np.ones(len(columns)), np.sqrt(len(columns)) * directions])
    generator = np.random.default_rng(seed)
    found = [_exchanged(rows, generator.permutation(len(rows))[:count]) for _ in range(_STARTS)]
    return max(found, key=lambda chosen: np.linalg.slogdet(rows[chosen].T @ rows[chosen])[1])


def separation(features: np.ndarray) -> Separation:
    """Tell how features go together.

    Args:
        features: (networks, features), each of which varies.

    Example:
        >>> separation(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])).determinant
        1.0
    """
    correlations = np.atleast_2d(np.corrcoef(features, rowvar=False))
    inflation = np.diag(np.linalg.inv(correlations))
    return Separation(correlations, float(np.linalg.det(correlations)), inflation)


def _exchanged(rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Exchange chosen rows, one after the other for the best, until none can be."""
    improves = True
    while improves:
        improves = False
        for place in range(len(chosen)):
            # The small multiple of the identity lets a start be singular.
            information = rows[chosen].T @ rows[chosen] + 1e-9 * np.eye(rows.shape[1])
            projected = rows @ np.linalg.inv(information)
            leverage = (projected * rows).sum(axis=1)
            shared = projected @ rows[chosen[place]]
            growth = (1 + leverage) * (1 - leverage[chosen[place]]) + shared**2
            growth[chosen] = 0
            best = int(growth.argmax())
            if growth[best] > 1 + 1e-9:
                chosen[place], improves = best, True
    return np.sort(chosen)


def _within(grid: Sequence[Shape], max_params: float, max_macs: float) -> Iterator[Design]:
    """All networks of a grid that have links and keep to the budget."""
    for shape in grid:
        for values in product(*(cell.values.tolist() for cell in shape.cells)):
            design = design_of(shape, values)
            if design.nn_mass > 0 and design.num_params <= max_params and design.macs <= max_macs:
                yield design
