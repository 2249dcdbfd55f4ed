"""Properties of the networks as explanations of the results: each alone, and beyond size and depth."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nnmass.studies import statistics
from nnmass.studies.choices import PROPERTIES, Endpoint
from nnmass.studies.declared import require_property
from nnmass.studies.explain import Predictor, measure_predictors, measures_taken, rank_correlations
from nnmass.studies.report.fits import averages, explained_columns, groups_of, sets_of
from nnmass.zoo.mass import link_counts
from nnmass.zoo.size import cell_widths

__all__ = [
    "BASELINES",
    "HEADINGS",
    "as_lines",
    "baseline_table",
    "known_values",
    "properties_of",
    "with_derived_columns",
]

_LINKED = "NN-Mass > 0"
_BASE_WIDTHS = "16 32 64"
_LEFT_OUT = ("depth", "width", "family")


BASELINES = dict(
    zip(
        PROPERTIES,
        (
            Predictor("nn_mass", is_logarithm=True),
            Predictor("nn_mass", is_logarithm=True, added=1),
            Predictor("t", is_logarithm=True),
            Predictor("links_per_layer"),
            Predictor("nn_density"),
            Predictor("average_degree"),
            Predictor("num_params", is_logarithm=True),
            Predictor("macs", is_logarithm=True),
            Predictor("depth"),
            Predictor("num_layers"),
        ),
        strict=True,
    )
)
"""Properties by the name that tables give them; t is summed over the cells."""

HEADINGS = (
    *("property", "R2", "Spearman", "given size", "given depth"),
    *("R2, depths left out", "R2 of mass minus this"),
)
"""Headings of a table of what each property explains."""


def properties_of(table: pd.DataFrame) -> dict[str, Predictor]:
    """Return :data:`BASELINES` and the measures that the study has taken, also those without any value.

    Args:
        table: The study's results, or means of them.
    """
    return BASELINES | measure_predictors(measures_taken(table))


def with_derived_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``t``, ``links_per_layer``, ``depth``, ``width`` and ``family``, as far as the networks' arguments tell them.

    Args:
        table: One row per network or training, with the network's arguments as columns.

    Returns:
        A copy: ``t`` is t_c summed over the cells; ``links_per_layer`` the mean of l_i over all layers; ``depth`` the
        layers of a network or of a cell.
    """
    table = table.copy()
    if "tc" in table:
        table["t"] = [sum(_numbers(value)) if pd.notna(value) else np.nan for value in table["tc"]]
    if "depth" not in table and "cell_depth" in table:
        table["depth"] = table["cell_depth"]
    if "width" not in table and "width_multiplier" in table:
        table["width"] = table["width_multiplier"]
    if "family" not in table:
        table["family"] = table["network"].str.extract(r"^([a-z_]*[a-z])", expand=False).fillna("")
    table["links_per_layer"] = [_links_per_layer(row) for row in as_lines(table)]
    return table


def as_lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as mappings from the names of its columns.

    Args:
        table: Any.
    """
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _numbers(value: object) -> list[int]:
    """Numbers of an argument that a table holds as one number, or as words."""
    return [int(float(word)) for word in str(value).split()]


def _links_per_layer(row: dict[str, Any]) -> float:
    """Mean number of long-range links per layer; NaN for networks that are not random-skip."""
    if pd.isna(row.get("tc", np.nan)):
        return float("nan")
    if not pd.isna(row.get("cell_depth", np.nan)):
        base = row.get("base_widths", _BASE_WIDTHS)
        base_widths = _numbers(_BASE_WIDTHS if pd.isna(base) else base)
        depth, widths = _numbers(row["cell_depth"]), cell_widths(base_widths, row["width_multiplier"])
    else:
        depth, widths = _numbers(row["depth"]), _numbers(row["width"])
    depths, tcs = (numbers * len(widths) if len(numbers) == 1 else numbers for numbers in (depth, _numbers(row["tc"])))
    counts = [link_counts(*cell) for cell in zip(depths, widths, tcs, strict=True)]
    return sum(map(sum, counts)) / sum(depths)


def baseline_table(results: pd.DataFrame, group: str | None = None, endpoint: Endpoint | None = None) -> pd.DataFrame:
    """Hold every property of the networks against the results, the mean over seeds, and against NN-Mass.

    Args:
        results: What :func:`studies.load` returns.
        group: Column whose values get rows of their own, beside those of all networks.
        endpoint: The study's primary endpoint. With properties that are ``given``, a partial correlation of each
            property is added: given all others of them and of the endpoint's measure.

    Returns:
        One row per explained number, set of networks and property: ``r2``, ``spearman`` and ``kendall``, the partial
        correlations ``given_size`` (log parameters) and ``given_depth``, and ``mass_less_this``, R2 of log NN-Mass (of
        log(1 + NN-Mass) where some mass is 0) less this R2, all with ``_low`` and ``_high`` of their 95 % intervals;
        ``left_out_depth``, ``left_out_width`` and ``left_out_family``, R2 of predictions for groups that were left out;
        ``quadratic_r2``, and ``quadratic_p`` of the test that a straight line does as well; ``endpoint``, ``primary``
        or ``exploratory``. NaN where a number cannot be told. A property without a value for some network is left out.

    Raises:
        ValueError: If the endpoint names a property, an explained number or an epoch that there is not.
    """
    table = with_derived_columns(averages(results))
    together = [endpoint.measure, *endpoint.given] if endpoint is not None and endpoint.given else []
    properties = properties_of(table)
    if endpoint is not None:
        require_property("report.endpoint.measure", endpoint.measure, properties)
        for name in endpoint.given:
            require_property("report.endpoint.given", name, properties)
    rows = []
    for (explained, epoch), column in explained_columns(results).items():
        for name, part in groups_of(table, group):
            for networks, chosen in sets_of(part):
                about = {"explained": explained, "epoch": epoch, "networks": networks, "group": name}
                rows += [
                    about | line | {"endpoint": "exploratory"}
                    for line in _explained_by(properties, chosen, column, together)
                ]
    result = pd.DataFrame(rows)
    if endpoint is not None:
        result.loc[_is_primary(result, endpoint), "endpoint"] = "primary"
    return result


def _is_primary(table: pd.DataFrame, endpoint: Endpoint) -> pd.Series:
    """Tell which row is the primary endpoint; none as long as its networks are not trained."""
    is_primary = pd.Series(True, table.index)
    for key in ("explained", "epoch", "networks", "measure", "group"):
        wanted = getattr(endpoint, key)
        matches = table[key] == wanted
        # Where all networks have links there is no set of those that have.
        if key == "networks" and not (is_primary & matches).any():
            matches = table[key] == "all" if wanted == _LINKED else matches
        elif key in ("explained", "epoch") and not matches.any():
            known = ", ".join(table[key].unique())
            raise ValueError(f"Expected report.endpoint.{key} to be one of {known}, but got {wanted!r}.")
        is_primary &= matches
    return is_primary


def known_values(predictor: Predictor, table: pd.DataFrame) -> np.ndarray | None:
    """Return a property of all networks of a table; None where one of them has no such value.

    Args:
        predictor: The property.
        table: As :func:`with_derived_columns` completes it.
    """
    if predictor.column not in table or not predictor.is_defined(table):
        return None
    values = predictor.values(table)
    return values if np.isfinite(values).all() else None


def _explained_by(
    properties: Mapping[str, Predictor], table: pd.DataFrame, column: str, together: list[str]
) -> Iterator[dict[str, Any]]:
    known = table[table[column].notna()]
    y, networks = known[column].to_numpy(dtype=float), known["network"].to_numpy()
    mass = BASELINES["log NN-Mass" if (known["nn_mass"] > 0).all() else "log(1 + NN-Mass)"].values(known)
    for name, one in properties.items():
        if (x := known_values(one, known)) is None:
            continue
        line: dict[str, Any] = {"measure": name, "n": len(y)}
        line |= _named("r2", statistics.r2_with_interval(x, y, networks))
        line |= _ranks(x, y)
        for word, control in (("size", BASELINES["log parameters"]), ("depth", BASELINES["depth"])):
            values = known_values(control, known)
            given = statistics.UNKNOWN if values is None else statistics.partial_correlation(x, y, [values], networks)
            line |= _named(f"given_{word}", given)
        if together:
            others = [
                known_values(properties[other], known) for other in together if properties[other].column != one.column
            ]
            controls = [values for values in others if values is not None]
            is_known = len(controls) == len(others)
            given = statistics.partial_correlation(x, y, controls, networks) if is_known else statistics.UNKNOWN
            line |= _named("given_others", given)
        for group in _LEFT_OUT:
            line[f"left_out_{group}"] = (
                statistics.left_out_r2(x, y, list(known[group])) if group in known else float("nan")
            )
        parabola = statistics.quadratic_fit(x, y)
        line |= {"quadratic_r2": parabola.r2, "quadratic_p": parabola.p_value}
        line |= _named("mass_less_this", statistics.r2_difference(mass, x, y, networks))
        yield line


def _ranks(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Rank correlations with their intervals; NaN where all values are equal."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return _named("spearman", statistics.UNKNOWN) | _named("kendall", statistics.UNKNOWN)
    rho, tau = rank_correlations(x, y)
    return _named("spearman", statistics.WithInterval(rho, *statistics.spearman_interval(rho, len(x)))) | _named(
        "kendall", statistics.WithInterval(tau, *statistics.kendall_interval(tau, len(x)))
    )


def _named(name: str, estimate: statistics.WithInterval) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
