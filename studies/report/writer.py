"""The report of a study: table, fits, figures and page, all written from the rows that are finished."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import compress
from pathlib import Path
from textwrap import fill

import pandas as pd
from rich.table import Table

from nnmass.runtime.files import write_atomically, write_figures, write_table
from nnmass.runtime.tables import rich_table
from nnmass.studies.definition import Study
from nnmass.studies.report.baselines import HEADINGS, as_lines, baseline_table
from nnmass.studies.report.figures import study_figures
from nnmass.studies.report.fits import study_fits
from nnmass.studies.report.markdown import Progress, as_number, estimate, study_markdown
from nnmass.studies.report.page import study_page
from nnmass.studies.report.sweep import draw_sweep, sweep_of
from nnmass.studies.report.sweep_tables import sweep_markdown, sweep_tables
from nnmass.studies.rows import load, load_curves

__all__ = ["compared", "write_study_report"]

_NAME = 10  # characters of a line of a name
_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "numba", "pandas", "scipy")


def write_study_report(study: Study, folder: Path) -> Iterator[Table]:
    """Write ``results``, ``curves``, ``fits``, ``baselines``, figures and the page into the study's folder.

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
    sweep = sweep_of(results, list(study.grid)) if study.grid else None
    # Networks are compared within one combination of a grid's options, the best.
    shown = results if sweep is None else results[results["config"] == sweep.table["config"].iloc[0]]
    choice = study.report
    fits = study_fits(shown, choice.group, choice.published)
    write_table(folder / "fits.csv", fits)
    baselines = baseline_table(shown, choice.group, choice.endpoint)
    write_table(folder / "baselines.csv", baselines)
    pictures = []
    if sweep is not None:
        write_table(folder / "sweep.csv", sweep.table)
        write_figures(folder / "sweep", draw_sweep(sweep))
        pictures.append(folder / "sweep.png")
        yield from sweep_tables(sweep)
    for name, figure in study_figures(shown, curves, choice.colour, choice.group, choice.curves, choice.endpoint):
        write_figures(folder / name, figure)
        pictures.append(folder / f"{name}.png")
    files = [folder / "study.yaml", *sorted((folder / "configs").glob("*.yaml"))]
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    definition = {path.name: path.read_text(encoding="utf-8") for path in files}
    planned = len((folder / "rows.txt").read_text(encoding="utf-8").splitlines())
    page = study_page(study.name, results, fits, choice.colour, pictures, definition, versions, sweep, planned)
    write_atomically(folder / "report.html", page)
    names = [picture.name for picture in pictures]
    rows = Progress(int((results["status"] == "finished").sum()), planned)
    of_grid = () if sweep is None else (str(sweep.table["config"].iloc[0]), sweep_markdown(sweep))
    text = study_markdown(study.name, shown, fits, baselines, choice.endpoint, names, rows, *of_grid)
    write_atomically(folder / "report.md", text)
    for explained, part in fits[fits["averaging"] == "mean over seeds"].groupby("explained", sort=False):
        yield _table_of_fits(f"R2 of the {explained} (mean over seeds)", part)
    for (group, networks), part in baselines.groupby(["group", "networks"], sort=False):
        first = part[(part["explained"] == part["explained"].iloc[0]) & (part["epoch"] == part["epoch"].iloc[0])]
        yield _table_of_baselines(str(group), str(networks), first)


def _table_of_fits(title: str, fits: pd.DataFrame) -> Table:
    """Make a row for each choice of networks and epoch, with a line for each predictor."""
    rows = [_row(part) for _, part in fits.groupby(["group", "networks", "epoch"], sort=False)]
    headings = ("networks, epoch", "explained by", "R2", "95 % interval", "published")
    filled = [column < 3 or any(row[column].strip() for row in rows) for column in range(len(headings))]
    table = rich_table(title, list(compress(headings, filled)), [list(compress(row, filled)) for row in rows])
    table.show_lines = True
    return table


def _table_of_baselines(group: str, networks: str, table: pd.DataFrame) -> Table:
    """Make a row for each property: what it explains, and what beyond size and depth."""
    about = table.iloc[0]
    chosen = "" if group == "all" else f"{group}, "
    title = f"What explains the {about['explained']} ({about['epoch']}), {chosen}{about['n']} networks"
    title += "" if networks == "all" else f" of {networks}"
    rows = [
        [
            _name(line),
            *(_with_interval(line, name) for name in ("r2", "spearman", "given_size", "given_depth")),
            as_number(line["left_out_depth"]),
            _with_interval(line, "mass_less_this"),
        ]
        for line in as_lines(table)
    ]
    filled = [any(row[column] for row in rows) for column in range(len(HEADINGS))]
    shown = rich_table(title, list(compress(HEADINGS, filled)), [list(compress(row, filled)) for row in rows])
    shown.columns[0].no_wrap = True  # between words alone, which leaves the other columns room at 80 characters
    return shown


def _name(line: Mapping[str, str]) -> str:
    """Return the property's name, of the primary endpoint with a star, in short lines of whole words."""
    name = f"{line['measure']} *" if line["endpoint"] == "primary" else line["measure"]
    return fill(name, _NAME, break_long_words=False, break_on_hyphens=False)


def _with_interval(line: Mapping[str, float], name: str) -> str:
    return estimate(line, name).replace(" (", "\n").removesuffix(")")


def _row(fits: pd.DataFrame) -> list[str]:
    first = fits.iloc[0]
    about = [] if first["group"] == "all" else [first["group"]]
    about.append(f"{first['n']} " + ("networks" if first["networks"] == "all" else f"with {first['networks']}"))
    about.append(first["epoch"])
    if not pd.isna(first["explainable"]):
        about.append(f"noise ceiling: {first['explainable']:.2f}")
    lines = fits.set_index("explaining")
    counts = (" (" + lines["n"].map(str) + ")").where(lines["n"] != first["n"], "")
    interval = lines["r2_low"].map(as_number) + " to " + lines["r2_high"].map(as_number)
    interval = interval.where(lines["r2_low"].notna(), "")
    columns = (
        about,
        lines.index + counts,
        lines["r2"].map(as_number).replace("", "too few"),
        interval,
        lines["published"].map(as_number),
    )
    return ["\n".join(map(str, column)) for column in columns]


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
