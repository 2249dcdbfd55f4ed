"""Named networks as data: listed without importing torch, built on request."""

from difflib import get_close_matches
from fnmatch import fnmatch
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VARIANTS", "Variant", "create_model", "list_models"]


class Variant(NamedTuple):
    """A network by name: the class that builds it, ``module:class``, its arguments, and where they come from."""

    builder: str
    arguments: dict[str, Any]
    source: str


_DENSE = "zoo.densenet:RandomSkipDenseNet"
_MLP = "zoo.mlp:RandomSkipMLP"

VARIANTS: dict[str, Variant] = {
    "dense_31_w1_small": Variant(
        _DENSE, {"cell_depth": 9, "width_multiplier": 1, "tc": [5, 8, 12]}, "ours, for a processor without a GPU"
    ),
    "dense_31_w2": Variant(
        _DENSE, {"cell_depth": 9, "width_multiplier": 2, "tc": [50, 70, 145]}, "ICLR 2021 submission, table 5"
    ),
    "dense_40_w2": Variant(
        _DENSE, {"cell_depth": 12, "width_multiplier": 2, "tc": [60, 130, 170]}, "ICLR 2021 submission, table 5"
    ),
    "dense_digits": Variant(
        _DENSE,
        {"cell_depth": 4, "width_multiplier": 1, "tc": [8, 16, 32], "in_chans": 1},
        "ours, for the 8 x 8 px digits of scikit-learn",
    ),
}
VARIANTS |= {
    f"mlp_d{depth}_w8_t{tc}": Variant(_MLP, {"depth": depth, "width": 8, "tc": tc}, "CVPR 2021, the MNIST grid")
    for depth in (16, 20, 24, 28, 32)
    for tc in range(15)
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the named networks that match a shell-style pattern, sorted.

    Args:
        pattern: For example ``"dense_40_*"``.

    Example:
        >>> list_models("dense_3*")
        ['dense_31_w1_small', 'dense_31_w2']
    """
    return sorted(name for name in VARIANTS if fnmatch(name, pattern))


def create_model(name: str, **overrides: Any) -> "nn.Module":
    """Build a named network.

    Args:
        name: One of :func:`list_models`.
        overrides: Arguments of the network's class that replace the named ones, for example ``num_classes=100``.

    Raises:
        ValueError: If there is no such network; the message names the nearest.

    Example:
        >>> create_model("dense_31_w2", num_classes=100).classifier.out_features
        100
    """
    if name not in VARIANTS:
        near = get_close_matches(name, VARIANTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(list_models())}."
        raise ValueError(f"Expected name to be a network of the zoo, but got {name!r}; {hint}")
    variant = VARIANTS[name]
    module, builder = variant.builder.split(":")
    return getattr(import_module(module), builder)(**{**variant.arguments, **overrides})
