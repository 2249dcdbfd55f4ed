"""Sentences on what is wrong with an option or a configuration key, each naming it."""

import inspect
import re
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

from nnmass.zoo.networks.names import near_names

__all__ = ["explain"]

_UNKNOWN_OPTION = re.compile(r"unrecognized arguments: (--[^\s=]+)")
_UNKNOWN_WORD = re.compile(r"unrecognized arguments: (\S+)")
_NO_VALUE = re.compile(r"argument (?:\S+/)?(--\S+): expected one argument")
_UNKNOWN_KEY = re.compile(r"does not accept (?:nested )?(?:option|key) '([^']+)'")
_UNKNOWN_ARGUMENT = re.compile(r"Option '([^']+)' is not accepted")
_CLASS_PATH = re.compile(r"class_path'?[ :=]+'([^']+)'")
_NO_SUCH_CLASS = re.compile(
    r"Expected a path but (\S+) either|Expected a dot import path string: (\S+)"
    r"|Problem with given class_path '([^']+)': (?:module '|No module named|No [\w.]+ attribute )"
    r"|Import path (\S+) does not correspond"
)
_MISSING = re.compile(r"arguments are required: ([\w.]+(?:, [\w.]+)*)")
_INCOMPLETE = re.compile(r"given class_path '([^']+)': the following arguments are required: ([\w.]+(?:, [\w.]+)*)")
_LINKED = re.compile(r"argument \S+ --> (\S+): ")
_KEY = re.compile(r'[Pp]arser key "([^"]+)"')
_VALUE = re.compile(r"(?:Given value|Got value): ?(.*?)(?:\.? ?(?:Got value:|- Expected a ).*)?\s*$")
_HELP = re.compile(r" (?:Subclass types expect|Given value)\b")  # what jsonargparse appends to a value
_TYPE = re.compile(r"Expected an? <class '([^']+)'>")
_CHOICES = re.compile(r"typing\.Literal\[([^\]]+)\]")

# A class to name as an example, and modules whose classes may have been meant, by the key that takes a class.
_EXAMPLES = {
    "model.network": "nnmass.zoo.RandomSkipDenseNet",
    "model.optimizer": "torch.optim.SGD",
    "data": "nnmass.datamodules.CIFAR10",
    "trainer.callbacks": "pytorch_lightning.callbacks.EarlyStopping",
    "trainer.logger": "pytorch_lightning.loggers.WandbLogger",
}
_SECTIONS = {"model": "--model.network nnmass.zoo.RandomSkipMLP", "trainer": "--trainer.max_epochs 3"}
_MODULES = {
    "model.network": ("nnmass.zoo",),
    "model.optimizer": ("torch.optim",),
    "data": ("nnmass.datamodules",),
    "trainer.callbacks": ("nnmass.callbacks", "pytorch_lightning.callbacks"),
    "trainer.logger": ("pytorch_lightning.loggers",),
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "dict": "keys and values",
    **dict.fromkeys(("list", "tuple", "collections.abc.Sequence", "collections.abc.Iterable"), "a list"),
}


def explain(error: ArgumentError, parser: ArgumentParser) -> str:
    """Turn a parser's error into one sentence, with the nearest known name.

    Args:
        error: What jsonargparse raised.
        parser: The parser of the subcommand, for the names it knows.
    """
    text = " ".join(str(error).split())
    key = ".".join(_KEY.findall(text))
    named = set(_KEY.findall(text))
    for section in named & set(_SECTIONS) if len(named) == 1 else ():
        return f"Expected {section} to be given key by key, such as {_SECTIONS[section]}."
    if match := _LINKED.search(text):
        return f"Expected {match[1]} to be left to the data."
    return (
        _unknown(text, key, parser)
        or _lacking(text)
        or _not_a_class(text, key)
        or _wrong_value(text, key, parser)
        or (text if text.startswith("Expected ") else f"Expected options that can be understood, but: {text}")
    )


def _unknown(text: str, key: str, parser: ArgumentParser) -> str:
    """An option, key or argument that does not exist."""
    if match := _UNKNOWN_OPTION.search(text) or _UNKNOWN_KEY.search(text):
        name = match[1].removeprefix("--")
        return f"Expected a known option or key, but got {name!r}{_near_option(name, parser)}"
    if match := _UNKNOWN_WORD.search(text):
        return f"Expected options that begin with --, but got {match[1]!r}; a configuration is named by --config."
    if match := _UNKNOWN_ARGUMENT.search(text):
        classes = _CLASS_PATH.findall(text)
        if not classes and not key:
            return f"Expected a known option or key, but got {match[1]!r}{_near_option(match[1], parser)}"
        owner = classes[0] if classes else "its class"
        near = _near(match[1], _parameters(owner))
        return f"Expected {key} to have only arguments of {owner}, but got {match[1]!r}{near}"
    return ""


def _lacking(text: str) -> str:
    """Something that should be there."""
    if match := _NO_VALUE.search(text):
        return f"Expected {match[1]} to be followed by a value, but got nothing."
    if match := _INCOMPLETE.search(text):
        return f"Expected {match[1]} to be given {match[2]}, but got nothing."
    if match := _MISSING.search(text):
        return (
            f"Expected {match[1]} to be given, in a --config file or as options, but got nothing; "
            "nnmass list configs names configurations."
        )
    return ""


def _not_a_class(text: str, key: str) -> str:
    """A name that is not that of a class, where there should be one."""
    if "linked_targets" in text:
        return f"Expected {key} to be a class, but got a function; a class of your own may call it."
    match = _NO_SUCH_CLASS.search(text)
    if not match or (key not in _EXAMPLES and _TYPE.search(text)):
        return ""
    name = next(group for group in match.groups() if group).rstrip(",")
    example = f", such as {_EXAMPLES[key]}," if key in _EXAMPLES else ""
    near = _near_class(name, [*_MODULES.get(key, ()), *filter(None, [name.rpartition(".")[0]])])
    if key == "model.network" and "." not in name:
        named = near_names(name)
        near = f"; {named}" if named else near
    hint = near or "; modules are looked for in this folder and on PYTHONPATH."
    return f"Expected {key} to be a class by its full name{example} but got {name}{hint}"


def _wrong_value(text: str, key: str, parser: ArgumentParser) -> str:
    value = _VALUE.search(text)
    if not key or not value:
        return ""
    classes = _CLASS_PATH.findall(value[1])
    given = classes[0] if classes else _HELP.split(value[1])[0]
    return f"Expected {key} to be {_expected(key, text, parser, given)}, but got {given or repr('')}."


def _expected(key: str, text: str, parser: ArgumentParser, given: str) -> str:
    """Values that an option takes: its choices or its types."""
    for action in parser._actions:
        if action.dest == key:
            text += f" {getattr(action, '_typehint', '')}"
    choices = re.findall(r"'([^']+)'", " ".join(_CHOICES.findall(text)))
    if choices:
        return f"one of {', '.join(dict.fromkeys(choices))}"
    names = list(dict.fromkeys(name for name in _TYPE.findall(text) if name in _WORDS))
    if "float" in names:
        names = [name for name in names if name != "int"]
        if given.lstrip("-") in ("nan", "inf"):
            return "a finite number"
    example = f"a class by its full name, such as {_EXAMPLES[key]}" if key in _EXAMPLES else "of another kind"
    return " or ".join(dict.fromkeys(_WORDS[name] for name in names)) or example


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."


def _near_option(name: str, parser: ArgumentParser) -> str:
    """The nearest name of all, or else the one whose last part is near."""
    known = [action.dest for action in parser._actions]
    tails = {option.rpartition(".")[2]: option for option in reversed(known)}
    tail = get_close_matches(name.rpartition(".")[2], tails, n=1, cutoff=0.75)
    near = get_close_matches(name, known, n=1) or [tails[one] for one in tail]
    return f"; did you mean {near[0]!r}?" if near else "."


def _near_class(name: str, modules: Iterable[str]) -> str:
    """The class of these modules whose own name is nearest."""
    known: dict[str, str] = {}
    for module in modules:
        names = getattr(_module(module), "__all__", None) or dir(_module(module))
        known |= {
            one: f"{module}.{one}" for one in reversed(names) if inspect.isclass(getattr(_module(module), one, None))
        }
    near = get_close_matches(name.rpartition(".")[2], known, n=1)
    return f"; did you mean {known[near[0]]!r}?" if near and known[near[0]] != name else ""


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
