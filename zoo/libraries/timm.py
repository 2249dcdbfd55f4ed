"""The networks of timm: ``timm/convnext_tiny`` is the class ``nnmass.zoo.libraries.timm.convnext_tiny``."""

from typing import Any

import timm
from torch import nn

from nnmass.zoo.libraries.library import Library, network_class

__all__ = ["LIBRARY"]


def _build(name: str, tag: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    return timm.create_model(f"{name}.{tag}" if tag else name, pretrained=pretrained, **arguments)


LIBRARY = Library("timm", timm.list_models, _build, {"img_size": lambda height, width: (height, width)})


def __getattr__(name: str) -> Any:
    """Return a network as a class."""
    return network_class(LIBRARY, name, __name__)
