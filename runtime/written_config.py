"""Writing of configurations that can be read again: a value without a text is left to its default."""

from typing import Any

import torch
from jsonargparse.typing import register_type

__all__ = ["readable_again", "write_devices"]

# jsonargparse writes this in place of what it cannot write; an object there is a default, for options are text.
_UNWRITABLE = "Unable to serialize instance"


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


def _entry(value: Any, key: Any) -> Any:
    try:
        return value[key]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None


def _is_unwritable(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_UNWRITABLE)
