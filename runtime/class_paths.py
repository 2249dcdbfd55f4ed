"""Class paths in configurations and on the command line: short as people write them, whole as runs keep them."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nnmass.runtime.strict_yaml import read_yaml

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

_NETWORK = ("model", "network")
_NAMES_A_NETWORK = ("--model.network", "--model.network.class_path")

# A name is the whole network: what a configuration has said of another must not go on. The arguments of one class are
# kept for the next as far as it has them too, so a class that has none comes between the two.
_NO_ARGUMENTS = "--model.network=torch.nn.Tanh"
_HELP = "--model.network.help"
_CONFIGS = ("--config", "-c")


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
    if keys[:2] in ((), _NETWORK) and isinstance(content, Mapping) and _network(content.get("class_path")):
        described = _network(content["class_path"])
        arguments = {**described["init_args"], **(content.get("init_args") or {})}
        content = {**content, "class_path": described["class_path"], "init_args": arguments}
    if isinstance(content, Mapping):
        return {key: whole_class_paths(part, (*keys, key)) for key, part in content.items()}
    if isinstance(content, list):
        return [whole_class_paths(part, keys) for part in content]
    if keys == _NETWORK and _network(content):
        return _network(content)
    names_a_class = keys in _BARE or keys[-1:] == ("class_path",)
    return whole_class_path(content) if names_a_class and isinstance(content, str) else content


def whole_arguments(words: Sequence[str]) -> list[str]:
    """Return command line arguments with every class path whole, and every network's name as class and arguments.

    Args:
        words: Options and their values.

    Raises:
        ValueError: If a network's name comes after its arguments, or a library has no such network.

    Example:
        >>> whole_arguments(["--data", "CIFAR10", "--output_dir=CIFAR10"])
        ['--data', 'nnmass.datamodules.CIFAR10', '--output_dir=CIFAR10']
        >>> whole_arguments(["--model.network=resnet18"])[-1]
        '--model.network={"class_path": "nnmass.zoo.ResNet", "init_args": {"depth": 18}}'
    """
    done: list[str] = []
    for option, value, written in _pairs(words):
        described = _network(value) if option in _NAMES_A_NETWORK else None
        if described:
            _require_first(option, value, done)
            done += [_NO_ARGUMENTS, f"{_NAMES_A_NETWORK[0]}={json.dumps(described)}"]
            continue
        if option in _CONFIGS and _is_of_a_named_network(value):
            done.append(_NO_ARGUMENTS)
        whole = whole_class_path(value) if _takes_a_class(option) else value
        if option == _HELP:
            whole = _network(value).get("class_path", whole)
        done += [*written[:-1], written[-1].removesuffix(value) + whole]
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


def _network(name: Any) -> dict[str, Any]:
    """Describe the network that bears a name, by class and arguments that data do not decide; empty if none does.

    Raises:
        ValueError: If the name is one of a library that has no such network.
    """
    from nnmass.zoo.networks.names import LEFT_TO_DATA, named

    found = named(name) if isinstance(name, str) else None
    if found is None:
        return {}
    arguments = {key: value for key, value in found.arguments.items() if key not in LEFT_TO_DATA}
    return {"class_path": found.class_path, "init_args": arguments}


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield options and their values where these matter here, else two empty texts; and the words as they stand."""
    left = deque(words)
    while left:
        word = left.popleft()
        option, equals, value = word.partition("=")
        if option not in _CONFIGS and not _takes_a_class(option):
            yield "", "", [word]
        elif equals:
            yield option, value, [word]
        elif left and not left[0].startswith("--"):
            yield option, left[0], [word, left.popleft()]
        else:
            yield "", "", [word]


def _is_of_a_named_network(config: str) -> bool:
    """Tell whether a configuration has a network by its name, which is then the whole network."""
    content = read_yaml(Path(config)) if Path(config).is_file() else {}
    model = content.get("model")
    network = model.get("network") if isinstance(model, Mapping) else None
    return bool(_network(network.get("class_path") if isinstance(network, Mapping) else network))


def _require_first(option: str, name: str, before: Sequence[str]) -> None:
    """Refuse arguments of a network before its name, which would be lost."""
    for word in before:
        given = word.partition("=")[0]
        if given.startswith(f"{_NAMES_A_NETWORK[0]}.") and given not in _NAMES_A_NETWORK and ".help" not in given:
            raise ValueError(f"Expected {option} {name} to come before its arguments, but got {given} before it.")


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
