"""Linear fits and rank correlations, and the properties of networks on which results are fitted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

__all__ = [
    "LABELS",
    "Fit",
    "Predictor",
    "explain",
    "fits_by_group",
    "fits_on",
    "measure_columns",
    "measure_predictors",
    "measures_taken",
    "predictors",
    "rank_correlations",
    "significant",
]

LABELS = {
    "nn_mass": "NN-Mass",
    "nn_density": "NN-density",
    "num_params": "parameters",
    "macs": "MACs",
    "flops": "FLOPs",
    "mean_singular_value": "mean singular value",
}
"""Columns of tables by which networks are told apart, as axes and tables of fits call them."""


@dataclass(frozen=True)
class Fit:
    """Fit of y on x.

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
    explaining, explained = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    both = np.isfinite(explaining) & np.isfinite(explained)
    explaining, explained = explaining[both], explained[both]
    n = len(explaining)
    if n < 3 or any(np.ptp(values) <= 1e-12 * np.abs(values).max() for values in (explaining, explained)):
        return Fit(n, *[float("nan")] * 4)
    line = stats.linregress(explaining, explained)
    spearman, kendall = rank_correlations(explaining, explained)
    shares = (float(round(value, 12)) for value in (line.rvalue**2, spearman, kendall))
    return Fit(n, next(shares), float(f"{line.slope:.12g}"), *shares)


def rank_correlations(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Spearman's rho and Kendall's tau-b; numbers that differ only by rounding are tied.

    Args:
        x: Numbers, (n,), finite and not all equal.
        y: The same.
    """
    x, y = significant(x), significant(y)
    return float(stats.spearmanr(x, y).statistic), float(stats.kendalltau(x, y).statistic)


def significant(values: np.ndarray) -> np.ndarray:
    """Round to twelve significant digits, so that the same number, summed in another order, has the same rank.

    Args:
        values: Numbers, (n,).

    Example:
        >>> significant(np.array([4.800000000000001, 4.8, 1 / 3])).tolist()
        [4.8, 4.8, 0.333333333333]
    """
    return np.char.mod("%.12g", np.asarray(values, dtype=float)).astype(float)


class Predictor(NamedTuple):
    """A property of networks on which results are fitted.

    Attributes:
        column: Of the table.
        is_logarithm: Take its natural logarithm.
        added: Number that is added first: 1 for logarithms of what may be 0.
    """

    column: str
    is_logarithm: bool = False
    added: int = 0

    def is_defined(self, table: pd.DataFrame) -> bool:
        """Tell whether every row has a value: 0 has no logarithm."""
        return not self.is_logarithm or not (table[self.column] + self.added <= 0).any()

    def values(self, table: pd.DataFrame) -> np.ndarray:
        """Return the values of all rows, to twelve significant digits: networks of one NN-Mass have one logarithm."""
        values = significant(table[self.column].to_numpy(dtype=float)) + self.added
        return np.log(values) if self.is_logarithm else values

    def fit(self, table: pd.DataFrame, explained: str) -> Fit:
        """Fit a column on this predictor."""
        return explain(self.values(table), table[explained].to_numpy(dtype=float))


def predictors(logarithms: Sequence[str], plain: Sequence[str]) -> dict[str, Predictor]:
    """Name predictors as the tables of fits do.

    Args:
        logarithms: Columns whose logarithms are taken.
        plain: Columns that are taken as they are.

    Example:
        >>> list(predictors(["nn_mass"], ["nn_mass", "num_params"]))
        ['log NN-Mass', 'NN-Mass', 'parameters']
    """
    logarithmic = {f"log {LABELS[column]}": Predictor(column, is_logarithm=True) for column in logarithms}
    return logarithmic | {LABELS[column]: Predictor(column) for column in plain}


def measures_taken(table: pd.DataFrame) -> list[str]:
    """List the training-free measures of a study's results, which its column ``measures`` names.

    Args:
        table: One row per training or network.

    Example:
        >>> measures_taken(pd.DataFrame({"measures": ["zen naswot", None], "zen": [1.5, None]}))
        ['zen', 'naswot']
    """
    texts = list(table["measures"].dropna()) if "measures" in table else []
    return list(dict.fromkeys(name for text in texts for name in str(text).split()))


def measure_columns(table: pd.DataFrame) -> list[str]:
    """List the measures that have a value for some row.

    Args:
        table: One row per training or network.

    Example:
        >>> measure_columns(pd.DataFrame({"measures": ["zen naswot", None], "zen": [1.5, None]}))
        ['zen']
    """
    return [name for name in measures_taken(table) if name in table and table[name].notna().any()]


def measure_predictors(names: Sequence[str]) -> dict[str, Predictor]:
    """Name measures as predictors: each as it is, and its logarithm.

    Args:
        names: Of the measures.

    Example:
        >>> list(measure_predictors(["zen"]))
        ['zen', 'log zen']
    """
    plain = {name: Predictor(name) for name in names}
    return plain | {f"log {name}": Predictor(name, is_logarithm=True) for name in names}


def fits_on(table: pd.DataFrame, explained: str, chosen: Mapping[str, Predictor]) -> Iterator[dict[str, Any]]:
    """Fit a column on several predictors, each over the rows with both numbers, without logarithms of 0 or less.

    Args:
        table: One row per point.
        explained: The column.
        chosen: Predictors by name.

    Yields:
        ``explaining``, the predictor's name, and the entries of :class:`Fit`.
    """
    for name, predictor in chosen.items():
        if predictor.is_defined(table):
            yield {"explaining": name, **asdict(predictor.fit(table, explained))}


def fits_by_group(table: pd.DataFrame, explained: str, explaining: Mapping[str, str], group: str) -> pd.DataFrame:
    """Fit a column on the logarithms of others, for the whole table and for each group.

    Args:
        table: One row per network.
        explained: Column of the explained numbers.
        explaining: Column of each explaining number, by the name it gets in the result, such as ``log params``.
        group: Column that names the group; groups of fewer than five networks are left to the whole.

    Returns:
        One row per group and explaining column, the whole table first: columns ``group``, ``explaining`` and those of
        :class:`Fit`. Rows of which any explaining number is 0 or less have no logarithm, and are left out of every fit,
        so that all fits of a group stand on the same networks.
    """
    rows: list[dict[str, Any]] = []
    chosen = {name: Predictor(column, is_logarithm=True) for name, column in explaining.items()}
    table = table[(table[list(explaining.values())] > 0).all(axis=1)]
    groups = [("all", table), *((str(name), part) for name, part in table.groupby(group) if len(part) >= 5)]
    for name, part in groups:
        rows += [{"group": name, **fit} for fit in fits_on(part, explained, chosen)]
    return pd.DataFrame(rows)
