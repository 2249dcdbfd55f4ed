"""Tables and figures of the gradient studies."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from nnmass.runtime.files import write_figures, write_table
from nnmass.runtime.tables import rich_table
from nnmass.studies.drawing import draw_line, scatter
from nnmass.studies.explain import LABELS, Predictor
from nnmass.studies.gradients.measurements import average_over_seeds, fits

__all__ = ["draw_measured", "draw_simulation", "write_measured", "write_simulation"]


def write_simulation(rows: pd.DataFrame, folder: Path) -> Iterator[Table]:
    """Write ``simulation.csv``, its figure, and what it says about the papers' claims.

    Args:
        rows: What :func:`studies.gradients.measurements.simulated_rows` yields.
        folder: Where to write.

    Yields:
        Tables for the terminal.
    """
    write_table(folder / "simulation.csv", rows)
    write_figures(folder / "simulation", draw_simulation(rows))
    by_mass = rows[rows["figure"] == "ICLR-F8"]
    lines = []
    for width, part in by_mass.groupby("columns"):
        fit = Predictor("nn_mass").fit(part, "mean_singular_value")
        within = (part["mean_singular_value"] >= part["low"]) & (part["mean_singular_value"] <= part["high"])
        lines.append((width, len(part), f"{fit.r2:.4f}", f"{fit.slope:.4f}", f"{within.mean():.0%}"))
    headings = ["width w_c", "sizes", "R2 on NN-Mass", "slope", "within the bounds"]
    yield rich_table("Mean singular value of (w_c + m / 2) x w_c Gaussian matrices", headings, lines)
    by_rows = rows[rows["figure"] == "ICLR-F7"]
    tall = by_rows["rows"] >= by_rows["columns"]
    lines = [
        (
            name,
            len(part),
            f"{(part['mean_square'] / part['rows']).mean():.3f}",
            f"{ratio.mean():.3f}",
            f"{ratio.std():.3f}",
        )
        for name, part in (("H >= W", by_rows[tall]), ("H < W", by_rows[~tall]))
        for ratio in [part["mean_square"] / part[["rows", "columns"]].max(axis=1)]
    ]
    headings = ["matrices", "sizes", "E(s^2) / H", "E(s^2) / max(H, W)", "its std"]
    yield rich_table("Mean square of the singular values, q = 1", headings, lines)


def write_measured(rows: pd.DataFrame, group: str, folder: Path, name: str) -> Iterator[Table]:
    """Write the rows, their averages over seeds, the fits and the figure.

    Args:
        rows: What :func:`studies.gradients.measurements.mlp_rows` or its sibling ``cnn_rows`` yields.
        group: Column whose values get a fit and a row of panels each.
        folder: Where to write.
        name: Of the files, before ``.csv``, ``_fits.csv``, ``.png`` and so on.

    Yields:
        The table of the fits.
    """
    averages = average_over_seeds(rows)
    table = fits(averages, group)
    write_table(folder / f"{name}.csv", rows)
    write_table(folder / f"{name}_fits.csv", table)
    write_figures(folder / name, draw_measured(averages, group))
    shown = [
        (line[group], line["rows"], line["explaining"], line["n"], *(f"{line[k]:.3f}" for k in ("r2", "spearman")))
        for line in table.to_dict("records")
    ]
    headings = [group, "networks", "explaining", "n", "R2", "Spearman"]
    yield rich_table("What explains the mean singular value (averaged over seeds)", headings, shown)


def draw_simulation(rows: pd.DataFrame) -> Figure:
    """Draw the simulation in the papers' form.

    Args:
        rows: What :func:`studies.gradients.measurements.simulated_rows` yields.

    Returns:
        Against H for many W (ICLR-F7), against NN-Mass for many widths (ICLR-F8), and within the bounds (CVPR-F1b).
    """
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    heights, masses, bounds = figure.subplots(1, 3)
    for width, part in rows[rows["figure"] == "ICLR-F7"].groupby("columns"):
        heights.plot(part["rows"], part["mean_singular_value"], lw=1, label=f"W = {width}")
    heights.set_xlabel("rows H")
    by_mass = rows[rows["figure"] == "ICLR-F8"]
    for width, part in by_mass.groupby("columns"):
        masses.plot(part["nn_mass"], part["mean_singular_value"], marker=".", lw=1, label=f"w = {width}")
    masses.set_xlabel("NN-Mass m; matrices of w + m / 2 rows")
    part = by_mass[by_mass["columns"] == 16]
    bounds.fill_between(part["nn_mass"], part["low"], part["high"], alpha=0.2, label="bounds of CVPR Prop. 2")
    bounds.plot(part["nn_mass"], part["mean_singular_value"], marker=".", lw=1, label="w = 16")
    bounds.set_xlabel("NN-Mass m")
    for axes in (heights, masses, bounds):
        axes.set_ylabel("mean singular value")
        axes.legend(fontsize="small")
    return figure


def draw_measured(averages: pd.DataFrame, group: str) -> Figure:
    """Draw the mean singular value against parameters and against NN-Mass, coloured by depth, a row per group.

    Args:
        averages: What :func:`studies.gradients.measurements.average_over_seeds` returns.
        group: Column whose values get a row of panels each.

    Returns:
        Two panels per group with error bars over the seeds, and a line whose R2 stands in the title.
    """
    groups = averages.groupby(group, sort=False)
    figure = Figure(figsize=(10, 3.6 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 2, squeeze=False, sharey="row")
    for (name, part), (left, right) in zip(groups, panels, strict=True):
        for axes, column in ((left, "num_params"), (right, "nn_mass")):
            scatter(axes, part, column, "mean_singular_value", "depth", "std_over_seeds")
            fit = draw_line(axes, part, Predictor(column), "mean_singular_value", color="0.5", lw=0.8)
            axes.set_title(f"{group} {name}: R² {fit.r2:.2f}", fontsize="medium")
            axes.set_xlabel(LABELS[column])
        left.set_ylabel("mean singular value")
        right.legend(title="depth d", fontsize="small")
    return figure
