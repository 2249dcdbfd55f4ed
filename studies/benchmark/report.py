"""Tables, figure and page of a benchmark of measures."""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from nnmass.runtime.files import write_atomically, write_figures, write_table
from nnmass.runtime.tables import rich_table
from nnmass.studies.benchmark.summary import summary
from nnmass.studies.report.markdown import as_number, markdown_table
from nnmass.zoo.measures import MEASURES

__all__ = ["benchmark_markdown", "draw_ranks", "untold_markdown", "write_benchmark"]

_ESTIMATES = {
    "spearman": "Spearman",
    "kendall": "Kendall",
    "given_params": "given parameters",
    "within_families": "within families",
    "more_than_params": "above parameters",
}


def write_benchmark(networks: pd.DataFrame, untold: pd.DataFrame, measures: list[str], folder: Path) -> Iterator[Table]:
    """Write tables (``networks.csv``, ``benchmark.csv``, ``untold.csv``), a figure (``spearman``) and ``benchmark.md``.

    Args:
        networks: What :func:`studies.benchmark.sample.measured_table` returns first.
        untold: What it returns second.
        measures: Names of the measures.
        folder: Where to write.

    Yields:
        A table for each benchmark.
    """
    ranked = summary(networks, measures)
    for name, table in (("networks", networks), ("benchmark", ranked), ("untold", untold)):
        write_table(folder / f"{name}.csv", table)
    write_figures(folder / "spearman", draw_ranks(ranked))
    parts = ["# Measures against known accuracies", "![Spearman's rho by measure](spearman.png)"]
    for benchmark in ranked["benchmark"].unique():
        parts += [f"## {benchmark}", benchmark_markdown(ranked, benchmark)]
        lines = _lines(ranked, benchmark)
        yield rich_table(f"Measures against the accuracies of {benchmark}", lines[0], lines[1:])
    parts += ["## Measures without a value", untold_markdown(untold)] if len(untold) else []
    write_atomically(folder / "benchmark.md", "\n\n".join(parts) + "\n")


def benchmark_markdown(ranked: pd.DataFrame, benchmark: str) -> str:
    """Write the measures of one benchmark, the best first, as a table of Markdown.

    Args:
        ranked: What :func:`studies.benchmark.summary.summary` returns.
        benchmark: Its name.
    """
    headings, *lines = _lines(ranked, benchmark)
    return markdown_table(headings, lines)


def untold_markdown(untold: pd.DataFrame, benchmark: str | None = None) -> str:
    """Write which measures have no value for how many networks, and why, as a table of Markdown.

    Args:
        untold: What :func:`studies.benchmark.sample.measured_table` returns second.
        benchmark: One benchmark; None for all.
    """
    chosen = untold if benchmark is None else untold[untold["benchmark"] == benchmark]
    columns = ["benchmark", "measure", "networks", "reason"]
    return markdown_table(columns, chosen[columns].astype(str).to_numpy().tolist())


def _lines(ranked: pd.DataFrame, benchmark: str) -> list[list[str]]:
    """Headings, and the entries of each measure."""
    table = ranked[ranked["benchmark"] == benchmark].sort_values("spearman", ascending=False, na_position="last")
    headings = ["measure", "networks", "no value", *_ESTIMATES.values(), "regret (points)", "seconds"]
    lines = [
        [
            _title(row["measure"]),
            str(row["networks"]),
            str(row["untold"]),
            *(_estimate(row, name) for name in _ESTIMATES),
            as_number(row["regret"]),
            as_number(row["seconds"]),
        ]
        for row in table.to_dict("records")
    ]
    return [headings, *lines]


def _title(measure: str) -> str:
    return MEASURES[measure].title if measure in MEASURES else measure


def _estimate(row: dict, name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if not isfinite(value):
        return ""
    return f"{value:.2f} ({low:.2f} to {high:.2f})" if isfinite(low) else f"{value:.2f}"


def draw_ranks(ranked: pd.DataFrame) -> Figure:
    """Draw Spearman's rho of every measure with its interval, a panel for each benchmark.

    Args:
        ranked: What :func:`studies.benchmark.summary.summary` returns.

    Returns:
        A line across each panel marks the number of parameters.
    """
    measures = list(ranked["measure"].unique())
    benchmarks = list(ranked["benchmark"].unique())
    figure = Figure(figsize=(1.5 + 2.6 * len(benchmarks), 1.2 + 0.3 * len(measures)), layout="constrained")
    panels = figure.subplots(1, len(benchmarks), sharey=True, squeeze=False)[0]
    for axes, benchmark in zip(panels, benchmarks, strict=True):
        part = ranked[ranked["benchmark"] == benchmark].set_index("measure").reindex(measures)
        rho = part["spearman"].to_numpy(dtype=float)
        reach = np.array([rho - part["spearman_low"], part["spearman_high"] - rho])
        axes.errorbar(rho, np.arange(len(measures)), xerr=np.nan_to_num(reach), fmt="o", ms=4, lw=0, elinewidth=1)
        if isfinite(size := float(part["spearman"].get("params", float("nan")))):
            axes.axvline(size, color="0.5", lw=0.8, ls="--")
        axes.axvline(0, color="0.8", lw=0.8)
        axes.set_title(benchmark, fontsize="medium")
        axes.set_xlim(-1, 1)
    panels[0].set_yticks(np.arange(len(measures)), [_title(measure) for measure in measures])
    panels[0].invert_yaxis()
    figure.supxlabel("Spearman's rho with accuracy, 95 % interval; dashed: parameters", fontsize="medium")
    return figure
