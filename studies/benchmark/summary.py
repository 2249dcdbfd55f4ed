"""Statistics of a benchmark: how well each measure ranks networks whose accuracy is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from nnmass.studies.explain import explain, significant
from nnmass.studies.resampling import Moments, bootstrapped
from nnmass.studies.statistics import (
    UNKNOWN,
    WithInterval,
    kendall_interval,
    partial_correlation,
    spearman_interval,
)

__all__ = ["rank_difference", "regret", "summary", "within_groups"]

FIRST = 10
"""Networks that whoever trusts a measure would train."""

_SIZE = "params"
_FEWEST_OF_FAMILY = 3


def summary(networks: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Summarise how each measure ranks the networks of each benchmark.

    Args:
        networks: One row per network: ``benchmark``, ``family``, ``accuracy`` in percent, a column for each measure,
            NaN where it has no value, and ``seconds_`` and its name. One measure is ``params``.
        measures: Their names.

    Returns:
        One row per benchmark and measure. ``networks`` have a value, ``untold`` have none. ``spearman`` and ``kendall``
        are rank correlations with accuracy; ``given_params`` is the partial correlation of the ranks given the rank of
        the number of parameters; ``within_families`` the correlation of ranks within each of ``families``, pooled;
        ``more_than_params`` is Spearman's rho less that of the number of parameters over the same networks. Each has
        columns ``_low`` and ``_high``, its 95 % interval. ``regret`` is the best accuracy less the best among the ten
        networks that the measure puts first, in points; ``seconds`` the median time per network.
    """
    rows = [
        {"benchmark": str(benchmark), "measure": measure} | _summarised(table, measure)
        for benchmark, table in networks.groupby("benchmark", sort=False)
        for measure in measures
    ]
    return pd.DataFrame(rows)


def _summarised(table: pd.DataFrame, measure: str) -> dict[str, Any]:
    told = table[table[measure].notna() & table[_SIZE].notna()]
    value, accuracy, size = (told[name].to_numpy(dtype=float) for name in (measure, "accuracy", _SIZE))
    ranks = [stats.rankdata(significant(column)) for column in (value, accuracy, size)]
    each = np.arange(len(told))
    fit = explain(value, accuracy)
    controls = [] if measure == _SIZE else [ranks[2]]
    estimates = {
        "spearman": WithInterval(fit.spearman, *spearman_interval(fit.spearman, len(told))),
        "kendall": WithInterval(fit.kendall, *kendall_interval(fit.kendall, len(told))),
        "given_params": partial_correlation(ranks[0], ranks[1], controls, each) if controls else UNKNOWN,
        "within_families": within_groups(value, accuracy, told["family"].tolist()),
        "more_than_params": rank_difference(value, size, accuracy) if controls else UNKNOWN,
    }
    families = told.groupby("family").size()
    return {
        "networks": len(told),
        "untold": len(table) - len(told),
        "families": int((families >= _FEWEST_OF_FAMILY).sum()),
        **{f"{name}{end}": part for name, one in estimates.items() for end, part in zip(_ENDS, one, strict=True)},
        "regret": regret(value, accuracy, float(table["accuracy"].max())),
        "seconds": float(table[f"seconds_{measure}"].median()),
    }


_ENDS = ("", "_low", "_high")


def within_groups(x: np.ndarray, y: np.ndarray, groups: Sequence[str]) -> WithInterval:
    """Correlation of ranks within groups, pooled over the groups.

    Each number becomes its rank in its group, less the group's mean rank and divided by the group's size, so that
    neither differences between groups nor the size of a group count.

    Args:
        x: Numbers, (n,), finite.
        y: Others, (n,), finite.
        groups: The group of each, (n,); groups of fewer than three are left out.

    Returns:
        Bounds of the bias-corrected and accelerated bootstrap; NaN where no group is left, or nothing varies in them.
    """
    table = pd.DataFrame({"x": significant(x), "y": significant(y), "group": groups})
    by_group = table.groupby("group")
    large = by_group["x"].transform("size") >= _FEWEST_OF_FAMILY
    ranks = by_group[["x", "y"]].rank()
    ranks = (ranks - ranks.groupby(table["group"]).transform("mean")).div(by_group["x"].transform("size"), axis=0)
    centred = ranks[large]
    if len(centred) < _FEWEST_OF_FAMILY:
        return UNKNOWN
    moments = Moments([centred["x"].to_numpy(), centred["y"].to_numpy()], np.arange(len(centred)))
    if moments.is_constant:
        return UNKNOWN
    correlation = moments.correlation(0, 1)
    value = float(correlation(np.ones((1, moments.networks)))[0])
    return WithInterval(value, *bootstrapped(correlation, moments.networks))


def rank_difference(first: np.ndarray, second: np.ndarray, y: np.ndarray) -> WithInterval:
    """Spearman's rho of one measure with y less that of another, over the same resamples of the networks.

    The ranks are those among all networks, also in a resample.

    Args:
        first: Of one measure, (n,), finite.
        second: Of the other, (n,), finite.
        y: Accuracies, (n,), finite.

    Returns:
        Bounds of the bias-corrected and accelerated bootstrap; NaN for fewer than eight networks.
    """
    if len(y) < 3:
        return UNKNOWN
    moments = Moments([stats.rankdata(significant(column)) for column in (first, second, y)], np.arange(len(y)))
    if moments.is_constant:
        return UNKNOWN
    one, other = moments.correlation(0, 2), moments.correlation(1, 2)

    def difference(weights: np.ndarray) -> np.ndarray:
        return one(weights) - other(weights)

    value = float(difference(np.ones((1, moments.networks)))[0])
    return WithInterval(value, *bootstrapped(difference, moments.networks))


def regret(values: np.ndarray, accuracies: np.ndarray, best: float) -> float:
    """Accuracy that is lost by training only the ten networks of the highest values.

    Among networks of equal values the least accurate come first, so that a measure that cannot tell them apart gains
    nothing.

    Args:
        values: Of a measure, (n,).
        accuracies: (n,), in percent.
        best: The highest accuracy that there is, also of networks without a value.

    Returns:
        In points; NaN where no network has a value.

    Example:
        >>> import numpy as np
        >>> regret(np.arange(20), np.arange(20)[::-1], 19)
        10.0
    """
    first = np.lexsort((accuracies, -significant(values)))[:FIRST]
    return float(best - accuracies[first].max()) if len(first) else float("nan")
