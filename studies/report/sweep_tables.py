"""Tables of a sweep: its combinations, the best first, and the mean of each option's values."""

from collections.abc import Iterator

import pandas as pd
from rich.table import Table

from nnmass.runtime.tables import rich_table
from nnmass.studies.report.markdown import markdown_table
from nnmass.studies.report.sweep import Sweep, marginal_means, spread_of

__all__ = ["sweep_markdown", "sweep_tables"]

_MOST = 20  # combinations that are listed
_Lines = tuple[list[str], list[list[str]]]  # headings and rows

_MEANS = "Each value, over all combinations that have it"


def sweep_tables(sweep: Sweep) -> Iterator[Table]:
    """Make the tables for the terminal.

    Args:
        sweep: The combinations.
    """
    left = _left_out(sweep)
    title = "Combinations of options, the best first, within which the networks are compared below"
    yield rich_table(f"{title}; {left}" if left else title, *_combinations(sweep))
    yield rich_table(_MEANS, *_means(sweep))


def sweep_markdown(sweep: Sweep) -> str:
    """Write the tables as a section of the report.

    Args:
        sweep: The combinations.
    """
    left, means = _left_out(sweep), marginal_means(sweep)
    parts = [
        "## Combinations",
        f"Mean over the seeds ± their standard deviation, the best by {sweep.measured[0]} first"
        f"{f'; {left}' if left else ''}:",
        markdown_table(*_combinations(sweep)),
        f"{_MEANS}: mean and best of the means over the seeds.",
        markdown_table(*_means(sweep)),
    ]
    if (means.groupby("option")["combinations"].nunique() > 1).any():
        parts.append("Not every combination is finished, so the means are not all of the same others.")
    return "\n\n".join(parts)


def _combinations(sweep: Sweep) -> _Lines:
    rows = [
        [
            *(str(line[name]) for name in (*sweep.varied, "seeds")),
            *(_with_spread(line[label], line[spread_of(label)]) for label in sweep.measured),
        ]
        for line in sweep.table.head(_MOST).to_dict("records")
    ]
    return [*sweep.varied, "seeds", *sweep.measured], rows


def _left_out(sweep: Sweep) -> str:
    left = len(sweep.table) - _MOST
    return f"{left:,} more are in sweep.csv" if left > 0 else ""


def _means(sweep: Sweep) -> _Lines:
    means = marginal_means(sweep)
    numbers = list(means.columns[3:])
    rows = [
        [line["option"], line["value"], str(line["combinations"]), *(f"{line[name]:.4f}" for name in numbers)]
        for line in means.to_dict("records")
    ]
    return list(means.columns), rows


def _with_spread(mean: float, spread: float) -> str:
    return f"{mean:.4f}" + ("" if pd.isna(spread) else f" ± {spread:.4f}")
