"""The report of a study: table, fits, figures and page, all written from the rows that are finished."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import compress
from pathlib import Path

import pandas as pd
from rich.table import Table

from nnmass.runtime.files import write_atomically, write_figures, write_table
from nnmass.runtime.tables import rich_table
from nnmass.studies.definition import Study
from nnmass.studies.report.figures import study_figures
from nnmass.studies.report.fits import PREDICTORS, study_fits
from nnmass.studies.report.page import study_page
from nnmass.studies.rows import load, load_curves

__all__ = ["compared", "write_study_report"]

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "numba", "pandas", "scipy")


def write_study_report(study: Study, folder: Path) -> Iterator[Table]:
    """Write ``results``, ``curves`` and ``fits``, the figures and ``report.html`` into the study's folder.

    Args:
        study: The study.
        folder: Its folder.

    Yields:
        Tables for the terminal.

    Raises:
        ValueError: If no row is finished.
    """
    results, curves = load(folder), load_curves(folder)
    if results.empty or not (results["status"] == "finished").any():
        raise ValueError(f"Expected finished rows in {folder}, but there are none; study run fills them.")
    write_table(folder / "results.csv", results)
    if len(curves):
        write_table(folder / "curves.csv", curves)
    choice = study.report
    fits = study_fits(results, choice.group, choice.published)
    write_table(folder / "fits.csv", fits)
    pictures = []
    for name, figure in study_figures(results, curves, choice.colour, choice.group, choice.curves):
        write_figures(folder / name, figure)
        pictures.append(folder / f"{name}.png")
    files = [folder / "study.yaml", *sorted((folder / "configs").glob("*.yaml"))]
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    definition = {path.name: path.read_text(encoding="utf-8") for path in files}
    page = study_page(study.name, results, fits, choice.colour, pictures, definition, versions)
    write_atomically(folder / "report.html", page)
    for explained, part in fits[fits["averaging"] == "mean over seeds"].groupby("explained", sort=False):
        yield _table_of_fits(f"R2 of the {explained} (mean over seeds)", part)


def _table_of_fits(title: str, fits: pd.DataFrame) -> Table:
    """Make a row for each choice of networks and epoch, with a line for each predictor."""
    rows = [_row(part) for _, part in fits.groupby(["group", "networks", "epoch"], sort=False)]
    headings = ("networks, epoch", "explained by", "R2", "95 % interval", "in print")
    filled = [column < 3 or any(row[column].strip() for row in rows) for column in range(len(headings))]
    table = rich_table(title, list(compress(headings, filled)), [list(compress(row, filled)) for row in rows])
    table.show_lines = True
    return table


def _row(fits: pd.DataFrame) -> list[str]:
    first = fits.iloc[0]
    about = [] if first["group"] == "all" else [first["group"]]
    about.append(f"{first['n']} " + ("networks" if first["networks"] == "all" else f"with {first['networks']}"))
    about.append(first["epoch"])
    if not pd.isna(first["explainable"]):
        about.append(f"explainable: {first['explainable']:.2f}")
    lines = fits.set_index("explaining")
    lines = lines.loc[[label for label in PREDICTORS if label in lines.index]]
    interval = lines["r2_low"].map(_number) + " to " + lines["r2_high"].map(_number)
    interval = interval.where(lines["r2_low"].notna(), "")
    columns = (
        about,
        lines.index,
        lines["r2"].map(_number).replace("", "too few"),
        interval,
        lines["published"].map(_number),
    )
    return ["\n".join(map(str, column)) for column in columns]


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def compared(fits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Put side by side R2 of the same fits in several studies, of the mean over seeds.

    Args:
        fits: What :func:`studies.report.fits.study_fits` returns, by study.

    Returns:
        One row per fit, one column per study; empty where a study has no such fit.
    """
    keys = ["group", "explained", "epoch", "networks", "explaining"]
    columns = []
    for name, table in fits.items():
        chosen = table[table["averaging"] == "mean over seeds"]
        columns.append(chosen.set_index(keys)["r2"].rename(name))
    return pd.concat(columns, axis=1).reset_index()
