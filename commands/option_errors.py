"""What is wrong with an option or a configuration key, in one sentence that names it."""

import inspect
import re
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

__all__ = ["explain"]

_UNKNOWN_OPTION = re.compile(r"unrecognized arguments: (--[^\s=]+)")
_UNKNOWN_KEY = re.compile(r"does not accept (?:nested )?(?:option|key) '([^']+)'")
_UNKNOWN_ARGUMENT = re.compile(r"""key "([^"]+)".*class_path '([^']+)'.*Option '([^']+)' is not accepted""", re.DOTALL)
_UNKNOWN_CLASS = re.compile(r"""key "([^"]+)":.*Expected a path but (\S+) either""", re.DOTALL)
_MISSING = re.compile(r"arguments are required: (.+)")
_WRONG_TYPE = re.compile(r"""(?:Given value: |Got value: )(.+?)\s*$""")


def explain(error: ArgumentError, parser: ArgumentParser) -> str:
    """Turn a parser's error into one sentence, with the nearest known name.

    Args:
        error: What jsonargparse raised.
        parser: The parser of the subcommand, for the names it knows.
    """
    text = " ".join(str(error).split())
    known = [action.dest for action in parser._actions]
    if found := _UNKNOWN_OPTION.search(text) or _UNKNOWN_KEY.search(text):
        return _unknown(found[1].removeprefix("--"), known)
    if found := _UNKNOWN_ARGUMENT.search(text):
        key, class_path, name = found.groups()
        near = _near(name, _parameters(class_path))
        return f"Expected {key} to have only arguments of {class_path}, but got {name!r}{near}"
    if found := _UNKNOWN_CLASS.search(text):
        key, class_path = found.groups()
        module = class_path.rpartition(".")[0] or "zoo"
        near = _near(class_path, (f"{module}.{name}" for name in getattr(_module(module), "__all__", ())))
        return (
            f"Expected {key} to be a class by its full name, such as zoo.RandomSkipDenseNet, but got {class_path}{near}"
        )
    if found := _MISSING.search(text):
        return f"Expected {found[1]} to be given, in a --config file or as options, but got nothing."
    keys = re.findall(r"""[Pp]arser key "([^"]+)\"""", text)
    if keys and (found := _WRONG_TYPE.search(text)):
        types = dict.fromkeys(re.findall(r"Expected an? (?:<class '([^']+)'>)", text))
        expected = " or ".join(name.removeprefix("collections.abc.").lower() for name in types) or "another type"
        return f"Expected {'.'.join(keys)} to be {expected}, but got {found[1]}."
    return text


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"Expected a known option or key, but got {name!r}{_near(name, known)}"


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else "."


def _parameters(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    return list(inspect.signature(getattr(_module(module), name)).parameters)


def _module(name: str) -> object:
    try:
        return import_module(name)
    except ImportError:
        return None
