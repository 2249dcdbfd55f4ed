"""The report of a study: table, fits, figures and page, all written from the rows that are finished."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from rich.table import Table

from callbacks.run_file import write_atomically, write_figures, write_table
from callbacks.tables import rich_table
from studies.definition import Study
from studies.rows import load, load_curves
from studies.study_figures import study_figures
from studies.study_fits import EXPLAINING, study_fits
from studies.study_page import study_page

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
    for quantity, part in fits[fits["averaging"] == "mean over seeds"].groupby("explained", sort=False):
        yield _table_of_fits(f"R2 of the {quantity} (mean over seeds)", part)


def _table_of_fits(title: str, fits: pd.DataFrame) -> Table:
    """R2 with its interval, a column for each explaining quantity; what is in print stands behind."""
    cells = fits.assign(cell=[_cell(fit) for fit in fits.to_dict("records")])
    cells["explainable"] = cells["explainable"].map("{:.2f}".format, na_action="ignore").fillna("")
    keys = ["group", "networks", "epoch", "n", "explainable"]
    table = cells.pivot_table(index=keys, columns="explaining", values="cell", aggfunc="first", sort=False)
    table = table[[label for label in EXPLAINING if label in table]].fillna("").reset_index()
    return rich_table(title, list(table.columns), table.itertuples(index=False))


def _cell(fit: Mapping) -> str:
    printed = "" if pd.isna(fit["published"]) else f", in print {fit['published']:.2f}"
    interval = "" if pd.isna(fit["r2_low"]) else f" ({fit['r2_low']:.2f} to {fit['r2_high']:.2f})"
    return f"{fit['r2']:.2f}{interval}{printed}"


def compared(fits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """R2 of the same fits in several studies, of the mean over seeds.

    Args:
        fits: What :func:`studies.study_fits.study_fits` returns, by study.

    Returns:
        One row per fit, one column per study; empty where a study has no such fit.
    """
    keys = ["group", "explained", "epoch", "networks", "explaining"]
    columns = []
    for name, table in fits.items():
        chosen = table[table["averaging"] == "mean over seeds"]
        columns.append(chosen.set_index(keys)["r2"].rename(name))
    return pd.concat(columns, axis=1).reset_index()
