"""Figures of a study, in the papers' form."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator
from sklearn.linear_model import LinearRegression

from nnmass.studies.choices import Endpoint
from nnmass.studies.drawing import draw_line, scatter
from nnmass.studies.explain import LABELS, Predictor, measure_columns
from nnmass.studies.report.baselines import known_values, properties_of, with_derived_columns
from nnmass.studies.report.fits import averages, explained_columns, groups_of, r2_on, sets_of
from nnmass.studies.statistics import FEWEST, WithInterval, partial_correlation

__all__ = ["draw_curves", "draw_partial_regression", "draw_scatter", "study_figures"]

_ABSCISSAE = (
    Predictor("num_params", is_logarithm=True),
    Predictor("nn_mass", is_logarithm=True),
    Predictor("flops", is_logarithm=True),
    Predictor("nn_density"),
)
_PANELS = 4  # side by side at most


def study_figures(
    results: pd.DataFrame,
    curves: pd.DataFrame,
    colour: str,
    group: str | None,
    panels: Sequence[Mapping[str, str]],
    endpoint: Endpoint | None = None,
) -> Iterator[tuple[str, Figure]]:
    """Draw all figures that the results allow.

    Args:
        results: What :func:`studies.load` returns.
        curves: What :func:`studies.load_curves` returns.
        colour: Column that colours the points.
        group: Column whose values get a row of panels each.
        panels: Sets of networks whose training is drawn together, by letter.
        endpoint: The study's primary endpoint; one with properties that are ``given`` gets a figure of its own.

    Yields:
        A name, which serves as the file's too, and the figure.
    """
    table = averages(results)
    colour = colour if colour in table else "network"
    table[colour] = table[colour].map(str, na_action="ignore").fillna("none")
    if group is None and table["config"].nunique() > 1:
        group = "config"
    explained = explained_columns(results)
    for (label, _), column in explained.items():
        name = {"test_accuracy_last": "accuracy", "mean_singular_value": "singular_values"}.get(column)
        if name is not None:
            yield name, draw_scatter(table, column, label, colour, group)
            if measures := [Predictor(measure) for measure in measure_columns(table)]:
                yield f"{name}_by_measures", draw_scatter(table, column, label, colour, group, measures)
    if {"mean_singular_value", "test_accuracy_last"} <= set(explained.values()):
        figure = Figure(figsize=(6, 4.5), layout="constrained")
        axes = figure.subplots()
        scatter(axes, table, "mean_singular_value", "test_accuracy_last", colour, "std_test_accuracy_last")
        axes.set_xlabel("mean singular value before training")
        axes.set_ylabel("test accuracy")
        _legend(axes, table[colour])
        yield "accuracy_by_singular_value", figure
    partial = None if endpoint is None else draw_partial_regression(results, endpoint, colour, group)
    if partial is not None:
        yield "partial_regression", partial
    if panels and len(curves):
        yield "curves", draw_curves(results, curves, panels)


def draw_scatter(
    table: pd.DataFrame,
    column: str,
    label: str,
    colour: str,
    group: str | None,
    abscissae: Sequence[Predictor] = _ABSCISSAE,
) -> Figure:
    """Draw one column against parameters, NN-Mass, FLOPs and density, with error bars over the seeds.

    Args:
        table: What :func:`studies.report.fits.averages` returns.
        column: Of the ordinate.
        label: What to call it.
        colour: Column that colours the points.
        group: Column whose values get rows of panels of their own; None for all together.
        abscissae: What to draw it against instead, a panel each.

    Returns:
        The panels in rows of four, once more without the networks of mass 0 where there are such. The R2 of the line,
        on the axis as it is drawn, stands above each with its 95 % interval.
    """
    groups = list(_rows_of_panels(table, group))
    wide = min(len(abscissae), _PANELS)
    high = -(-len(abscissae) // wide)
    figure = Figure(figsize=(4 * wide, 3.8 * high * len(groups)), layout="constrained")
    rows = figure.subplots(high * len(groups), wide, squeeze=False, sharey="row")
    for number, (name, part) in enumerate(groups):
        panels = rows[number * high : (number + 1) * high].ravel()
        for axes, predictor in zip(panels, abscissae, strict=False):
            _draw_panel(axes, part, predictor, column, colour, name)
        for axes in panels[: len(abscissae) : wide]:
            axes.set_ylabel(label)
        for axes in panels[len(abscissae) :]:
            axes.remove()
        if table[colour].nunique() > 1:
            _legend(panels[len(abscissae) - 1], table[colour])
    return figure


def _draw_panel(axes: Axes, part: pd.DataFrame, predictor: Predictor, column: str, colour: str, name: str) -> None:
    """Draw the networks that have both numbers, the line through them, and how many others there are."""
    part = part.dropna(subset=column)
    known = part.dropna(subset=predictor.column)
    drawn = known[known[predictor.column] > 0] if predictor.is_logarithm else known
    if predictor.is_logarithm:
        _scale_by_logarithm(axes, drawn[predictor.column])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(axis="x", scilimits=(-3, 4))
    scatter(axes, drawn, predictor.column, column, colour, f"std_{column}")
    draw_line(axes, drawn, predictor, column, color="0.4", lw=0.8)
    omissions = [f"without {len(known) - len(drawn)} of mass 0"] if len(drawn) < len(known) else []
    omissions += [f"{len(part) - len(known)} have no value"] if len(known) < len(part) else []
    omitted = ", ".join(omissions)
    few = f" of {len(drawn)} point{'s' if len(drawn) != 1 else ''}" if len(drawn) < FEWEST else ""
    estimate = r2_on(predictor, drawn, column)
    r2 = f"no R²{few}" if np.isnan(estimate.value) else f"R² {_with_interval(estimate)}{few}"
    axes.set_title("\n".join(filter(None, (f"{name}{omitted}".removesuffix(": "), r2))), fontsize="medium")
    axes.set_xlabel(LABELS.get(predictor.column, predictor.column))


def _with_interval(estimate: WithInterval) -> str:
    return f"{estimate.value:.2f}" + ("" if np.isnan(estimate.low) else f" ({estimate.low:.2f} to {estimate.high:.2f})")


def draw_partial_regression(results: pd.DataFrame, endpoint: Endpoint, colour: str, group: str | None) -> Figure | None:
    """Draw what the properties that are given leave of the explained number over what they leave of the measure.

    Args:
        results: What :func:`studies.load` returns.
        endpoint: The study's primary endpoint.
        colour: Column that colours the points.
        group: Column whose values are groups, of which the endpoint may name one.

    Returns:
        Residuals of the lines on the given properties, (n,) each; their correlation is the partial correlation that is
        the endpoint. None where nothing is given, its networks are not trained, or some have no such property.

    Source:
        Frisch, Waugh: "Partial time regressions as compared with individual trends", 1933; it is called an
        added-variable plot too.
    """
    table = with_derived_columns(averages(results))
    part = dict(groups_of(table, group)).get(endpoint.group)
    column = explained_columns(results).get((endpoint.explained, endpoint.epoch))
    if not endpoint.given or part is None or column is None:
        return None
    sets = dict(sets_of(part))
    chosen = sets.get(endpoint.networks, sets["all"]).dropna(subset=column)
    values = [known_values(properties_of(table)[name], chosen) for name in (endpoint.measure, *endpoint.given)]
    known = [column for column in values if column is not None]
    if len(known) < len(values):
        return None
    y = chosen[column].to_numpy(dtype=float)
    correlation = partial_correlation(known[0], y, known[1:], chosen["network"].to_numpy())
    if np.isnan(correlation.value):
        return None
    left = {"x": _residuals(known[0], known[1:]), "y": _residuals(y, known[1:])}
    colours = chosen[colour if colour in chosen else "network"]
    points = pd.DataFrame(left).assign(**{str(colours.name): colours.to_numpy()})
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    scatter(axes, points.assign(std=chosen[f"std_{column}"].to_numpy()), "x", "y", str(colours.name), "std")
    draw_line(axes, points, Predictor("x"), "y", color="0.4", lw=0.8)
    axes.set_title(f"partial correlation {_with_interval(correlation)}", fontsize="medium")
    axes.set_xlabel(f"{endpoint.measure} less what {', '.join(endpoint.given)} tell of it")
    axes.set_ylabel(f"{endpoint.explained} less what they tell of it")
    _legend(axes, colours)
    return figure


def _residuals(values: np.ndarray, given: Sequence[np.ndarray]) -> np.ndarray:
    """Return what a linear function of the given columns leaves of some values, (n,)."""
    columns = np.column_stack(given)
    return values - LinearRegression().fit(columns, values).predict(columns)


def _scale_by_logarithm(axes: Axes, values: pd.Series) -> None:
    """Give the abscissa a logarithmic scale, with ticks that are read easily also over a narrow range."""
    axes.set_xscale("log")
    wide = values.max() > 5 * values.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_locator(NullLocator())


def _legend(axes: Axes, values: pd.Series) -> None:
    """Say what the colours mean, in as many columns as keep the legend within the panel."""
    axes.legend(title=str(values.name), fontsize="small", ncols=-(-values.nunique() // 8))


def _rows_of_panels(table: pd.DataFrame, group: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each group as a whole, and then without its networks of mass 0, whose failures hide what others do."""
    for name, part in [("", table)] if group is None else table.groupby(group, sort=False):
        prefix = "" if name == "" else f"{name}: " if group == "config" else f"{group} {name}: "
        yield prefix, part
        linked = part[part["nn_mass"] > 0]
        if len(linked) < len(part):
            yield f"{prefix}NN-Mass > 0: ", linked


def draw_curves(results: pd.DataFrame, curves: pd.DataFrame, panels: Sequence[Mapping[str, str]]) -> Figure:
    """Draw training accuracy by epoch of chosen networks (CVPR-F4).

    Args:
        results: What :func:`studies.load` returns.
        curves: What :func:`studies.load_curves` returns.
        panels: Names of networks, by letter; a panel for each set, a row of panels for each configuration.

    Returns:
        The mean over the seeds in a band of their standard deviation.
    """
    facts = results.set_index("row")[["config", "network", "nn_mass", "num_params"]]
    joined = curves.join(facts, on="row")
    configs = joined["config"].unique()
    figure = Figure(figsize=(5.5 * len(panels), 4 * len(configs)), layout="constrained")
    grid = figure.subplots(len(configs), len(panels), squeeze=False)
    for axes, (config, letters) in zip(grid.flat, product(configs, panels), strict=True):
        if len(configs) > 1:
            axes.set_title(config)
        for letter, network in letters.items():
            part = joined[(joined["network"] == network) & (joined["config"] == config)]
            if part.empty:
                continue
            by_epoch = part.groupby("epoch")["train/accuracy"]
            mean, std = by_epoch.mean(), by_epoch.std().fillna(0)
            first = part.iloc[0]
            label = f"{letter}: {network}, NN-Mass {first['nn_mass']:.1f}, {first['num_params']:,} parameters"
            axes.plot(mean.index + 1, mean, lw=1.2, label=label)
            axes.fill_between(mean.index + 1, mean - std, mean + std, alpha=0.15)
        axes.set_xlabel("epoch")
        axes.set_ylabel("training accuracy")
        if axes.lines:  # none as long as no network of the panel is trained
            axes.legend(fontsize="small")
    return figure
