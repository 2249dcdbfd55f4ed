"""The zoo's networks under timm's own ``create_model``, on request."""

import sys
from typing import Any

from timm.models import register_model
from torch import nn

from nnmass.zoo.networks.variants import create_model, list_models

__all__ = ["register_in_timm"]

_PREFIX = "nnmass_"


def register_in_timm() -> list[str]:
    """Make every named network known to timm as ``nnmass_<name>``; calling it twice changes nothing.

    With ``pretrained=True`` timm's ``create_model`` then loads the zoo's own trained weights.

    Returns:
        The names that timm now knows.

    Example:
        >>> names = register_in_timm()
        >>> import timm
        >>> timm.create_model("nnmass_dense_31_w1_small", num_classes=7).num_classes
        7
    """
    from timm.models import is_model

    names = [_PREFIX + name for name in list_models()]
    for name in names:
        if not is_model(name):
            register_model(_entry_point(name))
    return names


def _entry_point(name: str) -> Any:
    def build(pretrained: bool = False, **overrides: Any) -> nn.Module:
        for meant_for_timm in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            overrides.pop(meant_for_timm, None)
        return create_model(name.removeprefix(_PREFIX), pretrained, **overrides)

    # timm keys its registry on the function's own name and module.
    build.__name__ = name
    build.__module__ = __name__
    setattr(sys.modules[__name__], name, build)
    return build
