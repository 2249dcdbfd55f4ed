"""A library's networks by name: built from a seed, and as classes whose arguments a configuration can hold."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_origin

import torch
from torch import nn

from nnmass.zoo.seeding import seeded

__all__ = ["Library", "LibraryNetwork", "build_network", "built_on_meta", "network_class", "require_name"]

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_PLAIN = (int, float, bool, str, type(None))
_NO_OPTIONS = ("num_classes", "in_chans", "tag", "pretrained", "data_shape", "seed", "device", "dtype")


@dataclass(frozen=True, eq=False)
class Library:
    """A library of networks.

    Attributes:
        name: In front of the names of its networks, as in ``timm/convnext_tiny``.
        names: Lists its networks.
        build: Builds one, from its name, the tag of its weights, whether to load them, and its arguments.
        sizes: What a network takes that must know the size of its images, (height, width) in px, by argument.
    """

    name: str
    names: Callable[[], list[str]]
    build: Callable[[str, str, bool, dict[str, Any]], nn.Module]
    sizes: Mapping[str, Callable[[int, int], Any]]


class LibraryNetwork(nn.Module):
    """A network of a library, as a class that a configuration can name; calling it returns the library's own module.

    Args:
        num_classes: Classes; by default as many as the library's network has.
        in_chans: Channels of an image.
        tag: Of the weights, where the library has several sets.
        pretrained: Ask the library for its weights, which it may download.
        data_shape: Shape of one sample, (channels, height, width) in px, for networks of one size of image.
        seed: Decides the initial weights, which the library draws in its own way.
    """

    library: Library
    name: str

    def __new__(cls, **arguments: Any) -> Any:
        """Build the network; arguments that are None are left to the library."""
        return build_network(cls.library, cls.name, **arguments)


def build_network(
    library: Library,
    name: str,
    tag: str | None = None,
    pretrained: bool | None = False,
    data_shape: tuple[int, ...] | None = None,
    seed: int | None = 0,
    **arguments: Any,
) -> nn.Module:
    """Build a network of a library.

    Args:
        library: The library.
        name: The network's name there.
        tag: Of its weights.
        pretrained: Load the library's weights, which it may download.
        data_shape: Shape of one sample, (channels, height, width) in px.
        seed: Decides the initial weights.
        arguments: The network's own, such as ``num_classes``; what is None is left to the library.

    Raises:
        ValueError: If there is no such network, or the library cannot build it with these arguments.
    """
    require_name(library, name)
    given = {key: value for key, value in arguments.items() if value is not None}
    if data_shape is not None:
        given = _sized(library, name, data_shape) | given
    try:
        with seeded(seed or 0):
            return library.build(name, tag or "", bool(pretrained), given)
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, LookupError) as error:
        raise ValueError(_refusal(library, name, given, error)) from error


def built_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network on the meta device, where weights take no memory; on the processor if it computes with values.

    Args:
        build: Builds the network; it may be called twice, as torchvision's RegNets need it.

    Example:
        >>> built_on_meta(lambda: nn.Linear(3, 2)).weight.is_meta
        True
    """
    try:
        with torch.device("meta"):
            return build()
    except Exception:  # a network may fail there in any way; what fails on the processor too is raised
        with torch.device("cpu"):
            return build()


@cache
def network_class(library: Library, name: str, module: str) -> type[LibraryNetwork]:
    """Return a network as a class, whose signature has the arguments of the class that the library builds it from.

    Args:
        library: The library.
        name: The network's name there.
        module: The module that has the class as an attribute.

    Raises:
        AttributeError: If there is no such network.
    """
    if name not in library.names():
        raise AttributeError(f"{library.name} has no network {name!r}.")

    def initialise(self: Any, **arguments: Any) -> None:
        """Take the arguments; the network is built by ``__new__``."""

    kinds: dict[str, Any] = {
        "num_classes": int | None,
        "in_chans": int | None,
        "tag": str | None,
        "pretrained": bool | None,
    }
    kinds |= {"data_shape": tuple[int, ...] | None, "seed": int | None}
    kinds |= {
        key: _kind(parameter.annotation)
        for key, parameter in _parameters(library, name).items()
        if key not in _NO_OPTIONS
    }
    # By default all is left to the library: what it chooses for one network is not what its class would.
    keywords = [inspect.Parameter(key, _KEYWORD, default=None, annotation=kind) for key, kind in kinds.items()]
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    initialise.__signature__ = inspect.Signature([own, *keywords])  # type: ignore[attr-defined]
    entries = {"__module__": module, "__init__": initialise, "__doc__": LibraryNetwork.__doc__}
    return type(name, (LibraryNetwork,), {**entries, "library": library, "name": name})


def require_name(library: Library, name: str) -> None:
    """Refuse a name that the library does not have.

    Raises:
        ValueError: If it is none; the message names the nearest.
    """
    names = library.names()
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {library.name}/{near[0]}?" if near else f"it has {len(names):,}, such as {names[0]}."
        raise ValueError(f"Expected a network that {library.name} has, but got {library.name}/{name}; {hint}")


@cache
def _parameters(library: Library, name: str) -> dict[str, inspect.Parameter]:
    """Return the named parameters of the class that a network is of, and of its bases as far as it passes others on."""
    with seeded(0):
        kind = type(built_on_meta(lambda: library.build(name, "", False, {})))
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        named = {
            key: parameter
            for key, parameter in list(parameters.items())[1:]
            if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, _KEYWORD)
        }
        found = {**named, **found}
        if all(parameter.kind != inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found


def _kind(annotation: Any) -> Any:
    """Return the type of an argument that a text can give; anything else is taken as it is."""
    return annotation | None if annotation in _PLAIN else annotation if _is_plain(annotation) else Any


def _is_plain(annotation: Any) -> bool:
    inner = [one for one in get_args(annotation) if one is not Ellipsis]
    if get_origin(annotation) is None or type(None) not in inner:
        return False
    return all(one in _PLAIN for one in inner)


def _sized(library: Library, name: str, data_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what a network of one size of image is told of it.

    Raises:
        ValueError: If the samples are no images.
    """
    if len(data_shape) != 3:
        shape = " x ".join(map(str, data_shape))
        raise ValueError(f"Expected {library.name}/{name} to be given images, but the samples are {shape} numbers.")
    parameters = _parameters(library, name)
    return {key: size(*data_shape[1:]) for key, size in library.sizes.items() if key in parameters}


def _refusal(library: Library, name: str, given: Mapping[str, Any], error: Exception) -> str:
    """Write why a library cannot build a network, with the nearest argument for one that it does not know."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if text.startswith("Expected "):
        return f"{text}."
    unknown = [key for key in given if f"'{key}'" in text] if "unexpected keyword" in text else []
    if unknown:
        near = get_close_matches(unknown[0], _parameters(library, name), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return f"Expected {library.name}/{name} to have the argument, but got {unknown[0]!r}{hint}"
    with_what = ", ".join(f"{key} {value}" for key, value in given.items()) or "its own arguments"
    return f"Expected {library.name}/{name} to be built with {with_what}, but {library.name} says: {text}."
