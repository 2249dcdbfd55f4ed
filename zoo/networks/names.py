"""Names of networks, whether of the zoo or of a library, and what each stands for."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from nnmass.zoo.libraries.names import Named, library_name_of, library_named, near_name
from nnmass.zoo.networks.variants import VARIANTS, Variant

__all__ = ["LEFT_TO_DATA", "name_of", "named", "near_names"]

LEFT_TO_DATA = frozenset({"num_classes", "in_chans", "in_features"})
"""Arguments of networks that the data decide, whatever a name says of them."""

_LEFT_OPEN = LEFT_TO_DATA | {"share_outputs", "seed"}


def named(name: str) -> Named | None:
    """Find the class and the arguments that a name stands for.

    Args:
        name: Of the zoo, of a library as ``LIBRARY/NAME`` or ``LIBRARY/NAME.TAG``, or of timm alone.

    Returns:
        None if it is the name of no network; it may be that of a class.

    Raises:
        ValueError: If a library has no network of that name; the message names the nearest.

    Example:
        >>> named("resnet18")
        Named(class_path='nnmass.zoo.ResNet', arguments={'depth': 18})
    """
    if name in VARIANTS:
        return Named(_class_path(VARIANTS[name]), dict(VARIANTS[name].arguments))
    return library_named(name)


def near_names(name: str) -> str:
    """Write the nearest name of a network as the end of a sentence on one that is not known; empty if none is near."""
    return near_name(name, list(VARIANTS))


def name_of(class_path: str, arguments: Mapping[str, Any]) -> str | None:
    """Find the name of a network that is described by its class and its arguments.

    Args:
        class_path: Its class.
        arguments: The class's arguments; what the data and the seed decide has no say.

    Returns:
        None for a network without a name.

    Example:
        >>> name_of("nnmass.zoo.ResNet", {"depth": 18, "width_factor": 1.5, "num_classes": 10})
        'wrn18_1p5'
        >>> name_of("nnmass.zoo.libraries.timm.convnext_tiny", {"drop_path_rate": 0.1})
        'timm/convnext_tiny'
    """
    alike = [name for name, variant in VARIANTS.items() if _class_path(variant) == class_path]
    if not alike:
        return library_name_of(class_path)
    module, _, own = class_path.rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), own)).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}

    def settled(given: Mapping[str, Any]) -> dict[str, Any]:
        both = {key: value for key, value in {**defaults, **given}.items() if key not in _LEFT_OPEN}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in both.items()}

    wanted = settled(arguments)
    return next((name for name in alike if settled(VARIANTS[name].arguments) == wanted), None)


def _class_path(variant: Variant) -> str:
    return f"nnmass.zoo.{variant.builder.partition(':')[2]}"
