"""Fits of a study's results on NN-Mass, size and cost."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nnmass.studies.choices import EXPLAINED
from nnmass.studies.declared import group_name, require_published
from nnmass.studies.explain import Predictor, fits_on, measure_columns, measure_predictors, predictors
from nnmass.studies.statistics import UNKNOWN, WithInterval, explainable_share, r2_with_interval

__all__ = ["PREDICTORS", "averages", "explained_columns", "groups_of", "r2_on", "sets_of", "study_fits"]

PREDICTORS = predictors(["nn_mass", "num_params", "macs"], ["nn_mass", "num_params"])
"""Properties on which accuracy and singular values are fitted, as the column ``explaining`` names them; a study's
measures come to them."""

_ACCURACIES = dict(
    zip(EXPLAINED["test accuracy"], ("test_accuracy_last", "test_accuracy_best", "test_accuracy_late"), strict=True)
)
_MEANS = "mean over seeds"


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
        if name.endswith(("_last", "_best", "_late", "_s"))
        or name in ("mean_singular_value", "isometry", *measure_columns(finished))
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

        ``r2_low`` to ``r2_high`` is the 95 % interval of :func:`studies.statistics.r2_with_interval`, for which a
        network stands with all its seeds; NaN for fewer than eight networks. ``explainable`` is the most that anything
        about the networks could explain: 1 less the share of the variance of the means that the scatter of their seeds
        makes up, with an interval too. It and ``published`` stand beside means over seeds.

    Raises:
        ValueError: If no row is finished, the group is no column, or something published is none of what is fitted.
    """
    finished = results[results["status"] == "finished"] if len(results) else results
    if finished.empty:
        raise ValueError("Expected a study with finished rows, but it has none; study run fills them.")
    if group is not None and group not in finished:
        raise ValueError(f"Expected report.group to be a column of the results, but got {group!r}.")
    require_published(published or {})
    rows: list[dict[str, Any]] = []
    on = PREDICTORS | measure_predictors(measure_columns(finished))
    for averaging, table in ((_MEANS, averages(results)), ("single seeds", finished)):
        means = averaging == _MEANS
        for (explained, epoch), column in explained_columns(results).items():
            printed = (published or {}).get(explained, {}) if means else {}
            for name, part in groups_of(table, group):
                for networks, chosen in sets_of(part):
                    about = {"explained": explained, "epoch": epoch, "averaging": averaging, "networks": networks}
                    explainable = _explainable(finished, chosen, column) if means else UNKNOWN
                    for fit in fits_on(chosen, column, on):
                        predictor = fit["explaining"]
                        _, low, high = r2_on(on[predictor], chosen, column)
                        in_print = printed.get(predictor if name == "all" else f"{predictor}, {name}")
                        bounds = {"r2_low": low, "r2_high": high, "explainable": explainable.value}
                        bounds |= {"explainable_low": explainable.low, "explainable_high": explainable.high}
                        rows.append(about | {"group": name} | fit | bounds | {"published": in_print})
    return pd.DataFrame(rows)


def _explainable(single: pd.DataFrame, chosen: pd.DataFrame, column: str) -> WithInterval:
    """Return what the scatter of the seeds leaves to be explained of the variance of the means; NaN if unknown."""
    table = single.merge(chosen[["config", "network"]]).pivot_table(
        index=["config", "network"], columns="seed", values=column
    )
    return explainable_share(np.empty((0, 0)) if table.isna().any(axis=None) else table.to_numpy(dtype=float))


def groups_of(table: pd.DataFrame, group: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each configuration's part of a table, and each value's part of that, by name.

    Args:
        table: What :func:`averages` returns, or results.
        group: Column whose values get parts of their own.
    """
    configs = table["config"].unique()
    for config in configs:
        part = table[table["config"] == config]
        yield "all" if len(configs) == 1 else str(config), part
        if group is not None and group != "config":
            for value, inner in part.groupby(group, sort=False):
                yield group_name(None if len(configs) == 1 else str(config), value), inner


def sets_of(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield all networks, and those with links where there are others, by name.

    Args:
        table: With a column ``nn_mass``.
    """
    yield "all", table
    linked = table[table["nn_mass"] > 0]
    if len(linked) < len(table):
        yield "NN-Mass > 0", linked


def r2_on(predictor: Predictor, table: pd.DataFrame, column: str) -> WithInterval:
    """R2 of a column on a predictor with its interval, over the points that have both numbers.

    Args:
        predictor: What explains.
        table: What :func:`averages` returns, or results.
        column: What is explained.
    """
    x, y = predictor.values(table), table[column].to_numpy(dtype=float)
    both = np.isfinite(x) & np.isfinite(y)
    return r2_with_interval(x[both], y[both], table["network"].to_numpy()[both])
