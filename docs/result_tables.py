"""Write the tables of studies into the pages of their results, between comments that say which table it is.

    python docs/result_tables.py

A table begins with ``<!-- fits {explained: test accuracy, group: all} -->`` or ``<!-- baselines {...} -->``. In braces
stand arguments of :mod:`nnmass.studies.report.markdown`, and ``file``, with which the names of the CSV files beside the
page begin. ``<!-- means {values: test_accuracy_last, rows: [depth, tc], columns: links} -->`` gives a column of
results.csv in percent, the mean over the seeds and their standard deviation. ``<!-- benchmark {benchmark: timm} -->``
and ``<!-- untold {} -->`` are those of :mod:`nnmass.studies.benchmark.report`. A table ends with ``<!-- end -->``.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import yaml

from nnmass.studies.benchmark.report import benchmark_markdown, untold_markdown
from nnmass.studies.report.markdown import baselines_markdown, fits_markdown, markdown_table

RESULTS = Path(__file__).resolve().parent / "results"
_TABLE = re.compile(r"<!-- (fits|baselines|means|benchmark|untold) (\{.*?\}) -->\n(.*?)<!-- end -->", re.DOTALL)


def means_markdown(results: pd.DataFrame, values: str, rows: list[str], columns: str) -> str:
    """Write the mean and the standard deviation over seeds of a column, in percent, one cell per network."""
    cells = 100 * results.groupby([*rows, columns], sort=False)[values].agg(["mean", "std"])
    texts = (cells["mean"].map("{:.1f}".format) + " ± " + cells["std"].map("{:.1f}".format)).unstack(columns)
    texts = texts[list(results[columns].unique())].sort_index()
    lines = [[*map(str, key), *line] for key, line in zip(texts.index, texts.to_numpy(), strict=True)]
    return markdown_table([*rows, *texts.columns], lines)


_WRITERS: dict[str, Callable[..., str]] = {
    "fits": fits_markdown,
    "baselines": baselines_markdown,
    "means": means_markdown,
    "benchmark": benchmark_markdown,
    "untold": untold_markdown,
}


def refreshed(page: Path) -> str:
    """Return the text of a page with its tables written anew from the CSV files beside it."""

    def table(match: re.Match) -> str:
        kind, arguments = match[1], yaml.safe_load(match[2])
        name = "results" if kind == "means" else kind
        rows = pd.read_csv(page.parent / f"{arguments.pop('file', '')}{name}.csv")
        written = _WRITERS[kind](rows, **arguments)
        return f"<!-- {kind} {match[2]} -->\n\n{written}\n\n<!-- end -->"

    return _TABLE.sub(table, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for path in sorted(RESULTS.glob("*/README.md")):
        path.write_text(refreshed(path), encoding="utf-8")
