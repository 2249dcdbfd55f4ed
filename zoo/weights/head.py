"""The two ends of a network that depend on the data: its classifier and its first convolution."""

from typing import Any

from torch import nn

__all__ = ["classifier_names", "first_convolution", "lies_in", "num_outputs"]


def classifier_names(network: nn.Module, num_classes: int | None = None) -> tuple[str, ...]:
    """Names of the modules that make logits of features.

    A network of the zoo or of timm says it (``default_cfg``, ``get_classifier``). Of any other, such as torchvision's,
    it is the last linear layer, or convolution, in the order of its modules, among those with an output per class if
    there are any.

    Args:
        network: Any network.
        num_classes: Classes that it tells apart, if they are known.

    Returns:
        The names, of which some networks of timm have two; the empty name means the network itself.

    Raises:
        ValueError: If there is no such layer.

    Example:
        >>> classifier_names(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        ('2',)
    """
    said = _said(network, "classifier")
    modules = dict(network.named_modules())
    if said and all(name in modules for name in said):
        return said
    if callable(getattr(network, "get_classifier", None)):
        given: Any = network.get_classifier()  # type: ignore[operator]
        parts = given if isinstance(given, tuple | list) else [given]
        names = tuple(name for name, module in modules.items() if any(module is part for part in parts))
        if names:
            return names
    layers = [name for name, module in modules.items() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers:
        raise ValueError(
            f"Expected a network with a linear layer for its classifier, but got {type(network).__name__}."
        )
    fitting = [name for name in layers if num_outputs(modules[name]) == num_classes]
    return ((fitting or layers)[-1],)


def num_outputs(module: nn.Module) -> int | None:
    """Number of outputs of a linear layer or a convolution; None of any other module."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None


def first_convolution(network: nn.Module) -> str | None:
    """Name of the convolution that the images enter; None where there is none."""
    said = _said(network, "first_conv")
    modules = dict(network.named_modules())
    if said and isinstance(modules.get(said[0]), nn.Conv2d):
        return said[0]
    return next((name for name, module in modules.items() if isinstance(module, nn.Conv2d)), None)


def lies_in(name: str, modules: tuple[str, ...]) -> bool:
    """Tell whether a parameter or a buffer belongs to one of these modules, or to a module inside them.

    Example:
        >>> lies_in("head.fc.weight", ("head",)), lies_in("header.weight", ("head",))
        (True, False)
    """
    return any(not module or name.startswith(f"{module}.") for module in modules)


def _said(network: nn.Module, key: str) -> tuple[str, ...]:
    """Names that the network's own notes give, which are timm's."""
    notes: Any = getattr(network, "default_cfg", None)
    said = notes.get(key) if isinstance(notes, dict) else None
    return (said,) if isinstance(said, str) else tuple(said or ())
