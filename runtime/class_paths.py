"""Class paths in configurations and in records of runs."""

from collections.abc import Mapping
from typing import Any

__all__ = ["as_recorded"]

_PACKAGE = "nnmass."
_FOLDERS = ("zoo.", "datamodules.", "callbacks.")


def as_recorded(value: Any) -> Any:
    """Return a configuration with its class paths as records of runs have them: without the package's name.

    The first runs named the classes so; what identifies a run or a row of a study is therefore independent of it.

    Args:
        value: A configuration, or a part of it.

    Example:
        >>> as_recorded({"class_path": "nnmass.zoo.RandomSkipMLP", "init_args": {"depth": 4}})
        {'class_path': 'zoo.RandomSkipMLP', 'init_args': {'depth': 4}}
    """
    if isinstance(value, Mapping):
        return {key: as_recorded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [as_recorded(part) for part in value]
    if isinstance(value, str) and value.removeprefix(_PACKAGE).startswith(_FOLDERS):
        return value.removeprefix(_PACKAGE)
    return value
