"""Write the tables of studies into the pages of their results, between comments that say which table it is.

    python docs/result_tables.py

A table stands between ``<!-- KIND {...} -->`` and ``<!-- end -->``. In braces are the arguments of the writer of that
kind, and ``file``, how the name of the CSV file beside the page begins, ``table``, how it ends where that is not the
default, and ``where``, values by which rows are chosen. The kinds are:

- ``fits`` and ``baselines``, of :mod:`nnmass.studies.report.markdown`: ``<!-- fits {explained: test accuracy} -->``;
- ``means``, of results.csv, by rows and columns: ``{values: test_accuracy_last, rows: [depth, tc], columns: links}``;
- ``networks``, some columns of results.csv, a line per network, and ``designs``, accuracies of networks of a few sizes;
- ``r2``, R2 of any table of fits, a column per predictor;
- ``coverage`` and ``families``, of :mod:`nnmass.studies.atlas.report`;
- ``benchmark`` and ``untold``, of :mod:`nnmass.studies.benchmark.report`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from nnmass.studies.atlas.report import coverage, within_families
from nnmass.studies.benchmark.report import benchmark_markdown, untold_markdown
from nnmass.studies.explain import LABELS
from nnmass.studies.report.markdown import as_number, baselines_markdown, fits_markdown, markdown_table

RESULTS = Path(__file__).resolve().parent / "results"


def means_markdown(results: pd.DataFrame, values: str, rows: list[str], columns: str, digits: int = 1) -> str:
    """Write the mean and the standard deviation over seeds of a column, in percent, one cell per network."""
    cells = 100 * results.groupby([*rows, columns], sort=False)[values].agg(["mean", "std"])
    texts = [_with_deviation(mean, deviation, digits) for mean, deviation in cells.to_numpy()]
    table = pd.Series(texts, cells.index).unstack(columns)
    return _as_markdown(table[list(results[columns].unique())].sort_index())


def networks_markdown(results: pd.DataFrame, columns: list[str]) -> str:
    """Write a line per network: what it is, and what was measured as mean and standard deviation over its seeds."""
    lines = []
    for _, seeds in results.groupby("network", sort=False):
        first, means, deviations = seeds.iloc[0], seeds.mean(numeric_only=True), seeds.std(numeric_only=True)
        lines.append(
            [
                _MEASURED[column](means[column], deviations[column])
                if column in _MEASURED
                else _FACTS.get(column, str)(first[column])
                for column in columns
            ]
        )
    return markdown_table([_HEADINGS.get(column, column) for column in columns], lines)


def designs_markdown(results: pd.DataFrame, sizes: list[int], width: int | None = None) -> str:
    """Write accuracies of networks of a few sizes, NN-Mass in brackets: by mass at a width, or each width's highest."""
    by_network = results.groupby("network", sort=False)
    table = by_network[["width", "num_params", "nn_mass"]].first()
    accuracies = 100 * by_network["test_accuracy_last"].agg(["mean", "std"])
    table["cell"] = [
        f"{_with_deviation(mean, deviation)} ({mass:.0f})"
        for (mean, deviation), mass in zip(accuracies.to_numpy(), table["nn_mass"], strict=True)
    ]
    table["size"] = [min(sizes, key=lambda size: abs(size - number)) for number in table["num_params"]]
    table = table.sort_values(["size", "width", "nn_mass"])
    if width is None:
        chosen = table.groupby(["size", "width"])["cell"].last().unstack().rename(columns="width {}".format)
    else:
        cells = table[table["width"] == width].groupby("size")["cell"].apply(list)
        chosen = pd.DataFrame(list(cells), index=cells.index)
        chosen.columns = pd.Index(["lowest mass", *[""] * (chosen.shape[1] - 2), "highest mass"])
    return _as_markdown(chosen.rename(index="{:,}".format).rename_axis("parameters"))


def r2_markdown(fits: pd.DataFrame, rows: list[str], ranks: bool = False) -> str:
    """Write R2 of fits, a column per predictor, with Spearman's rho in brackets if asked for; falling lines say so."""
    texts = fits["r2"].map(as_number)
    if ranks:
        texts += " (" + fits["spearman"].map(as_number) + ")"
    texts += (fits["slope"] < 0).map({True: ", falling", False: ""})
    predictors = list(fits["explaining"].unique())
    table = fits.assign(text=texts).set_index([*rows, "explaining"])["text"].unstack("explaining", sort=False)
    return _as_markdown(table[predictors].fillna(""))


def coverage_markdown(atlas: pd.DataFrame) -> str:
    """Write how much of an atlas could be read."""
    table = coverage(atlas)
    lines = [
        [
            line["architectures"],
            *(f"{line[name]:,}" for name in ("read", "failed")),
            f"{line['wholly judged']:,} ({100 * line['share wholly judged']:.1f} %)",
            *(f"{line[name]:,}" for name in ("joints", "joints not judged")),
        ]
        for line in table.to_dict("records")
    ]
    headings = ["architectures", "read", "failed", "every joint judged", "joints", "not judged"]
    return markdown_table(headings, lines)


def families_markdown(fits: pd.DataFrame) -> str:
    """Write what each predictor explains within a family, averaged over the families."""
    table = within_families(fits)
    lines = [
        [line["explaining"], line["families"], as_number(line["r2"]), line["highest_r2"], as_number(line["spearman"])]
        for line in table.to_dict("records")
    ]
    return markdown_table(["predictor", "families", "mean R2", "highest R2 in", "mean Spearman"], lines)


def _with_deviation(mean: float, deviation: float, digits: int = 1) -> str:
    """Write a mean over seeds; of a single seed there is no deviation."""
    return f"{mean:.{digits}f}" + ("" if pd.isna(deviation) else f" ± {deviation:.{digits}f}")


def _as_markdown(table: pd.DataFrame) -> str:
    """Write a table of texts, the keys of its rows in front."""
    keys = [key if isinstance(key, tuple) else (key,) for key in table.index]
    headings = [_HEADINGS.get(str(name), name) for name in (*table.index.names, *table.columns)]
    return markdown_table(headings, [[*key, *line] for key, line in zip(keys, table.to_numpy(), strict=True)])


_HEADINGS = LABELS | {"cell_depth": "d_c", "depth": "d", "tc": "t", "test_accuracy_last": "test accuracy (%)"}
_FACTS: dict[str, Callable[[Any], str]] = {"nn_mass": "{:.0f}".format, "num_params": "{:,}".format}
_MEASURED: dict[str, Callable[[float, float], str]] = {
    "test_accuracy_last": lambda mean, std: _with_deviation(100 * mean, 100 * std),
    "mean_singular_value": lambda mean, std: _with_deviation(mean, std, digits=3),
}
# The table that a kind is written from, and its writer.
_WRITERS: dict[str, tuple[str, Callable[..., str]]] = {
    "fits": ("fits", fits_markdown),
    "baselines": ("baselines", baselines_markdown),
    "means": ("results", means_markdown),
    "networks": ("results", networks_markdown),
    "designs": ("results", designs_markdown),
    "r2": ("fits", r2_markdown),
    "coverage": ("atlas", coverage_markdown),
    "families": ("explained", families_markdown),
    "benchmark": ("benchmark", benchmark_markdown),
    "untold": ("untold", untold_markdown),
}
TABLE = re.compile(rf"<!-- ({'|'.join(_WRITERS)}) (\{{.*?\}}) -->\n(.*?)<!-- end -->", re.DOTALL)
"""A table in a page, with the comments around it."""


def refreshed(page: Path) -> str:
    """Return the text of a page with its tables written anew from the CSV files beside it."""

    def table(match: re.Match) -> str:
        kind, arguments = match[1], yaml.safe_load(match[2])
        name, writer = _WRITERS[kind]
        rows = pd.read_csv(page.parent / f"{arguments.pop('file', '')}{arguments.pop('table', name)}.csv")
        for column, value in arguments.pop("where", {}).items():
            rows = rows[rows[column] == value]
        written = writer(rows, **arguments)
        return f"<!-- {kind} {match[2]} -->\n\n{written}\n\n<!-- end -->"

    return TABLE.sub(table, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for path in sorted(RESULTS.glob("*/README.md")):
        path.write_text(refreshed(path), encoding="utf-8")
