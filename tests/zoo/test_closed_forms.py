"""Closed forms are what is read off the built network, and cost neither torch nor a second."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass.zoo import RandomSkipDenseNet, RandomSkipMLP, ResNet, create_model, topology
from nnmass.zoo.closed_forms import ClosedForm, closed_form
from nnmass.zoo.networks.variants import VARIANTS

NAMES = [name for name, variant in VARIANTS.items() if not variant.builder.endswith("MobileNetV2")]


def require_same(found: ClosedForm | None, network: Any, input_size: tuple[int, ...] | None = None) -> None:
    assert found is not None
    record = topology(network, input_size)
    for name in (*ClosedForm._fields, "flops", "num_cells"):
        assert getattr(found, name) == pytest.approx(getattr(record, name)), name


@pytest.mark.parametrize(
    "name",
    [
        "dense_digits",
        "dense_40_w2_chain",
        "dsconv_31_w2_e6_50_70_145",
        "mlp_d16_w8_t0",
        "wrn18_1p5",
        "resnet18_cifar",
    ],
)
def test_a_named_networks_closed_form_is_what_is_read_off_it(name: str) -> None:
    require_same(closed_form(VARIANTS[name].builder, VARIANTS[name].arguments), create_model(name))


@pytest.mark.slow
@pytest.mark.parts(4)
@pytest.mark.parametrize("name", NAMES)
def test_all_named_networks_closed_forms_are_what_is_read_off_them(name: str) -> None:
    require_same(closed_form(VARIANTS[name].builder, VARIANTS[name].arguments), create_model(name))


@settings(max_examples=25)
@given(
    depth=st.lists(st.integers(1, 5), min_size=2, max_size=2),
    tc=st.lists(st.integers(0, 9), min_size=2, max_size=2),
    expansion=st.sampled_from([None, 1, 2]),
    stem=st.sampled_from(["none", "imagenet"]),
    classes=st.integers(0, 3),
    side=st.sampled_from([16, 33]),
)
def test_dense_networks_of_any_shape(
    depth: list[int], tc: list[int], expansion: int | None, stem: Any, classes: int, side: int
) -> None:
    arguments = {"cell_depth": depth, "width_multiplier": 1, "tc": tc, "base_widths": [2, 3], "in_chans": 1}
    arguments |= {"expansion": expansion, "stem": stem, "num_classes": classes}
    network = RandomSkipDenseNet(**arguments)
    require_same(closed_form("nnmass.zoo.RandomSkipDenseNet", arguments, (1, side, side)), network, (1, side, side))


@given(depth=st.integers(2, 6), width=st.integers(1, 4), tc=st.integers(0, 9), features=st.integers(1, 5))
@settings(max_examples=25)
def test_mlps_of_any_shape(depth: int, width: int, tc: int, features: int) -> None:
    arguments = {"depth": depth, "width": width, "tc": tc, "in_features": features, "num_classes": 2}
    require_same(closed_form("nnmass.zoo.RandomSkipMLP", arguments), RandomSkipMLP(**arguments))


@pytest.mark.parametrize(
    ("network", "arguments", "input_size"),
    [
        ("nnmass.zoo.MobileNetV2", {}, None),
        ("mine.RandomSkipMLP", {"depth": 3, "width": 2, "tc": 1}, None),
        ("nnmass.zoo.RandomSkipMLP", {"depth": 3, "width": 2, "tc": 1, "dropout": 0.1}, None),
        ("nnmass.zoo.RandomSkipMLP", {"depth": 3, "width": 2, "tc": 1}, (3, 4)),
        ("nnmass.zoo.RandomSkipMLP", {"depth": 1, "width": 2, "tc": 1}, None),
        ("nnmass.zoo.RandomSkipMLP", {"depth": "x", "width": 2, "tc": 1}, None),
        ("nnmass.zoo.RandomSkipMLP", {"depth": 3, "width": 2}, None),
        ("nnmass.zoo.RandomSkipDenseNet", {"cell_depth": 3, "width_multiplier": 1.3, "tc": 1}, None),
        ("nnmass.zoo.RandomSkipDenseNet", {"cell_depth": 3, "width_multiplier": 1, "tc": [1, 2]}, None),
        ("nnmass.zoo.RandomSkipDenseNet", {"cell_depth": 3, "width_multiplier": 1, "tc": -1}, None),
        ("nnmass.zoo.RandomSkipDenseNet", {"cell_depth": 3, "width_multiplier": 1, "tc": 1, "expansion": 0}, None),
        ("nnmass.zoo.RandomSkipDenseNet", {"cell_depth": 3, "width_multiplier": 1, "tc": 1, "stem": "big"}, None),
        ("nnmass.zoo.RandomSkipDenseNet", {"cell_depth": 3, "width_multiplier": 1, "tc": 1}, (3, 32, 40)),
        ("nnmass.zoo.RandomSkipDenseNet", {"cell_depth": 3, "width_multiplier": 1, "tc": 1, "activation": "elu"}, None),
        ("nnmass.zoo.RandomSkipDenseNet", {"cell_depth": 3, "width_multiplier": 1, "tc": 1, "expansion": 1.5}, None),
        ("nnmass.zoo.ResNet", {"depth": 20}, None),
        ("nnmass.zoo.ResNet", {"depth": 18, "width_factor": 0.3}, None),
        ("nnmass.zoo.ResNet", {"depth": 18, "cardinality": 2}, None),
        ("nnmass.zoo.ResNet", {"depth": 50, "activation": "elu"}, None),
        ("nnmass.zoo.ResNet", {"depth": 50, "small_images": 1}, None),
        ("nnmass.zoo.ResNet", {"depth": 50, "num_classes": -1}, None),
        ("nnmass.zoo.ResNet", {"depth": 50}, (3, 32, 40)),
    ],
)
def test_what_has_no_closed_form_must_be_built(network: str, arguments: dict[str, Any], input_size: Any) -> None:
    assert closed_form(network, arguments, input_size) is None


@settings(max_examples=8, deadline=None)
@given(
    depth=st.sampled_from([18, 50]),
    factor=st.sampled_from([0.25, 0.5, 1]),
    classes=st.sampled_from([0, 3]),
    channels=st.integers(1, 2),
    small=st.booleans(),
    side=st.sampled_from([32, 45]),
)
def test_residual_networks_of_any_shape(
    depth: Any, factor: float, classes: int, channels: int, small: bool, side: int
) -> None:
    arguments = {"depth": depth, "width_factor": factor, "num_classes": classes, "in_chans": channels}
    arguments |= {"small_images": small, **({"cardinality": 4, "base_width": 8} if depth == 50 else {})}
    size = (channels, side, side)
    require_same(closed_form("nnmass.zoo.ResNet", arguments, size), ResNet(**arguments), size)


def test_no_library_is_loaded() -> None:
    code = (
        "import sys\nfrom zoo.closed_forms import closed_form\n"
        "closed_form('nnmass.zoo.RandomSkipMLP', {'depth': 24, 'width': 8, 'tc': 2})\n"
        "print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_further_depths_of_the_papers_have_the_masses_of_their_names() -> None:
    names = [name for name in VARIANTS if "_w2_m" in name]
    assert len(names) == 12
    for name in names:
        form = closed_form(VARIANTS[name].builder, VARIANTS[name].arguments)
        assert form is not None
        depth, mass = name.removeprefix("dense_").split("_w2_m")
        assert form.nn_mass == pytest.approx(int(mass), rel=0.012), name
        assert 3 * VARIANTS[name].arguments["cell_depth"] + 4 == int(depth)
