"""Writing of configurations that can be read again: a value without a text is left to its default."""

from typing import Any

import torch
from jsonargparse.typing import register_type

__all__ = ["readable_again", "without_open_arguments", "write_devices"]

# jsonargparse writes this in place of what it cannot write; an object there is a default, for options are text.
_UNWRITABLE = "Unable to serialize instance"

_LIBRARIES = "nnmass.zoo.libraries."


def write_devices() -> None:
    """Let ``torch.device`` be written and read by its name, such as ``cuda:1``."""
    errors = (ValueError, TypeError, AttributeError, RuntimeError)
    register_type(torch.device, str, torch.device, deserializer_exceptions=errors)


def readable_again(written: Any, value: Any) -> Any:
    """A configuration as plain values, without the objects that jsonargparse could not write: they are defaults.

    Args:
        written: What it has written: mappings, lists and plain values.
        value: What is written there; words that it could not write, such as a function's name, are taken from here.

    Example:
        >>> no = "Unable to serialize instance "
        >>> readable_again({"lr": 0.1, "name": no + "l1", "function": no + "<...>"}, {"name": "l1", "function": abs})
        {'lr': 0.1, 'name': 'l1'}
    """
    if isinstance(written, dict):
        pairs = {key: readable_again(inner, _entry(value, key)) for key, inner in written.items()}
        return {key: inner for key, inner in pairs.items() if not _is_unwritable(inner)}
    if isinstance(written, list):
        return [readable_again(inner, _entry(value, index)) for index, inner in enumerate(written)]
    return value if _is_unwritable(written) and isinstance(value, str) else written


def without_open_arguments(configuration: dict[str, Any]) -> dict[str, Any]:
    """A configuration without those arguments of another library's network that are left to the library.

    Which arguments there are depends on the library's version, of which a run's identity is thus independent.

    Args:
        configuration: What ``nnmass fit`` was given, defaults and all.

    Example:
        >>> network = {"class_path": "nnmass.zoo.libraries.timm.resnet18", "init_args": {"tag": None, "drop_rate": 0.1}}
        >>> without_open_arguments({"model": {"network": network}})["model"]["network"]["init_args"]
        {'drop_rate': 0.1}
    """
    network = configuration["model"]["network"]
    if not str(network.get("class_path")).startswith(_LIBRARIES):
        return configuration
    chosen = {key: value for key, value in (network.get("init_args") or {}).items() if value is not None}
    described = {"class_path": network["class_path"]} | ({"init_args": chosen} if chosen else {})
    return {**configuration, "model": {**configuration["model"], "network": described}}


def _entry(value: Any, key: Any) -> Any:
    try:
        return value[key]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None


def _is_unwritable(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_UNWRITABLE)
