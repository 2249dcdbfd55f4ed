"""A sweep over options of a configuration: its combinations as a table, and as parallel coordinates."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from bokeh.models import ColumnDataSource, HoverTool, Model, Range1d
from bokeh.palettes import Viridis256
from bokeh.plotting import figure
from bokeh.transform import linear_cmap
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from nnmass.studies.grid import short_names

__all__ = ["Sweep", "draw_sweep", "marginal_means", "spread_of", "sweep_of", "sweep_plot", "with_positions"]

_MEASURED = {
    "validation accuracy": ("val_accuracy_best", "val_accuracy_last"),
    "test accuracy": ("test_accuracy_best", "test_accuracy_last"),
}


class Sweep(NamedTuple):
    """Combinations of options, networks and configurations, and what they have come to.

    Attributes:
        table: One row each, the best first: what is varied, the number of ``seeds``, and of each accuracy the mean over
            the seeds and their standard deviation. Accuracies are those of the best epoch by validation, where there
            are such.
        varied: Columns of what is varied, options by their short names.
        measured: Columns of accuracies, the one by which the combinations are ordered first.
    """

    table: pd.DataFrame
    varied: list[str]
    measured: list[str]


def spread_of(measured: str) -> str:
    """Return the column with the standard deviations of what is measured."""
    return f"std of {measured}"


def sweep_of(results: pd.DataFrame, options: Sequence[str]) -> Sweep:
    """Average over the seeds of each combination.

    Args:
        results: What :func:`studies.load` returns; rows that are not finished are left out.
        options: Names of the options that a study's grid varies.
    """
    finished = results[results["status"] == "finished"]
    short = short_names(options)
    columns: dict[str, str] = {}
    for label, names in _MEASURED.items():
        columns |= dict.fromkeys([name for name in names if name in finished][:1], label)
    if finished.get("val_on_test", pd.Series(False)).any():  # the two accuracies are one
        columns = {name: label for name, label in columns.items() if label == "test accuracy"}
    grouped = finished.groupby(["config", "network"], sort=False)
    means = grouped[list(columns)].mean().rename(columns=columns)
    spreads = grouped[list(columns)].std().rename(columns={name: spread_of(of) for name, of in columns.items()})
    own = grouped[list(options)].first().rename(columns=short)
    table = pd.concat([own, grouped.size().rename("seeds"), means, spreads], axis=1).reset_index()
    varied = [name for name in (*short.values(), "network") if table[name].astype(str).nunique() > 1]
    varied = varied or [*short.values()]  # of the first combination that is finished
    if len(table) > len(table.drop_duplicates(varied)):  # several configurations, each with all combinations
        varied = ["config", *varied]
    measured = list(columns.values())
    kept = [*varied, "seeds", *(name for label in measured for name in (label, spread_of(label)))]
    ordered = table.sort_values(measured[0], ascending=False, ignore_index=True)
    return Sweep(ordered[[*kept, *(name for name in ("config",) if name not in kept)]], varied, measured)


def marginal_means(sweep: Sweep) -> pd.DataFrame:
    """Average over all combinations that have a value of an option, or a network; for each value of each.

    Args:
        sweep: The combinations.

    Returns:
        One row for each ``option`` and ``value``: the number of ``combinations``, the mean of each accuracy over them,
        and the best of that by which the combinations are ordered.
    """
    lines = []
    for option in (name for name in sweep.varied if name != "config"):
        texts = sweep.table[option].astype(str)
        for value in _values(sweep, option):
            part = sweep.table[texts == value]
            about = {"option": option, "value": value, "combinations": len(part)}
            best = {f"best {sweep.measured[0]}": part[sweep.measured[0]].max()}
            lines.append(about | {label: part[label].mean() for label in sweep.measured} | best)
    return pd.DataFrame(lines)


def _values(sweep: Sweep, option: str) -> list[str]:
    """The values of an option in their order, as texts."""
    return sorted({str(value) for value in sweep.table[option]}, key=_in_order)


def _in_order(text: str) -> tuple[float, str]:
    """Return a key that sorts numbers by size, and other texts behind them."""
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def with_positions(sweep: Sweep) -> dict[str, list[tuple[str, float]]]:
    """Compute where the values of each column lie on its axis, from 0 to 1; values of options at equal distances.

    Args:
        sweep: The combinations.

    Returns:
        The values as texts and their positions, of each column that has an axis.
    """
    axes: dict[str, list[tuple[str, float]]] = {}
    for name in sweep.varied:
        values = _values(sweep, name)
        axes[name] = [(value, _share(rank, len(values))) for rank, value in enumerate(values)]
    for name in sweep.measured:
        low, high = sweep.table[name].min(), sweep.table[name].max()
        shares = (0, 0.25, 0.5, 0.75, 1) if high > low else (0.5,)
        axes[name] = [(f"{low + share * (high - low):.4f}", share) for share in shares]
    return axes


def _share(rank: int, number: int) -> float:
    return rank / (number - 1) if number > 1 else 0.5


def _lines(sweep: Sweep) -> np.ndarray:
    """Positions of every combination on every axis, (combinations, axes)."""
    axes = with_positions(sweep)
    positions = [sweep.table[name].astype(str).map(dict(axes[name])).to_numpy(dtype=float) for name in sweep.varied]
    for name in sweep.measured:
        values = sweep.table[name].to_numpy(dtype=float)
        extent = np.ptp(values)
        positions.append((values - values.min()) / extent if extent > 0 else np.full_like(values, 0.5))
    return np.stack(positions, axis=1)


def draw_sweep(sweep: Sweep) -> Figure:
    """Draw the combinations as parallel coordinates, coloured by the accuracy by which they are ordered.

    Args:
        sweep: The combinations.
    """
    axes = with_positions(sweep)
    drawn = Figure(figsize=(2 + 1.8 * len(axes), 4.5), layout="constrained")
    panel = drawn.subplots()
    scores = sweep.table[sweep.measured[0]].to_numpy(dtype=float)
    colours = ScalarMappable(Normalize(scores.min(), scores.max()), colormaps["viridis"])
    for line, score in reversed(list(zip(_lines(sweep), scores, strict=True))):  # the best on top
        panel.plot(range(len(axes)), line, color=colours.to_rgba(score), lw=1.5, alpha=0.8)
    for number, ticks in enumerate(axes.values()):
        panel.axvline(number, color="0.6", lw=0.8, zorder=0)
        for text, position in ticks:
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}
            panel.text(number, position, text, ha="center", va="center", fontsize="small", bbox=box)
    panel.set_xticks(range(len(axes)), list(axes))
    panel.set_ylim(-0.05, 1.05)
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    drawn.colorbar(colours, ax=panel, label=sweep.measured[0])
    return drawn


def sweep_plot(sweep: Sweep, source: ColumnDataSource) -> Model:
    """Plot the combinations as parallel coordinates to point at; those that are selected in ``source`` stand out.

    Args:
        sweep: The combinations.
        source: Holds its table; the lines are added to it.
    """
    axes, lines = with_positions(sweep), _lines(sweep)
    source.data["xs"] = [list(range(len(axes)))] * len(lines)
    source.data["ys"] = lines.tolist()
    plot = figure(
        width=1060,
        height=420,
        tools="tap,reset,save",
        x_range=Range1d(start=-0.5, end=len(axes) - 0.5),
        y_range=Range1d(start=-0.08, end=1.08),
    )
    score = sweep.table[sweep.measured[0]]
    drawn = plot.multi_line(
        "xs",
        "ys",
        source=source,
        line_width=2.5,
        line_color=linear_cmap(sweep.measured[0], Viridis256, score.min(), score.max()),
        line_alpha=0.8,
        nonselection_line_alpha=0.08,
        hover_line_color="crimson",
        hover_line_alpha=1,
    )
    plot.vspan(x=list(range(len(axes))), line_color="gray")
    for number, ticks in enumerate(axes.values()):
        texts, heights = zip(*ticks, strict=True)
        plot.text([number + 0.02] * len(ticks), heights, texts, text_font_size="9pt", text_baseline="middle")
    plot.xaxis.ticker = list(range(len(axes)))
    plot.xaxis.major_label_overrides = dict(enumerate(axes))
    plot.yaxis.visible, plot.grid.visible = False, False
    names = [name for name in sweep.table if name not in sweep.measured]
    tips = [(str(name), f"@{{{name}}}") for name in names] + [
        (name, f"@{{{name}}}{{0.0000}}") for name in sweep.measured
    ]
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tips, line_policy="interp"))
    return plot
