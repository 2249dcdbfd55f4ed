"""Names of the networks of libraries: ``timm/NAME`` or ``torchvision/NAME``; loads no library before it is asked."""

from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from nnmass.zoo.libraries.library import Library

__all__ = ["LIBRARIES", "Named", "library_name_of", "library_named", "library_names", "near_name"]

LIBRARIES = ("timm", "torchvision")
"""Libraries whose networks are known as ``LIBRARY/NAME``."""

_MODULES = "nnmass.zoo.libraries"


class Named(NamedTuple):
    """A network as a configuration describes it.

    Attributes:
        class_path: Its class.
        arguments: The arguments that its name stands for.
    """

    class_path: str
    arguments: dict[str, Any]


def library_named(name: str) -> Named | None:
    """Find the class and the arguments that the name of a library's network stands for.

    Args:
        name: ``LIBRARY/NAME`` or ``LIBRARY/NAME.TAG``, or one of timm's alone.

    Returns:
        None if it is the name of no network; it may be that of a class.

    Raises:
        ValueError: If a library has no network of that name; the message names the nearest.

    Example:
        >>> library_named("timm/resnet18.a1_in1k")
        Named(class_path='nnmass.zoo.libraries.timm.resnet18', arguments={'tag': 'a1_in1k'})
    """
    library, slash, rest = name.partition("/")
    if slash and library in LIBRARIES:
        return _of_library(library, rest)
    own = name.partition(".")[0]
    if own.isidentifier() and own == own.lower() and own in _library("timm").names():
        return _of_library("timm", name)
    return None


def library_names(pattern: str) -> list[str]:
    """List the networks of a library that match a shell-style pattern such as ``timm/convnext_*``, sorted.

    Args:
        pattern: It begins with the library's name; else nothing matches.
    """
    library = pattern.partition("/")[0]
    if library not in LIBRARIES or "/" not in pattern:
        return []
    return sorted(name for name in _whole_names(library) if fnmatchcase(name, pattern))


def library_name_of(class_path: str) -> str | None:
    """Return the name of a library's network by the path of its class; None for any other class.

    Args:
        class_path: The class.
    """
    module, _, own = class_path.rpartition(".")
    library = module.removeprefix(f"{_MODULES}.")
    return f"{library}/{own}" if library in LIBRARIES and module != library else None


def near_name(name: str, others: list[str]) -> str:
    """Write the nearest name of a network as the end of a sentence on one that is not known; empty if none is near.

    Args:
        name: The name.
        others: Names beside those of the libraries.
    """
    near = get_close_matches(name, [*others, *_library("timm").names(), *_whole_names("torchvision")], n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _of_library(library: str, rest: str) -> Named:
    from nnmass.zoo.libraries.library import require_name

    own, _, tag = rest.partition(".")
    require_name(_library(library), own)
    return Named(f"{_MODULES}.{library}.{own}", {"tag": tag} if tag else {})


def _library(name: str) -> "Library":
    library: Library = import_module(f"{_MODULES}.{name}").LIBRARY
    return library


def _whole_names(library: str) -> Iterator[str]:
    return (f"{library}/{name}" for name in _library(library).names())
