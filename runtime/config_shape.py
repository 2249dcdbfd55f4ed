"""Structure of a configuration: sections, classes and their arguments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["require_shape"]

_SECTIONS = ("model", "data", "trainer")
_CLASSES = (("model", "network"), ("model", "optimizer"), ("data",))  # each by its name, or with arguments


def require_shape(content: Mapping[Any, Any], path: Path) -> None:
    """Refuse a configuration without the structure that all have, whatever the classes in it.

    Args:
        content: Keys and values, as YAML gives them.
        path: The file, for the message.

    Raises:
        ValueError: If something else stands where keys and values belong; the message names the key.

    Example:
        >>> network = {"class_path": "nnmass.zoo.RandomSkipMLP", "init_args": 5}
        >>> require_shape({"model": {"network": network}}, Path("a.yaml"))
        Traceback (most recent call last):
            ...
        ValueError: Expected keys and values under model.network.init_args in a.yaml, but it holds 5.
    """
    for name in _SECTIONS:
        if name in content and not (name == "data" and isinstance(content[name], str)):
            _require_keys(content[name], name, path)
    for way in _CLASSES:
        value: Any = content
        for key in way:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and not isinstance(value, str | Mapping):
            raise ValueError(
                f"Expected {'.'.join(way)} in {path} to be a class by its full name, or keys and values, "
                f"but got {value}."
            )
    _require_parts(content, "", path)


def _require_parts(value: Any, key: str, path: Path) -> None:
    """Check all that is inside a value."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            _require_parts(part, f"{key}[{index}]", path)
    if not isinstance(value, Mapping):
        return
    for name, part in value.items():
        if not isinstance(name, str):
            section = f" under {key}" if key else ""
            raise ValueError(f"Expected keys{section} in {path} to be words, but got {name!r}.")
        _require_parts(part, f"{key}.{name}" if key else name, path)
    if "class_path" in value:
        if not isinstance(value["class_path"], str):
            raise ValueError(
                f"Expected {key}.class_path in {path} to be the full name of a class, but got {value['class_path']}."
            )
        if value.get("init_args") is not None:
            _require_keys(value["init_args"], f"{key}.init_args", path)


def _require_keys(value: Any, key: str, path: Path) -> None:
    if not isinstance(value, Mapping):
        content = "nothing" if value is None else value
        raise ValueError(f"Expected keys and values under {key} in {path}, but it holds {content}.")
