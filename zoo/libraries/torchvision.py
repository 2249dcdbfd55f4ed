"""The networks of torchvision: ``torchvision/resnet50`` is ``nnmass.zoo.libraries.torchvision.resnet50``."""

from typing import Any

from torch import nn
from torchvision import models

from nnmass.zoo.checks import require
from nnmass.zoo.libraries.library import Library, network_class

__all__ = ["LIBRARY"]

# In training these return logits of their auxiliary classifiers too, which a plain cross-entropy cannot take.
_AUXILIARY = {"aux_logits": False, "init_weights": True}
_DEFAULTS: dict[str, dict[str, Any]] = {"googlenet": _AUXILIARY, "inception_v3": _AUXILIARY}


def _names() -> list[str]:
    return models.list_models(module=models)


def _build(name: str, tag: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    channels = arguments.pop("in_chans", 3)
    hint = f"torchvision/{name} takes colour images only; most of timm's networks take any number."
    require(channels == 3, "in_chans", "be 3", channels, hint)
    weights = (tag or "DEFAULT") if pretrained else None
    return models.get_model(name, weights=weights, **{**_DEFAULTS.get(name, {}), **arguments})


def _side(height: int, width: int) -> int:
    require(height == width, "the images", "be square for this network", f"{height} x {width} px")
    return height


LIBRARY = Library(
    "torchvision", _names, _build, {"image_size": _side, "input_size": lambda height, width: (height, width)}
)


def __getattr__(name: str) -> Any:
    """Return a network as a class."""
    return network_class(LIBRARY, name, __name__)
