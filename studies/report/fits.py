"""Fits of a study's results on NN-Mass, size and cost."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nnmass.studies.explain import fits_on, predictors

__all__ = ["PREDICTORS", "averages", "explained_columns", "study_fits"]

PREDICTORS = predictors(["nn_mass", "num_params", "macs"], ["nn_mass", "num_params"])
"""Properties on which accuracy and singular values are fitted, as the column ``explaining`` names them."""

_ACCURACIES = {
    "last epoch": "test_accuracy_last",
    "best epoch by validation": "test_accuracy_best",
    "mean after the first third": "test_accuracy_late",
}
_MEANS = "mean over seeds"
_RESAMPLES = 2000
_ROUNDING = 1e-12
_FEWEST = 8  # networks of which resamples say something


def explained_columns(results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the columns of a study's results that are fitted, by name and by the epoch that they belong to."""
    columns = {("test accuracy", epoch): column for epoch, column in _ACCURACIES.items()}
    columns["mean singular value", "before training"] = "mean_singular_value"
    return {key: column for key, column in columns.items() if column in results and results[column].notna().any()}


def averages(results: pd.DataFrame) -> pd.DataFrame:
    """Average over the seeds of each architecture and configuration.

    Args:
        results: What :func:`studies.load` returns; rows that are not finished are left out.

    Returns:
        One row each: the mean of every measured number over the seeds, ``std_...`` of those in
        :func:`explained_columns`, the number of ``seeds``, and the other columns as they are.
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
    """Fit accuracies and singular values on each predictor, with every choice of epoch, networks and averaging.

    Args:
        results: What :func:`studies.load` returns.
        group: Column whose values get fits of their own, beside those of all networks.
        published: R2 in print, by what is fitted and by predictor: ``log NN-Mass``, or ``log NN-Mass, GROUP``.

    Returns:
        One row per fit: ``explained``, ``epoch``, ``averaging`` (the mean over seeds, or single seeds), ``networks``
        (all, or those with links), ``group``, ``explaining``, those of :class:`studies.explain.Fit`, ``r2_low`` and
        ``r2_high``, ``explainable`` and ``published``. A logarithm of NN-Mass is taken of networks with links only.
        Results on different data are never fitted together.

        ``r2_low`` to ``r2_high`` is the middle 95 % of the bootstrap's resamples of the networks, each with all its
        seeds; NaN for fewer than eight networks. ``explainable`` is the most that anything about the networks could
        explain: 1 less the share of the variance of the means that the scatter of their seeds makes up. It and
        ``published`` stand beside means over seeds.

    Raises:
        ValueError: If no row is finished, the group is no column, or something published is none of what is fitted.
    """
    finished = results[results["status"] == "finished"] if len(results) else results
    if finished.empty:
        raise ValueError("Expected a study with finished rows, but it has none; study run fills them.")
    if group is not None and group not in finished:
        raise ValueError(f"Expected report.group to be a column of the results, but got {group!r}.")
    _check_published(published or {})
    rows: list[dict[str, Any]] = []
    for averaging, table in ((_MEANS, averages(results)), ("single seeds", finished)):
        means = averaging == _MEANS
        for (explained, epoch), column in explained_columns(results).items():
            printed = (published or {}).get(explained, {}) if means else {}
            for name, part in _groups(table, group):
                for networks, chosen in _choices(part):
                    about = {"explained": explained, "epoch": epoch, "averaging": averaging, "networks": networks}
                    explainable = _explainable(finished, chosen, column) if means else float("nan")
                    for fit in fits_on(chosen, column, PREDICTORS):
                        predictor = fit["explaining"]
                        low, high = _interval(
                            PREDICTORS[predictor].values(chosen),
                            chosen[column].to_numpy(dtype=float),
                            chosen["network"].to_numpy(),
                        )
                        in_print = printed.get(predictor if name == "all" else f"{predictor}, {name}")
                        bounds = {"r2_low": low, "r2_high": high, "explainable": explainable, "published": in_print}
                        rows.append(about | {"group": name} | fit | bounds)
    return pd.DataFrame(rows)


def _explainable(single: pd.DataFrame, chosen: pd.DataFrame, column: str) -> float:
    """Share of the variance between means over seeds that is not the standard error of these means; NaN if unknown.

    What a seed does to all networks alike moves them together, and is no error of their differences.
    """
    table = single.merge(chosen[["config", "network"]]).pivot_table(
        index=["config", "network"], columns="seed", values=column
    )
    if min(table.shape) < 2 or table.isna().any(axis=None):
        return float("nan")
    networks, seeds = table.shape
    # Taking off each seed's mean over the networks takes off a part of the scatter too.
    error = (table - table.mean()).var(axis=1).mean() / seeds * networks / (networks - 1)
    variance = table.mean(axis=1).var()
    return float(np.clip(1 - error / variance, 0, 1)) if variance > 0 else float("nan")


def _check_published(published: Mapping[str, Mapping[str, float]]) -> None:
    for quantity, printed in published.items():
        if quantity not in ("test accuracy", "mean singular value"):
            known = "test accuracy or mean singular value"
            raise ValueError(f"Expected report.published to have R2 of the {known}, but got {quantity!r}.")
        for name in printed:
            if name.partition(", ")[0] not in PREDICTORS:
                known = ", ".join(PREDICTORS)
                raise ValueError(f"Expected report.published to have R2 on one of {known}, but got {name!r}.")


def _groups(table: pd.DataFrame, group: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    configs = table["config"].unique()
    for config in configs:
        part = table[table["config"] == config]
        yield "all" if len(configs) == 1 else str(config), part
        if group is not None and group != "config":
            for value, inner in part.groupby(group, sort=False):
                yield str(value) if len(configs) == 1 else f"{config}, {value}", inner


def _choices(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "all", table
    linked = table[table["nn_mass"] > 0]
    if len(linked) < len(table):
        yield "NN-Mass > 0", linked


def _interval(x: np.ndarray, y: np.ndarray, networks: np.ndarray) -> tuple[float, float]:
    """Return the middle 95 % of R2 over resamples of the networks; NaN for fewer than eight, or without a fit."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    names, number = np.unique(networks[both], return_inverse=True)
    if len(names) < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan")
    x, y = x - x.mean(), y - y.mean()
    # A resample draws networks with all their points, so it is a weighted sum of what each network adds.
    sums = [np.bincount(number, weights) for weights in (np.ones_like(x), x, y, x * x, y * y, x * y)]
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), _RESAMPLES)
    count, sum_x, sum_y, sum_xx, sum_yy, sum_xy = (drawn @ per_network for per_network in sums)
    covariance = sum_xy - sum_x * sum_y / count
    varies = sum_xx - sum_x**2 / count, sum_yy - sum_y**2 / count
    # A resample of equal points, which rounding alone tells apart, has no line.
    meant = (varies[0] > _ROUNDING * (x @ x)) & (varies[1] > _ROUNDING * (y @ y))
    if not meant.any():
        return float("nan"), float("nan")
    r2 = (covariance**2)[meant] / (varies[0] * varies[1])[meant]
    low, high = np.percentile(r2.clip(0, 1), [2.5, 97.5])
    return float(low), float(high)
