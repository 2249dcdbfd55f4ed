"""Write the tables of studies into the pages of their results, between comments that say which table it is.

    python docs/result_tables.py

A table begins with ``<!-- fits {explained: test accuracy, group: all} -->`` or ``<!-- baselines {...} -->``. In braces
stand arguments of :mod:`nnmass.studies.report.markdown`, and ``file``, with which the names of the CSV files beside the
page begin. It ends with ``<!-- end -->``.
"""

import re
from pathlib import Path

import pandas as pd
import yaml

from nnmass.studies.report.markdown import baselines_markdown, fits_markdown

RESULTS = Path(__file__).resolve().parent / "results"
_TABLE = re.compile(r"<!-- (fits|baselines) (\{.*?\}) -->\n(.*?)<!-- end -->", re.DOTALL)


def refreshed(page: Path) -> str:
    """Return the text of a page with its tables written anew from the CSV files beside it."""

    def table(match: re.Match) -> str:
        kind, arguments = match[1], yaml.safe_load(match[2])
        rows = pd.read_csv(page.parent / f"{arguments.pop('file', '')}{kind}.csv")
        written = (fits_markdown if kind == "fits" else baselines_markdown)(rows, **arguments)
        return f"<!-- {kind} {match[2]} -->\n\n{written}\n\n<!-- end -->"

    return _TABLE.sub(table, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for path in sorted(RESULTS.glob("*/README.md")):
        path.write_text(refreshed(path), encoding="utf-8")
