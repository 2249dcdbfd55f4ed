"""Named networks as data: listed without importing torch, built on request."""

from fnmatch import fnmatch
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from nnmass.zoo.checks import require
from nnmass.zoo.libraries.names import library_named, library_names, near_name
from nnmass.zoo.weights.pretrained import find_pretrained, list_pretrained

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VARIANTS", "Variant", "create_model", "list_models"]


class Variant(NamedTuple):
    """A network by name: the class that builds it, ``module:class``, its arguments, and where they come from."""

    builder: str
    arguments: dict[str, Any]
    source: str


_DENSE = "nnmass.zoo.networks.densenet:RandomSkipDenseNet"
_MLP = "nnmass.zoo.networks.mlp:RandomSkipMLP"
_RESNET = "nnmass.zoo.networks.resnet:ResNet"
_MOBILENET = "nnmass.zoo.networks.mobilenet:MobileNetV2"

# The ICLR 2021 submission's CIFAR networks: t_c per cell, by width multiplier (its table) and number of layers.
_ICLR_ROWS: dict[tuple[int, int], list[list[int]]] = {
    (2, 31): [[10, 35, 50], [20, 45, 75], [30, 50, 100], [40, 60, 120], [50, 70, 145]],
    (2, 40): [[20, 40, 70], [30, 50, 100], [40, 80, 125], [50, 105, 150], [60, 130, 170]],
    (2, 49): [[25, 50, 90], [35, 80, 125], [50, 105, 150], [70, 130, 170], [90, 150, 210]],
    (2, 64): [[30, 80, 117], [50, 110, 150], [70, 140, 200], [90, 175, 250], [110, 215, 300]],
    (1, 31): [[5, 8, 12], [10, 30, 50], [30, 40, 70], [41, 61, 91], [50, 90, 110]],
    (1, 40): [[5, 9, 12], [11, 31, 51], [31, 41, 71], [41, 62, 92], [50, 90, 109]],
    (1, 49): [[5, 10, 11], [11, 31, 52], [31, 41, 73], [42, 62, 93], [50, 90, 109]],
    (1, 64): [[5, 10, 12], [11, 32, 53], [31, 42, 74], [42, 62, 94], [49, 90, 110]],
    (3, 31): [[10, 30, 50], [40, 60, 90], [70, 90, 130], [100, 120, 170], [130, 150, 210]],
    (3, 40): [[11, 31, 51], [42, 62, 92], [72, 93, 133], [103, 123, 173], [133, 153, 212]],
    (3, 49): [[11, 31, 52], [43, 63, 93], [73, 95, 135], [104, 124, 176], [134, 154, 214]],
    (3, 64): [[12, 32, 52], [44, 64, 95], [76, 96, 136], [106, 126, 178], [135, 156, 216]],
}
_ICLR_TABLE = {2: "table 1", 1: "table 2", 3: "table 3"}

# The submission's further depths (its appendix G.2), without their t_c: t_c = (a, 2a, 3a), by the mass that this gives.
_FURTHER_DEPTHS: dict[int, dict[int, int]] = {
    28: {500: 37, 750: 58, 1000: 82},
    43: {500: 39, 750: 60, 1000: 82},
    52: {500: 39, 750: 60, 1000: 82},
    58: {500: 40, 750: 60, 1000: 82},
}

# Ours, because none are published: a row gives networks of unlike depth masses within 4 % of each other.
_IMAGENET_ROWS: dict[float, list[list[int]]] = {
    1.5: [[17, 34, 68, 136], [34, 69, 138, 276], [60, 120, 240, 480]],
    2: [[22, 45, 90, 180], [46, 92, 184, 368], [80, 160, 320, 640]],
}
_IMAGENET_BASE = {"base_widths": [16, 32, 64, 128], "stem": "imagenet", "num_classes": 1000}

VARIANTS: dict[str, Variant] = {
    "dense_31_w1_small": Variant(
        _DENSE, {"cell_depth": 9, "width_multiplier": 1, "tc": [5, 8, 12]}, "ours, for a processor without a GPU"
    ),
    "dense_digits": Variant(
        _DENSE,
        {"cell_depth": 4, "width_multiplier": 1, "tc": [8, 16, 32], "in_chans": 1},
        "ours, for the 8 x 8 px digits of scikit-learn",
    ),
    "dense_40_w2_chain": Variant(
        _DENSE, {"cell_depth": 12, "width_multiplier": 2, "tc": 0}, "no long-range link: one end of the construction"
    ),
    "dense_40_w2_all": Variant(
        _DENSE,
        {"cell_depth": 12, "width_multiplier": 2, "tc": [320, 640, 1280]},
        "every candidate linked: the other end, DenseNet of Huang et al., CVPR 2017",
    ),
}


def _joined(*parts: object) -> str:
    """Parts of a name with underscores between; 1.5 is written 1p5, so that a name stays an identifier."""
    return "_".join(str(part).replace(".", "p") for part in parts)


for (_width, _layers), _rows in _ICLR_ROWS.items():
    for _row in _rows:
        _arguments = {"cell_depth": (_layers - 4) // 3, "width_multiplier": _width, "tc": _row}
        _source = f"ICLR 2021 submission, {_ICLR_TABLE[_width]}"
        VARIANTS[_joined("dense", _layers, f"w{_width}", *_row)] = Variant(_DENSE, _arguments, _source)
        if _width == 2:
            for _expansion in (1, 6) if _row == _rows[-1] else (1,):
                VARIANTS[_joined("dsconv", _layers, f"w{_width}", f"e{_expansion}", *_row)] = Variant(
                    _DENSE,
                    {**_arguments, "expansion": _expansion},
                    "ICLR 2021 submission, section 4.3; the layer is ours",
                )

for _layers, _first in _FURTHER_DEPTHS.items():
    for _mass, _t in _first.items():
        VARIANTS[f"dense_{_layers}_w2_m{_mass}"] = Variant(
            _DENSE,
            {"cell_depth": (_layers - 4) // 3, "width_multiplier": 2, "tc": [_t, 2 * _t, 3 * _t]},
            "ICLR 2021 submission, appendix G.2; t is ours",
        )

for _multiplier, _rows in _IMAGENET_ROWS.items():
    for _layers in (48, 56, 60, 64, 68):
        for _row in _rows:
            _arguments = {"cell_depth": _layers // 4 - 1, "width_multiplier": _multiplier, "tc": _row, **_IMAGENET_BASE}
            _name = _joined(_layers, f"w{_multiplier}", *_row)
            VARIANTS[f"imagenet_dense_{_name}"] = Variant(
                _DENSE, _arguments, "CVPR 2021, section 4; t and stem are ours"
            )
            if _multiplier == 2:
                VARIANTS[f"imagenet_dsconv_{_name}"] = Variant(_DENSE, {**_arguments, "expansion": 1}, "ours")

VARIANTS |= {
    f"mlp_d{depth}_w8_t{tc}": Variant(_MLP, {"depth": depth, "width": 8, "tc": tc}, "CVPR 2021, the MNIST grid")
    for depth in (16, 20, 24, 28, 32)
    for tc in range(15)
}

_RESNETS: dict[str, dict[str, Any]] = {
    **{f"resnet{depth}": {"depth": depth} for depth in (18, 34, 50, 101, 152)},
    **{f"wrn18_{_joined(factor)}": {"depth": 18, "width_factor": factor} for factor in (1.5, 2, 3)},
    **{f"wrn34_{_joined(factor)}": {"depth": 34, "width_factor": factor} for factor in (1.5, 2)},
    **{f"wide_resnet{depth}_2": {"depth": depth, "base_width": 128} for depth in (50, 101)},
    "resnext50_32x4d": {"depth": 50, "cardinality": 32, "base_width": 4},
    "resnext101_32x4d": {"depth": 101, "cardinality": 32, "base_width": 4},
    "resnext101_32x8d": {"depth": 101, "cardinality": 32, "base_width": 8},
    "resnet18_cifar": {"depth": 18, "small_images": True, "num_classes": 10},
    "wrn18_2_cifar": {"depth": 18, "width_factor": 2, "small_images": True, "num_classes": 10},
}
VARIANTS |= {
    name: Variant(_RESNET, arguments, "He et al. 2016; Xie et al. 2017; Zagoruyko and Komodakis 2016")
    for name, arguments in _RESNETS.items()
}

_MORE_REPEATS = [2, 3, 4, 5, 4, 3, 1]  # N_c = 22
_MOBILENETS: dict[str, dict[str, Any]] = {
    "mobilenetv2_075": {"width_multiplier": 0.75},
    "mobilenetv2_100": {},
    "mobilenetv2_140": {"width_multiplier": 1.4},
    "mobilenetv2_a": {"repeats": _MORE_REPEATS},
    "mobilenetv2_b": {"repeats": _MORE_REPEATS, "width_multiplier": 0.6},
    "mobilenetv2_100_cifar": {"small_images": True, "num_classes": 10},
}
VARIANTS |= {
    name: Variant(_MOBILENET, arguments, "Sandler et al. 2018; a and b: CVPR 2021, table 2")
    for name, arguments in _MOBILENETS.items()
}


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Names of the named networks that match a shell-style pattern, sorted.

    Args:
        pattern: For example ``"dense_40_*"``. One that begins with ``timm/`` or ``torchvision/`` lists the networks of
            that library, any other those of the zoo.
        pretrained: List those of the zoo alone that come with trained weights, or whose weights the user has.

    Example:
        >>> list_models("wrn18_*")
        ['wrn18_1p5', 'wrn18_2', 'wrn18_2_cifar', 'wrn18_3']
        >>> list_models("mlp_d32*", pretrained=True)
        ['mlp_d32_w8_t1', 'mlp_d32_w8_t2']
        >>> list_models("torchvision/resnet?8")
        ['torchvision/resnet18']
    """
    require(isinstance(pattern, str), "pattern", "be a text", repr(pattern))
    if pretrained:
        return list_pretrained(pattern)
    if "/" in pattern:
        return library_names(pattern)
    return sorted(name for name in VARIANTS if fnmatch(name, pattern))


def create_model(name: str, pretrained: bool = False, **arguments: Any) -> "nn.Module":
    """Build a named network.

    Args:
        name: One of :func:`list_models`, of the zoo or of a library; a name of timm's alone, if the zoo has none such.
        pretrained: Load trained weights: the zoo's, which are in the package or in the folder that the environment
            variable ``NNMASS_WEIGHTS`` names, or the library's, which it may download.
        arguments: Of the network's class, in place of those that the name stands for, such as ``num_classes=100``,
            with which a trained classifier begins anew.

    Raises:
        ValueError: If there is no such network, or none with weights (the message names the nearest), or it cannot be
            built so.

    Example:
        >>> create_model("dense_40_w2_chain", num_classes=100).classifier.out_features
        100
        >>> create_model("timm/convnext_tiny", num_classes=7, drop_path_rate=0.1).num_classes
        7
    """
    require(isinstance(name, str), "name", "be a text", repr(name))
    if pretrained and (name in VARIANTS or name in list_pretrained()):
        return _trained(name, arguments)
    if name in VARIANTS:
        module, builder = VARIANTS[name].builder.split(":")
        return getattr(import_module(module), builder)(**{**VARIANTS[name].arguments, **arguments})
    found = library_named(name)
    if found is None:
        hint = near_name(name, list(VARIANTS)) or f"among the zoo's are {', '.join(list_models()[::40])}."
        raise ValueError(f"Expected name to be a network of the zoo, of timm or torchvision, but got {name!r}; {hint}")
    module, _, own = found.class_path.rpartition(".")
    return getattr(import_module(module), own)(**{**found.arguments, "pretrained": pretrained, **arguments})


def _trained(name: str, arguments: dict[str, Any]) -> "nn.Module":
    """A trained network, in training mode as all others are."""
    import nnmass.zoo
    from nnmass.zoo.weights.loading import load_weights

    record = find_pretrained(name)
    network: nn.Module = getattr(nnmass.zoo, record.network["class"])(**{**record.network["init_args"], **arguments})
    load_weights(network, record.weights())
    return network
