"""Choices of a study's report, held against its networks before anything is trained."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from nnmass.studies.choices import EXPLAINED, FITTED, PROPERTIES, Endpoint
from nnmass.studies.definition import Row, Study

__all__ = ["group_name", "require_property", "require_published", "require_report"]

# Columns of every study's table by which networks may be told apart, beside their arguments and a grid's options.
_COLUMNS = ("config", "network", "nn_mass", "nn_density", "average_degree", "num_params", "macs", "num_layers")


def require_report(study: Study, rows: Sequence[Row]) -> None:
    """Refuse choices of the report that no training of the study could meet.

    Args:
        study: The study.
        rows: Its rows.

    Raises:
        ValueError: It names the choice, and what it may be.
    """
    choice = study.report
    arguments = list(dict.fromkeys(name for row in rows for name in (*row.arguments, *row.options)))
    columns = [*arguments, *(name for name in _COLUMNS if name not in arguments)]
    if choice.group is not None:
        _require("report.group", choice.group, columns)
    _require("report.colour", choice.colour, [*columns, "depth", *study.measures])  # the default, of cells too
    networks = list(dict.fromkeys(row.network for row in rows))
    for panel in choice.curves:
        for letter, network in panel.items():
            if network not in networks:
                near = get_close_matches(str(network), networks, n=1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise ValueError(
                    f"Expected report.curves to name networks of the study, but got {letter}: {network!r}{hint}"
                )
    require_published(choice.published)
    groups = _groups(study, rows)
    for name in (name for printed in choice.published.values() for name in printed):
        _, comma, group = name.partition(", ")
        if comma:
            _require(f"the group in report.published {name!r}", group, groups)
    if choice.endpoint is not None:
        _require_endpoint(choice.endpoint, study.measures)
        if choice.group is None or choice.group in arguments:  # values of others are known once they are measured
            _require("report.endpoint.group", choice.endpoint.group, groups)


def _require_endpoint(endpoint: Endpoint, measures: Sequence[str]) -> None:
    _require("report.endpoint.explained", endpoint.explained, EXPLAINED)
    _require("report.endpoint.epoch", endpoint.epoch, EXPLAINED[endpoint.explained])
    _require("report.endpoint.networks", endpoint.networks, ("all", "NN-Mass > 0"))
    properties = [*PROPERTIES, *measures, *(f"log {name}" for name in measures)]
    require_property("report.endpoint.measure", endpoint.measure, properties)
    for name in endpoint.given:
        require_property("report.endpoint.given", name, properties)


def _groups(study: Study, rows: Sequence[Row]) -> list[str]:
    """List the groups of networks that get fits of their own, by the names of the tables.

    With a grid, the report is about one of its combinations, and so about one configuration.
    """
    several = len({row.config for row in rows}) > 1 and not study.grid
    groups: dict[str, None] = {}
    for row in rows:
        config = row.config if several else None
        groups[config or "all"] = None
        value = (row.arguments | row.options).get(study.report.group) if study.report.group else None
        if value is not None:
            groups[group_name(config, " ".join(map(str, value)) if isinstance(value, list) else value)] = None
    return list(groups)


def group_name(config: str | None, value: Any) -> str:
    """Return the name of the networks with a value, a whole number without a point.

    Args:
        config: Their configuration, where there are several.
        value: Of the column that groups them.

    Example:
        >>> group_name(None, 2.0), group_name("seg20_mlp", "newest")
        ('2', 'seg20_mlp, newest')
    """
    word = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return word if config is None else f"{config}, {word}"


def require_property(key: str, name: str, properties: Collection[str]) -> None:
    """Refuse what is no property of the networks.

    Args:
        key: Of the study, for the message.
        name: What it names.
        properties: Those that are known.

    Raises:
        ValueError: If it is none of them.
    """
    if name not in properties:
        from nnmass.zoo.measures import MEASURES  # which loads torch

        is_measure = name.removeprefix("log ") in MEASURES
        hint = "; study run takes it of the trained networks if the study's measures name it" if is_measure else ""
        raise ValueError(f"Expected {key} to be one of {', '.join(properties)}, but got {name!r}{hint}.")


def require_published(published: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse published R2 of what is not fitted.

    Args:
        published: R2 in print, by what is fitted and by property, as :class:`studies.choices.ReportChoice` has them.

    Raises:
        ValueError: It names the key.
    """
    for quantity, printed in published.items():
        if quantity not in EXPLAINED:
            known = " or ".join(EXPLAINED)
            raise ValueError(f"Expected report.published to have R2 of the {known}, but got {quantity!r}.")
        for name in printed:
            if name.partition(", ")[0] not in FITTED:
                known = ", ".join(FITTED)
                raise ValueError(f"Expected report.published to have R2 on one of {known}, but got {name!r}.")


def _require(key: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise ValueError(f"Expected {key} to be one of {', '.join(known)}, but got {value!r}.")
