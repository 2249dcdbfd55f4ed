"""A grid over the options of a configuration: its combinations, their names, and configurations that have them."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import product
from typing import Any

__all__ = [
    "combinations",
    "combined_name",
    "distinct_names",
    "flat_grid",
    "merged",
    "require_grid",
    "short_names",
    "single_options",
    "with_options",
]

_LONGEST = 80  # characters of a combination's name, which is part of a folder's
_NOT_VARIED = {"seed_everything": "seeds", "model.network": "networks"}
_SECTIONS = ("model", "data", "trainer", "tf32")
# What the engine ensemble reads of a row by itself; the data are loaded once for all rows of a combination.
_OF_THE_ENSEMBLE = re.compile(r"model\.optimizer\.(init_args\.)?lr|trainer\.max_epochs|data\..+")


def flat_grid(written: Any) -> dict[str, list]:
    """Return a grid with each option's whole name, as in ``data.batch_size``, however its keys are nested.

    Args:
        written: What the study has: lists of values under the names of options.

    Raises:
        ValueError: If it is none, an option has no list of values, or a list has a value twice.

    Example:
        >>> flat_grid({"model": {"optimizer.lr": [0.1, 0.2]}, "data.batch_size": [8]})
        {'model.optimizer.lr': [0.1, 0.2], 'data.batch_size': [8]}
    """
    if not isinstance(written, Mapping):
        raise ValueError(f"Expected the study's grid to be options, each with a list of values, but got {written}.")
    flat: dict[str, list] = {}
    for key, value in written.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": values for inner, values in flat_grid(value).items()}
        else:
            flat[str(key)] = value
    for key, values in flat.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"Expected the study's grid to list values of {key}, but got {values}.")
        for number, value in enumerate(values):
            if any(_is_same(value, other) for other in values[:number]):
                raise ValueError(f"Expected the study's grid to list each value of {key} once, but got {value} twice.")
    return flat


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same for an option: 1 is 1.0, but no flag."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def require_grid(grid: Mapping[str, Sequence[Any]], engine: str) -> None:
    """Refuse a grid over what is varied by other means, or what an engine cannot vary.

    Args:
        grid: Values by option.
        engine: The study's engine.

    Raises:
        ValueError: It names the option.
    """
    for key in grid:
        for own, means in _NOT_VARIED.items():
            if key == own or key.startswith(f"{own}."):
                raise ValueError(f"Expected the study's grid to leave {own} to the study's {means}, but got {key}.")
        if key.partition(".")[0] not in _SECTIONS:
            raise ValueError(
                "Expected the study's grid to name options of model, data or trainer in full, such as "
                f"model.optimizer.lr, but got {key}."
            )
        if engine == "published":
            raise ValueError(f"Expected the study's grid to be absent with the engine published, but got {key}.")
        if engine == "ensemble" and not _OF_THE_ENSEMBLE.fullmatch(key):
            raise ValueError(
                "Expected the grid of a study with the engine ensemble to vary only model.optimizer.lr, "
                f"trainer.max_epochs or data, but got {key}; the engine fit varies any option."
            )


def combinations(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values, the last option's changing fastest; one without options if there are none.

    Args:
        grid: Values by option.
    """
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def single_options(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield every value of every option alone, which is enough to see whether each is one.

    Args:
        grid: Values by option.
    """
    for key, values in grid.items():
        for value in values:
            yield {key: value}


def short_names(options: Sequence[str]) -> dict[str, str]:
    """Return short names of options: the last part of each, or the whole where two have the same last part.

    Example:
        >>> short_names(["model.optimizer.lr", "data.batch_size"])
        {'model.optimizer.lr': 'lr', 'data.batch_size': 'batch_size'}
    """
    last = [option.rpartition(".")[2] for option in options]
    return {option: name if last.count(name) == 1 else option for option, name in zip(options, last, strict=True)}


def combined_name(options: Mapping[str, Any]) -> str:
    """Return a combination's name, which is empty without options and never long.

    Example:
        >>> combined_name({"model.optimizer.lr": 0.1, "data.batch_size": 8})
        'lr=0.1 batch_size=8'
    """
    short = short_names(list(options))
    name = " ".join(f"{short[option]}={_word(value)}" for option, value in options.items())
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def distinct_names(grid: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the name of each combination of a grid; those that would have the same one end with a digest.

    Args:
        grid: Values by option.

    Example:
        >>> distinct_names({"data.batch_size": [8, 16]})
        ['batch_size=8', 'batch_size=16']
    """
    chosen = list(combinations(grid))
    names = [combined_name(options) for options in chosen]
    times = Counter(names)
    return [
        f"{name} {_digest(options)}" if times[name] > 1 else name for name, options in zip(names, chosen, strict=True)
    ]


def _digest(options: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()[:8]


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay changes over a configuration, mapping by mapping.

    Args:
        base: The configuration.
        changes: What takes the place of its values.

    Example:
        >>> merged({"trainer": {"max_epochs": 3, "devices": 1}}, {"trainer": {"max_epochs": 5}})
        {'trainer': {'max_epochs': 5, 'devices': 1}}
    """
    both = deepcopy(dict(base))
    for key, value in changes.items():
        inner = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merged(both[key], value) if inner else deepcopy(value)
    return both


def with_options(configuration: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with some of its options set, found as on the command line.

    Args:
        configuration: What ``nnmass fit --config`` takes; class paths are whole.
        options: Values by name; the key ``init_args`` between a class and its argument may be left out.

    Example:
        >>> with_options({"data": "nnmass.datamodules.Digits"}, {"data.batch_size": 8})
        {'data': {'class_path': 'nnmass.datamodules.Digits', 'init_args': {'batch_size': 8}}}
    """
    changed = deepcopy(dict(configuration))
    for option, value in options.items():
        *way, last = option.split(".")
        inside = changed
        for key in way:
            inside = _entered(inside, key)
        if "class_path" in inside and last not in ("class_path", "init_args"):
            inside = _entered(inside, "init_args")
        inside[last] = deepcopy(value)
    return changed


def _entered(inside: dict[str, Any], key: str) -> dict[str, Any]:
    """Return what a key holds, made a mapping where it is a class by its name or missing."""
    if "class_path" in inside and key not in ("class_path", "init_args"):
        inside = _entered(inside, "init_args")
    held = inside.get(key)
    if not isinstance(held, dict):
        inside[key] = {"class_path": held} if isinstance(held, str) else {}
    entered: dict[str, Any] = inside[key]
    return entered


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(_word, value))
    if isinstance(value, Mapping):
        return "-".join(f"{key}-{_word(inner)}" for key, inner in value.items())
    return str(value).rpartition(".")[2] if isinstance(value, str) and value.count(".") > 1 else str(value)
