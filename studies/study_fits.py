"""What explains the results of a study: NN-Mass, size, or cost."""

import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from studies.explain import explain

__all__ = ["EXPLAINING", "averages", "explained_columns", "study_fits"]

EXPLAINING = {
    "log NN-Mass": ("nn_mass", True),
    "log parameters": ("num_params", True),
    "log MACs": ("macs", True),
    "NN-Mass": ("nn_mass", False),
    "parameters": ("num_params", False),
}
"""Column behind each explaining quantity, and whether its logarithm is taken."""

_ACCURACIES = {
    "last epoch": "test_accuracy_last",
    "best epoch by validation": "test_accuracy_best",
    "mean after the first third": "test_accuracy_late",
}
_RESAMPLES = 2000


def explained_columns(results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Columns of a study's results that can be explained, by quantity and by the epoch that they belong to."""
    found = {("test accuracy", epoch): column for epoch, column in _ACCURACIES.items()}
    found["mean singular value", "before training"] = "mean_singular_value"
    return {key: column for key, column in found.items() if column in results and results[column].notna().any()}


def averages(results: pd.DataFrame) -> pd.DataFrame:
    """One row per architecture and configuration.

    Args:
        results: What :func:`studies.load` returns; rows that are not finished are left out.

    Returns:
        The mean of every measured number over the seeds, ``std_...`` of those in :func:`explained_columns`, the number
        of ``seeds``, and the other columns as they are.
    """
    finished = results[results["status"] == "finished"]
    grouped = finished.groupby(["config", "network"], sort=False)
    measured = [
        name
        for name in finished.select_dtypes("number").columns
        if name.endswith(("_last", "_best", "_late", "_s")) or name in ("mean_singular_value", "isometry")
    ]
    same = [name for name in finished.columns if name not in (*measured, "config", "network", "seed", "row", "began")]
    columns = list(explained_columns(finished).values())
    parts = [
        grouped[same].first(),
        grouped[measured].mean(),
        grouped[columns].std().add_prefix("std_"),
        grouped.size().rename("seeds"),
    ]
    return pd.concat(parts, axis=1).reset_index()


def study_fits(
    results: pd.DataFrame, group: str | None = None, published: Mapping[str, Mapping[str, float]] | None = None
) -> pd.DataFrame:
    """Fit each explained quantity on each explaining one, with every choice of epoch, networks and averaging.

    Args:
        results: What :func:`studies.load` returns.
        group: Column whose values get fits of their own, beside those of all networks.
        published: R2 in print, by explained and by explaining quantity: ``log NN-Mass``, or ``log NN-Mass, GROUP``.

    Returns:
        One row per fit: ``explained``, ``epoch``, ``averaging`` (the mean over seeds, or single seeds), ``networks``
        (all, or those with links), ``group``, ``explaining``, those of :class:`studies.explain.Fit`, ``r2_low`` and
        ``r2_high`` (95 % of the bootstrap's resamples of the networks), and ``published``. A logarithm of NN-Mass is
        taken of networks with links only.
    """
    rows = []
    finished = results[results["status"] == "finished"]
    for averaging, table in (("mean over seeds", averages(results)), ("single seeds", finished)):
        for (quantity, epoch), column in explained_columns(results).items():
            for name, part in _groups(table, group):
                for networks, chosen in _choices(part):
                    for label, (source, logarithm) in EXPLAINING.items():
                        if logarithm and (chosen[source] <= 0).any():
                            continue
                        x = chosen[source].to_numpy(dtype=float)
                        x, y = np.log(x) if logarithm else x, chosen[column].to_numpy(dtype=float)
                        low, high = _interval(x, y)
                        line = {"explained": quantity, "epoch": epoch, "averaging": averaging, "networks": networks}
                        line |= {"group": name, "explaining": label, **vars(explain(x, y))}
                        printed = (published or {}).get(quantity, {})
                        in_print = printed.get(f"{label}, {name}", printed.get(label))
                        rows.append({**line, "r2_low": low, "r2_high": high, "published": in_print})
    return pd.DataFrame(rows)


def _groups(table: pd.DataFrame, group: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "all", table
    if group is not None:
        if group not in table:
            raise ValueError(f"Expected report.group to be a column of the results, but got {group!r}.")
        for value, part in table.groupby(group, sort=False):
            yield str(value), part


def _choices(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "all", table
    linked = table[table["nn_mass"] > 0]
    if len(linked) < len(table):
        yield "NN-Mass > 0", linked


def _interval(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of R2 over resamples of the points; NaN where a fit has no meaning."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan")
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # a resample of one point only
        found = stats.bootstrap(
            (x, y), _r2, n_resamples=_RESAMPLES, paired=True, vectorized=True, method="percentile", rng=0
        ).bootstrap_distribution
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def _r2(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    x, y = x - x.mean(axis=axis, keepdims=True), y - y.mean(axis=axis, keepdims=True)
    return (x * y).sum(axis=axis) ** 2 / ((x**2).sum(axis=axis) * (y**2).sum(axis=axis))
