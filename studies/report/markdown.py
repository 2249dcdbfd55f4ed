"""A study as a short page of Markdown: question, setup, figure, answer and limits, all of them from its numbers."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from nnmass.studies.choices import Endpoint
from nnmass.studies.explain import measures_taken
from nnmass.studies.report.baselines import HEADINGS, as_lines, known_values, properties_of, with_derived_columns
from nnmass.studies.report.fits import averages, explained_columns, groups_of, sets_of

__all__ = [
    "Progress",
    "as_number",
    "baselines_markdown",
    "estimate",
    "fits_markdown",
    "markdown_table",
    "study_markdown",
]

_MEANS = "mean over seeds"
_SIZE = "log parameters"
_SAME = 0.95  # squared correlation from which two properties are nearly one
_DOUBTFUL = 0.05


class Progress(NamedTuple):
    """Rows of a study that are finished, and all of them."""

    finished: int
    planned: int


def fits_markdown(fits: pd.DataFrame, explained: str, group: str = "all") -> str:
    """Write the fits of one explained number, of means over seeds, as a table.

    Args:
        fits: What :func:`studies.report.fits.study_fits` returns.
        explained: Such as ``test accuracy``.
        group: The configuration or group.
    """
    chosen = fits[(fits["explained"] == explained) & (fits["group"] == group) & (fits["averaging"] == _MEANS)]
    headings = ["networks", "epoch", "explained by", "R2", "published", "noise ceiling"]
    rows = [
        [
            _networks(line),
            line["epoch"],
            line["explaining"],
            estimate(line, "r2"),
            as_number(line["published"]),
            estimate(line, "explainable"),
        ]
        for line in as_lines(chosen)
    ]
    return markdown_table(headings, rows)


def baselines_markdown(
    baselines: pd.DataFrame, explained: str, epoch: str, networks: str = "all", group: str = "all"
) -> str:
    """Write what each property explains, alone and beyond size and depth, as a table.

    Args:
        baselines: What :func:`studies.report.baselines.baseline_table` returns.
        explained: Such as ``test accuracy``.
        epoch: Such as ``last epoch``.
        networks: ``all``, or ``NN-Mass > 0``.
        group: The configuration or group.
    """
    about = {"explained": explained, "epoch": epoch, "networks": networks, "group": group}
    chosen = baselines[(baselines[list(about)] == pd.Series(about)).all(axis=1)]
    together = ["given_others"] if "given_others" in chosen else []
    headings = [*HEADINGS, *["given the others"] * len(together)]
    rows = [
        [
            f"**{line['measure']}**" if line["endpoint"] == "primary" else line["measure"],
            *(estimate(line, name) for name in ("r2", "spearman", "given_size", "given_depth")),
            as_number(line["left_out_depth"]),
            estimate(line, "mass_less_this"),
            *(estimate(line, name) for name in together),
        ]
        for line in as_lines(chosen)
    ]
    return markdown_table(headings, rows)


def study_markdown(
    name: str,
    results: pd.DataFrame,
    fits: pd.DataFrame,
    baselines: pd.DataFrame,
    endpoint: Endpoint | None,
    pictures: Sequence[str],
    rows: Progress,
    combination: str | None = None,
    section: str = "",
) -> str:
    """Write the page of a study.

    Args:
        name: Of the study.
        results: What :func:`studies.load` returns.
        fits: What :func:`studies.report.fits.study_fits` returns.
        baselines: What :func:`studies.report.baselines.baseline_table` returns.
        endpoint: The primary endpoint, if the study has declared one.
        pictures: Files of its figures, relative to the page.
        rows: Rows of the study.
        combination: Of a grid's options, to which all results here belong; None without a grid.
        section: On all combinations of the grid.
    """
    finished = results[results["status"] == "finished"]
    parts = [f"# {name}", "## Question", _question(endpoint, fits), "## Setup", *_setup(finished, rows, combination)]
    parts += [section] if section else []
    if pictures:
        parts += ["## Figures", *(f"![{picture.rpartition('.')[0]}]({picture})" for picture in pictures)]
    parts += ["## Answer", *_answer(baselines, endpoint)]
    for explained in fits["explained"].unique():
        for group in fits["group"].unique():
            heading = explained if group == "all" else f"{explained}, {group}"
            parts += [f"### {heading[0].upper()}{heading[1:]}", fits_markdown(fits, explained, group)]
    parts += ["### What each property explains", _LEGEND]
    epochs = baselines.drop_duplicates(["explained", "epoch"]).head(1)
    for about in as_lines(epochs[["explained", "epoch"]]):
        for group, networks in baselines[["group", "networks"]].drop_duplicates().itertuples(index=False):
            parts += [f"{about['explained']}, {about['epoch']}; {group}, {networks}:"]
            parts += [baselines_markdown(baselines, **about, networks=networks, group=group)]
    parts += ["## Limits", "\n".join(f"- {line}" for line in _limits(finished, baselines, endpoint, rows))]
    return "\n\n".join(parts) + "\n"


_LEGEND = (
    "R2 of a straight line and Spearman's rho; partial correlations given log parameters and given depth; R2 of "
    "predictions for depths that were left out of the fit; R2 of log NN-Mass, or of log(1 + NN-Mass) where some mass "
    "is 0, less this one; where the endpoint has several properties, the partial correlation given the others. In "
    "brackets 95 % intervals. The primary endpoint is bold; all else is exploratory."
)


def _question(endpoint: Endpoint | None, fits: pd.DataFrame) -> str:
    if endpoint is None:
        explained = ", ".join(fits["explained"].unique())
        return f"What explains the {explained}? No primary endpoint was declared: every fit is exploratory."
    than = "" if endpoint.measure == _SIZE else ", and more than the number of parameters does"
    return f"How much of the {endpoint.explained} ({endpoint.epoch}) does {endpoint.measure} explain{than}?"


def _setup(finished: pd.DataFrame, rows: Progress, combination: str | None) -> Iterator[str]:
    networks = finished[["config", "network"]].drop_duplicates()
    seeds = finished.groupby(["config", "network"])["seed"].nunique()
    each = str(seeds.min()) if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    word = "seed" if seeds.max() == 1 else "seeds"
    begun = f"{rows.finished:,} of {rows.planned:,} rows are finished"
    if combination is None:
        yield f"{begun}: {len(networks):,} networks, {each} {word} each."
    else:
        yield (
            f"{begun}. Of the grid's combinations this page is about the best by validation, {combination}: "
            f"{len(networks):,} networks, {each} {word} each. `sweep.csv` compares all."
        )
    names = ("data", "engine", "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "precision")
    known = [column for column in names if column in finished and finished[column].notna().any()]
    values = [[column.replace("_", " "), ", ".join(map(str, finished[column].dropna().unique()))] for column in known]
    yield markdown_table(["protocol", ""], values)
    spread = averages(finished)
    lines = []
    for (explained, epoch), column in explained_columns(finished).items():
        deviation = spread[f"std_{column}"].dropna()
        if len(deviation):
            low, middle, high = deviation.min(), deviation.median(), deviation.max()
            lines.append([f"{explained}, {epoch}", f"{low:.4f}", f"{middle:.4f}", f"{high:.4f}"])
    if lines:
        yield "Standard deviation over the seeds of a network:"
        yield markdown_table(["", "smallest", "median", "largest"], lines)


def _answer(baselines: pd.DataFrame, endpoint: Endpoint | None) -> Iterator[str]:
    primary = baselines[baselines["endpoint"] == "primary"]
    if endpoint is None or primary.empty:
        yield "There is no result at a primary endpoint; the tables below are exploratory."
        return
    line = as_lines(primary)[0]
    given_size, given_depth = (estimate(line, name) or "not known" for name in ("given_size", "given_depth"))
    yield (
        f"R2 of the {line['explained']} on {line['measure']} is {estimate(line, 'r2')}, over {_networks(line)}; the "
        f"partial correlation is {given_size} given the number of parameters, {given_depth} given the depth."
    )
    if endpoint.given:
        given_others = estimate(line, "given_others") or "not known"
        yield f"Given {', '.join(endpoint.given)} together it is {given_others}, which is the primary endpoint."
    about = ["explained", "epoch", "networks", "group"]
    same = baselines[(baselines[about] == primary.iloc[0][about]).all(axis=1)]
    others = same[same["measure"].isin([_SIZE, "log t", "depth"]) & (same["endpoint"] != "primary")]
    for other in as_lines(others):
        difference = estimate(other, "mass_less_this")
        yield f"On {other['measure']} it is {estimate(other, 'r2')}. Mass less this: {difference}{_verdict(other)}."


def _verdict(line: Mapping[str, float]) -> str:
    """Say on which side of 0 an interval of the difference lies."""
    low, high = line["mass_less_this_low"], line["mass_less_this_high"]
    if pd.isna(low):
        return ", without an interval: there are too few networks"
    if low <= 0 <= high:
        return "; the interval holds 0, so these networks do not tell them apart"
    return "; mass explains more" if low > 0 else "; mass explains less"


def _limits(
    finished: pd.DataFrame, baselines: pd.DataFrame, endpoint: Endpoint | None, rows: Progress
) -> Iterator[str]:
    if rows.finished < rows.planned:
        yield f"{rows.planned - rows.finished:,} of {rows.planned:,} rows are missing."
    if "val_on_test" in finished and finished["val_on_test"].any():
        yield "The networks were validated on the test set, so the best epoch was chosen on it."
    if finished.groupby(["config", "network"])["seed"].nunique().max() < 2:
        yield "One seed each: what the seeds scatter is not known, nor what can be explained at all."
    yield from _not_measured(finished)
    table = with_derived_columns(averages(finished))
    for group, part in groups_of(table, None):
        for networks, chosen in sets_of(part):
            yield from _collinear(chosen, endpoint, "" if group == "all" else f"{group}, ", networks)
    bent = baselines[(baselines["endpoint"] == "primary") & (baselines["quadratic_p"] < _DOUBTFUL)]
    for line in as_lines(bent):
        better, p_value = f"{line['quadratic_r2']:.2f}", f"{line['quadratic_p']:.1g}"
        yield f"A straight line in {line['measure']} falls short: a parabola explains {better} (F test, p = {p_value})."


def _not_measured(finished: pd.DataFrame) -> Iterator[str]:
    """Name the measures that some rows have no value of, with the first reason."""
    texts = list(finished["not_measured"].dropna()) if "not_measured" in finished else []
    reasons = [item for text in texts for item in json.loads(text).items()]
    of_rows, first, counts = f"of {len(finished):,} rows", dict(reversed(reasons)), Counter(name for name, _ in reasons)
    for name in measures_taken(finished):
        if missing := sum(name not in str(text).split() for text in finished["measures"]):
            yield f"{name} has not been taken in {missing:,} {of_rows}: study run takes it if the study names it."
        if name in first:
            yield f"{name} has no value in {counts[name]:,} {of_rows}: {first[name]}"


def _collinear(table: pd.DataFrame, endpoint: Endpoint | None, group: str, networks: str) -> Iterator[str]:
    """Name the properties that are nearly the endpoint's in these networks."""
    measure = "log NN-Mass" if endpoint is None else endpoint.measure
    properties = properties_of(table)
    values = {name: known_values(one, table) for name, one in properties.items()}
    known = {name: x for name, x in values.items() if x is not None and np.ptp(x) > 0}
    if measure not in known or len(table) < 3:
        return
    for name, x in known.items():
        square = float(np.corrcoef(x, known[measure])[0, 1] ** 2)
        if name != measure and properties[name].column != properties[measure].column and square > _SAME:
            about = "all networks" if networks == "all" else f"the networks of {networks}"
            yield f"In {group}{about}, {name} says nearly the same as {measure}: squared correlation {square:.3f}."


def _networks(line: Mapping[str, object]) -> str:
    return f"{line['n']} networks" + ("" if line["networks"] == "all" else f" with {line['networks']}")


def estimate(line: Mapping[str, float], name: str) -> str:
    """Write an estimate and its interval, as in 0.82 (0.72 to 0.88); without the interval where there is none.

    Args:
        line: Has the estimate and, with ``_low`` and ``_high`` behind its name, its bounds.
        name: Of the estimate.
    """
    low, high = line[f"{name}_low"], line[f"{name}_high"]
    return as_number(line[name]) + ("" if pd.isna(low) else f" ({low:.2f} to {high:.2f})")


def as_number(value: float) -> str:
    """Write a number with two decimals; nothing for what is not known.

    Args:
        value: The number.
    """
    return "" if pd.isna(value) else f"{value + 0:.2f}"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a table of Markdown.

    Args:
        headings: Of the columns.
        rows: Entries, line by line.

    Example:
        >>> print(markdown_table(["measure", "rho"], [["NN-Mass", 0.8]]))
        | measure | rho |
        | --- | --- |
        | NN-Mass | 0.8 |
    """
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
