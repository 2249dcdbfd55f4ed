"""The topology of random-skip networks in closed form: NN-Mass, density, average degree, singular value bounds.

A network is a row of cells. A cell has depth d_c (layers 0..d_c-1), width w_c (neurons, or channels, per layer) and
t_c, the most long-range link candidates that one of its layers may take. In every function below depth, width and tc
are one number, or one number per cell; single numbers are repeated for all cells. Equation numbers are those of
Bhardwaj, Li, Marculescu: "How does topology influence gradient propagation and model performance of deep networks
with DenseNet-type skip connections?" (CVPR 2021).
"""

from collections.abc import Sequence
from math import sqrt

from nnmass.zoo.checks import has_one_per_cell, require_integer, require_non_negative, require_one_per_cell

Number = float | Sequence[float]
Integer = int | Sequence[int]

MOST_LAYERS = 10_000  # in one cell or stage: ten times the deepest networks that have been trained

__all__ = [
    "average_degree",
    "average_degree_approximation",
    "cell_density",
    "link_counts",
    "nn_mass",
    "residual_links",
    "residual_mass",
    "singular_value_bounds",
]


def link_counts(depth: int, width: int, tc: int) -> list[int]:
    """Long-range links that each layer of one cell receives per neuron: l_i = min(w_c (i-1), t_c), for i >= 2.

    Layers 0 and 1 have no candidate; layer i-1 never is one, because all of it enters layer i anyway.

    Args:
        depth: Layers in the cell, d_c.
        width: Channels per layer, w_c.
        tc: The most channels that a layer may take, t_c.

    Returns:
        d_c counts, one per layer.

    Raises:
        ValueError: If the depth is above 10,000, or a number below 0.

    Example:
        >>> link_counts(depth=4, width=2, tc=3)
        [0, 0, 2, 3]
    """
    require_integer("depth", depth, 0, MOST_LAYERS)
    width, tc = require_integer("width", width, 0), require_integer("tc", tc, 0)
    return [min(width * max(layer - 1, 0), tc) for layer in range(depth)]


def cell_density(depth: Integer, width: Integer, tc: Integer) -> list[float]:
    r"""Fraction of the possible long-range links that each cell has (Eq. 1).

    .. math:: \rho_c = \frac{2 \sum_{i=2}^{d_c-1} \min(w_c (i-1), t_c)}{w_c (d_c-1)(d_c-2)}

    Args:
        depth: Layers per cell, d_c.
        width: Channels per layer, w_c.
        tc: The most long-range channels a layer may take, t_c.

    Returns:
        One density in [0, 1] per cell; 0 for a cell of fewer than three layers, which has no candidates.

    Raises:
        ValueError: If a depth or width is below 1, a tc below 0, or the lengths differ.

    Example:
        >>> cell_density(4, [2, 3, 4], [3, 4, 5])
        [0.8333333333333334, 0.7777777777777778, 0.75]
    """
    return [_density(d, w, t) for d, w, t in _cells(depth, width, tc)]


def nn_mass(depth: Integer, width: Integer, tc: Integer) -> float:
    r"""NN-Mass of a network of random-skip cells (Eq. 2).

    .. math:: m = \sum_c w_c d_c \rho_c

    Args:
        depth: Layers per cell, d_c.
        width: Channels per layer, w_c.
        tc: The most long-range channels a layer may take, t_c.

    Returns:
        The mass, a non-negative number of neurons.

    Raises:
        ValueError: If a depth or width is below 1, a tc below 0, or the lengths differ.

    Example:
        >>> round(nn_mass(12, [32, 64, 128], [60, 130, 170]), 3)
        755.345
    """
    return sum(w * d * _density(d, w, t) for d, w, t in _cells(depth, width, tc))


def residual_links(widths: Sequence[int]) -> tuple[int, int]:
    """Links that a residual block of k layers has, W_1, and those that are possible, sum over j < k of (k - j) W_j.

    Args:
        widths: Input channels of each layer on the main branch, W_j.

    Source:
        CVPR 2021, Eq. 3.

    Example:
        >>> residual_links([256, 64, 64])
        (256, 576)
    """
    return widths[0], sum((len(widths) - j) * width for j, width in enumerate(widths, start=1))


def residual_mass(widths: Sequence[int]) -> float:
    r"""NN-Mass of a residual block of k layers past which a skip adds (CVPR 2021, Eq. 3).

    .. math:: m = i_c \frac{W_1}{\sum_{j=1}^{k-1} (k - j) W_j}, \quad i_c = \sum_{j=1}^{k} W_j

    Args:
        widths: Input channels of each layer on the main branch, W_j.

    Example:
        >>> residual_mass([24, 144, 144])
        39.0
    """
    present, possible = residual_links(widths)
    return sum(widths) * (present / possible)


def average_degree(depth: Integer, width: Integer, tc: Integer) -> float:
    """Edges per neuron inside the cells, counted exactly and pooled over cells.

    A short-range link from each of the w_c neurons of layer i-1, and each long-range link, reach all w_c neurons of
    layer i. Links between cells do not count.

    Args:
        depth: Layers per cell, d_c.
        width: Channels per layer, w_c.
        tc: The most long-range channels a layer may take, t_c.

    Returns:
        Edges divided by neurons.

    Raises:
        ValueError: If a depth or width is below 1, a tc below 0, or the lengths differ.

    Example:
        >>> average_degree(12, 32, 60)
        77.0
    """
    cells = _cells(depth, width, tc)
    edges = sum(w * (w * (d - 1) + sum(link_counts(d, w, t))) for d, w, t in cells)
    return edges / sum(w * d for d, w, _ in cells)


def average_degree_approximation(width: Number, nn_mass: Number) -> float | list[float]:
    r"""Average degree of a deep cell (Proposition 1), the limit of :func:`average_degree` for d_c >> 2.

    .. math:: \hat{k} = w_c + m_c / 2

    Args:
        width: Channels per layer, w_c.
        nn_mass: NN-Mass of the cell, m_c.

    Returns:
        One number, or one per cell if an argument has one per cell.

    Raises:
        ValueError: If an argument is negative, or the lengths differ.

    Example:
        >>> average_degree_approximation(32, 124.8)
        94.4
    """
    require_non_negative(width=width, nn_mass=nn_mass)
    return _unwrap([w + m / 2 for w, m in _broadcast(width=width, nn_mass=nn_mass)], width, nn_mass)


def singular_value_bounds(
    width: Number, nn_mass: Number, variance: Number
) -> tuple[float, float] | tuple[list[float], list[float]]:
    r"""Bounds on the mean singular value of a layer's Jacobian at initialisation (CVPR Proposition 2).

    .. math:: \sqrt{q (w + m/2)} - \sqrt{q w} \le E[\sigma] \le \sqrt{q (w + m/2)} + \sqrt{q w}

    Args:
        width: Neurons per layer, w.
        nn_mass: NN-Mass of the cell, m.
        variance: Variance of the Gaussian initial weights, q.

    Returns:
        The pair (low, high); each is one number, or one per cell if an argument has one per cell.

    Raises:
        ValueError: If an argument is negative, or the lengths differ.

    Example:
        >>> singular_value_bounds(width=8, nn_mass=16, variance=0.5)
        (0.8284271247461903, 4.82842712474619)
    """
    require_non_negative(width=width, nn_mass=nn_mass, variance=variance)
    cells = _broadcast(width=width, nn_mass=nn_mass, variance=variance)
    centres = [sqrt(q * (w + m / 2)) for w, m, q in cells]
    radii = [sqrt(q * w) for w, _, q in cells]
    low = [centre - radius for centre, radius in zip(centres, radii, strict=True)]
    high = [centre + radius for centre, radius in zip(centres, radii, strict=True)]
    return _unwrap(low, width, nn_mass, variance), _unwrap(high, width, nn_mass, variance)  # type: ignore[return-value]


def _density(depth: int, width: int, tc: int) -> float:
    if depth < 3:
        return 0.0
    return 2 * sum(link_counts(depth, width, tc)) / (width * (depth - 1) * (depth - 2))


def _cells(depth: Integer, width: Integer, tc: Integer) -> list[tuple[int, int, int]]:
    """The (depth, width, tc) of each cell, checked."""
    cells = _broadcast(depth=depth, width=width, tc=tc)
    return [
        (require_integer("depth", d, 1, MOST_LAYERS), require_integer("width", w, 1), require_integer("tc", t, 0))
        for d, w, t in cells
    ]


def _broadcast(**arguments: Number) -> list[tuple]:
    """One row of arguments per cell: single numbers are repeated."""
    columns = {name: list(value) if has_one_per_cell(value) else value for name, value in arguments.items()}
    cells = max((len(column) for column in columns.values() if isinstance(column, list)), default=1) or 1
    return list(zip(*(require_one_per_cell(name, column, cells) for name, column in columns.items()), strict=True))


def _unwrap(values: list[float], *arguments: Number) -> float | list[float]:
    return values if any(has_one_per_cell(argument) for argument in arguments) else values[0]
