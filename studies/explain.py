"""How well one number explains another: linear fit, rank correlations, and a table of several explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["Fit", "explain", "fits_by_group"]


@dataclass(frozen=True)
class Fit:
    """How y follows x.

    Attributes:
        n: Points.
        r2: Share of the variance of y that a straight line in x explains.
        slope: Rise of y per unit of x.
        spearman: Rank correlation, rho.
        kendall: Rank correlation, tau-b.
    """

    n: int
    r2: float
    slope: float
    spearman: float
    kendall: float


def explain(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Fit:
    """Fit a line and rank, over the points where both numbers are finite.

    Args:
        x: Explaining numbers, (n,).
        y: Explained numbers, (n,).

    Returns:
        The fit; all but ``n`` are NaN where fewer than three points are left, or all x or all y are equal, but for
        rounding.

    Example:
        >>> explain([1, 2, 3, 4], [2, 4, 6, 8])
        Fit(n=4, r2=1.0, slope=2.0, spearman=1.0, kendall=1.0)
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < 3 or any(np.ptp(values) <= 1e-12 * np.abs(values).max() for values in (x, y)):
        return Fit(len(x), *[float("nan")] * 4)
    line = stats.linregress(x, y)
    spearman, kendall = stats.spearmanr(x, y).statistic, stats.kendalltau(x, y).statistic
    shares = (float(round(value, 12)) for value in (line.rvalue**2, spearman, kendall))
    return Fit(len(x), next(shares), float(f"{line.slope:.12g}"), *shares)


def fits_by_group(table: pd.DataFrame, explained: str, explaining: Mapping[str, str], group: str) -> pd.DataFrame:
    """One row per group and explaining column, the whole table first; logarithms of the explaining columns.

    Args:
        table: One row per network.
        explained: Column of the explained numbers.
        explaining: Column of each explaining number, by the name it gets in the result, such as ``log params``.
        group: Column that names the group; groups of fewer than five networks are left to the whole.

    Returns:
        Columns ``group``, ``explaining`` and those of :class:`Fit`. Rows of which any explaining number is 0 or less
        have no logarithm, and are left out of every fit, so that all fits of a group stand on the same networks.
    """
    rows = []
    table = table[(table[list(explaining.values())] > 0).all(axis=1)]
    groups = [("all", table), *((str(name), part) for name, part in table.groupby(group) if len(part) >= 5)]
    for name, part in groups:
        for label, column in explaining.items():
            fit = explain(np.log(part[column].to_numpy(dtype=float)), part[explained].to_numpy())
            rows.append({"group": name, "explaining": label, **asdict(fit)})
    return pd.DataFrame(rows)
