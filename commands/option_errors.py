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
_UNKNOWN_ARGUMENT = re.compile(r"Option '([^']+)' is not accepted")
_CLASS_PATH = re.compile(r"class_path'?[ :=]+'([^']+)'")
_NOT_A_CLASS = re.compile(r"Expected a path but (\S+) either")
_NO_SUCH_CLASS = re.compile(r"Problem with given class_path '([^']+)': (?:module '|No module named)")
_MISSING = re.compile(r"arguments are required: (.+)")
_KEY = re.compile(r'[Pp]arser key "([^"]+)"')
_VALUE = re.compile(r"(?:Given value: |Got value: )(.+?)\s*$")
_TYPE = re.compile(r"Expected an? <class '([^']+)'>")
_CHOICES = re.compile(r"typing\.Literal\[([^\]]+)\]")

# A class to name as an example, by the key that takes it.
_EXAMPLES = {"model.network": "zoo.RandomSkipDenseNet", "data": "datamodules.CIFAR10"}


def explain(error: ArgumentError, parser: ArgumentParser) -> str:
    """Turn a parser's error into one sentence, with the nearest known name.

    Args:
        error: What jsonargparse raised.
        parser: The parser of the subcommand, for the names it knows.
    """
    text = " ".join(str(error).split())
    if found := _UNKNOWN_OPTION.search(text) or _UNKNOWN_KEY.search(text):
        name = found[1].removeprefix("--")
        return f"Expected a known option or key, but got {name!r}{_near(name, _options(parser))}"
    key = ".".join(_KEY.findall(text))
    if found := _UNKNOWN_ARGUMENT.search(text):
        classes = _CLASS_PATH.findall(text)
        owner = classes[0] if classes else "its class"
        near = _near(found[1], _parameters(owner))
        return f"Expected {key} to have only arguments of {owner}, but got {found[1]!r}{near}"
    if found := _NOT_A_CLASS.search(text) or _NO_SUCH_CLASS.search(text):
        return _not_a_class(key, found[1])
    if found := _MISSING.search(text):
        return f"Expected {found[1]} to be given, in a --config file or as options, but got nothing."
    value = _VALUE.search(text)
    if key and value:
        return f"Expected {key} to be {_expected(key, text, parser)}, but got {value[1]}."
    return text if text.startswith("Expected ") else f"Expected options that can be understood, but: {text}"


def _not_a_class(key: str, class_path: str) -> str:
    module = class_path.rpartition(".")[0] or _EXAMPLES.get(key, "zoo.").rpartition(".")[0]
    known = (f"{module}.{name}" for name in getattr(_module(module), "__all__", ()))
    example = f", such as {_EXAMPLES[key]}," if key in _EXAMPLES else ""
    return f"Expected {key} to be a class by its full name{example} but got {class_path}{_near(class_path, known)}"


def _expected(key: str, text: str, parser: ArgumentParser) -> str:
    """What the option takes: its choices or its types."""
    for action in parser._actions:
        if action.dest == key:
            text += f" {getattr(action, '_typehint', '')}"
    choices = re.findall(r"'([^']+)'", " ".join(_CHOICES.findall(text)))
    if choices:
        return f"one of {', '.join(dict.fromkeys(choices))}"
    types = (name.removeprefix("collections.abc.").lower() for name in _TYPE.findall(text) if name != "NoneType")
    return " or ".join(dict.fromkeys(types)) or "another type"


def _options(parser: ArgumentParser) -> list[str]:
    return [action.dest for action in parser._actions]


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else "."


def _parameters(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    names: list[str] = []
    for base in getattr(getattr(_module(module), name, None), "__mro__", ()):
        if "__init__" in vars(base):
            names += inspect.signature(base.__init__).parameters
    return [name for name in names if name not in ("self", "args", "kwargs")]


def _module(name: str) -> object:
    try:
        return import_module(name)
    except (ImportError, ValueError):
        return None
