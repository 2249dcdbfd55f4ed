"""Class paths in configurations and on the command line: short as people write them, whole as runs keep them."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["as_recorded", "whole_arguments", "whole_class_path", "whole_class_paths"]

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGE = "nnmass"
_FOLDERS = ("zoo", "datamodules", "callbacks")

# What records name by the module in which it was when the first runs were made, and where it is.
_MOVED = {"zoo.classifier.papers_sgd": "zoo.training.classifier.papers_sgd"}
_AS_FIRST = {now: first for first, now in _MOVED.items()}

# Where a configuration may name a class without the key class_path, and where a list of them.
_BARE = (("model", "network"), ("model", "optimizer"), ("data",), ("trainer", "callbacks"))
_OPTIONS = tuple(f"--{'.'.join(keys)}" for keys in _BARE)
_ENDINGS = (".class_path", ".help")


def whole_class_path(name: str) -> str:
    """Return the whole path of a class of this package, for its own name or the spelling of earlier configurations.

    Another package may have the name of one of the folders here, such as a project's own ``datamodules/``: then a class
    of that package is meant, if it has one of that name.

    Args:
        name: A class's own name, or a path; what is no class of this package is returned as it is.

    Example:
        >>> whole_class_path("RandomSkipMLP"), whole_class_path("datamodules.MNIST")
        ('nnmass.zoo.RandomSkipMLP', 'nnmass.datamodules.MNIST')
        >>> whole_class_path("torch.optim.SGD")
        'torch.optim.SGD'
    """
    folder, dot, rest = name.partition(".")
    if not dot:
        return next((f"{_PACKAGE}.{one}.{name}" for one in _FOLDERS if name in _public_names(one)), name)
    if folder not in _FOLDERS or _is_anothers(folder, rest):
        return name
    own = name.rpartition(".")[2]
    return f"{_PACKAGE}.{folder}.{own}" if own in _public_names(folder) else f"{_PACKAGE}.{_MOVED.get(name, name)}"


def whole_class_paths(content: Any, keys: tuple[str, ...] = ()) -> Any:
    """Return a configuration, or a part of it, with every class path whole.

    Args:
        content: Keys and values, as YAML gives them.
        keys: The keys that lead to the part.

    Example:
        >>> whole_class_paths({"model": {"network": {"class_path": "ResNet"}}, "data": "CIFAR10"})
        {'model': {'network': {'class_path': 'nnmass.zoo.ResNet'}}, 'data': 'nnmass.datamodules.CIFAR10'}
    """
    if isinstance(content, Mapping):
        return {key: whole_class_paths(part, (*keys, key)) for key, part in content.items()}
    if isinstance(content, list):
        return [whole_class_paths(part, keys) for part in content]
    names_a_class = keys in _BARE or keys[-1:] == ("class_path",)
    return whole_class_path(content) if names_a_class and isinstance(content, str) else content


def whole_arguments(words: Sequence[str]) -> list[str]:
    """Return command line arguments with every class path whole.

    Args:
        words: Options and their values.

    Example:
        >>> whole_arguments(["--data", "CIFAR10", "--output_dir=CIFAR10"])
        ['--data', 'nnmass.datamodules.CIFAR10', '--output_dir=CIFAR10']
    """
    done: list[str] = []
    before = ""
    for word in words:
        option, equals, value = word.partition("=")
        if _takes_a_class(before):
            word = whole_class_path(word)
        elif equals and _takes_a_class(option):
            word = f"{option}={whole_class_path(value)}"
        done.append(word)
        before = word
    return done


def as_recorded(value: Any) -> Any:
    """Return a configuration with its class paths as records of runs have them: without the package's name.

    The first runs named the classes so; what identifies a run or a row of a study is therefore independent of it.

    Args:
        value: A configuration, or a part of it; its class paths are whole.

    Example:
        >>> as_recorded({"class_path": "nnmass.zoo.RandomSkipMLP", "init_args": {"depth": 4}})
        {'class_path': 'zoo.RandomSkipMLP', 'init_args': {'depth': 4}}
    """
    if isinstance(value, Mapping):
        return {key: as_recorded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [as_recorded(part) for part in value]
    if isinstance(value, str) and value.startswith(tuple(f"{folder}." for folder in _FOLDERS)):
        return value if whole_class_path(value) != value else f"./{value}"  # another package's class of that name
    if isinstance(value, str) and value.startswith(tuple(f"{_PACKAGE}.{folder}." for folder in _FOLDERS)):
        recorded = value.removeprefix(f"{_PACKAGE}.")
        return _AS_FIRST.get(recorded, recorded)
    return value


def _takes_a_class(option: str) -> bool:
    """Tell whether an option's value is the path of a class."""
    return option.startswith("--") and (option.endswith(_ENDINGS) or option.removesuffix("+") in _OPTIONS)


@cache
def _public_names(folder: str) -> frozenset[str]:
    """Names that a folder of this package offers; none of their modules is loaded for that."""
    return frozenset(import_module(f"{_PACKAGE}.{folder}").__all__)


def _is_anothers(folder: str, name: str) -> bool:
    """Tell whether ``folder`` is another package than the one here, and not without a name that is public here."""
    spec = find_spec(folder)
    if spec is None or _ROOT / folder in (Path(place).resolve() for place in spec.submodule_search_locations or ()):
        return False
    try:
        return name not in _public_names(folder) or hasattr(import_module(folder), name)
    except Exception:  # its own, of which whoever loads the class will tell
        return True
