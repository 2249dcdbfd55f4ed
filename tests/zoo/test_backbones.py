"""Residual networks and MobileNetV2: published sizes, published masses, and stems for small images."""

from math import log
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from nnmass.zoo import MobileNetV2, ResNet, Topology, create_model, topology

# Wide ResNet paper, tables 7 and 8: parameters (M) and top-1 error (%) on ImageNet.
PUBLISHED_RESNETS = {
    "resnet18": (11.7, 30.4),
    "wrn18_1p5": (25.9, 27.06),
    "wrn18_2": (45.6, 25.58),
    "wrn18_3": (101.8, 24.06),
    "resnet34": (21.8, 26.77),
    "wrn34_1p5": (48.6, 24.5),
    "wrn34_2": (86.0, 23.39),
    "resnet50": (25.6, 24.01),
    "resnet101": (44.5, 22.44),
    "resnet152": (60.2, 22.16),
    "wide_resnet50_2": (68.9, 21.9),
}

# NN-Mass and parameters (M) as CVPR 2021 prints them in table 2, which truncates.
PUBLISHED_MOBILENETS = {
    "mobilenetv2_140": (1807, 6.1),
    "mobilenetv2_a": (1654, 3.7),
    "mobilenetv2_075": (975, 2.6),
    "mobilenetv2_b": (1030, 2.3),
    "mobilenetv2_100": (1287, 3.5),
}


def described(name: str, **overrides: Any) -> Topology:
    with torch.device("meta"):
        return topology(create_model(name, **overrides))


def by_hand(widths: list[list[int]]) -> float:
    """Eq. 3 over blocks with a skip, each given by the input channels of its layers."""
    return sum(
        sum(block) * block[0] / sum((len(block) - 1 - j) * width for j, width in enumerate(block)) for block in widths
    )


@pytest.mark.parametrize("name", PUBLISHED_RESNETS)
def test_resnets_have_the_published_parameters(name: str) -> None:
    assert described(name).num_params / 1e6 == pytest.approx(PUBLISHED_RESNETS[name][0], abs=0.0501)


def test_top1_against_log_size_and_log_mass_of_the_eleven_resnets() -> None:
    top1 = [100 - error for _, error in PUBLISHED_RESNETS.values()]
    records = [described(name) for name in PUBLISHED_RESNETS]
    r2 = [
        np.corrcoef([log(value) for value in values], top1)[0, 1] ** 2
        for values in ([record.num_params for record in records], [record.nn_mass for record in records])
    ]
    assert r2 == [pytest.approx(0.643, abs=0.001), pytest.approx(0.778, abs=0.001)]  # printed: 0.64 and 0.87


@pytest.mark.parametrize("name", PUBLISHED_MOBILENETS)
def test_mobilenets_have_the_published_mass(name: str) -> None:
    record = described(name)
    mass, parameters = PUBLISHED_MOBILENETS[name]
    assert int(record.nn_mass) == mass
    assert record.num_params / 1e6 == pytest.approx(parameters, abs=0.0501)


def test_mobilenets_sizes_to_the_last_digit() -> None:
    record = described("mobilenetv2_075")
    assert (record.num_params, record.macs, record.nn_mass) == (2_636_424, 209_069_792, 975)
    assert described("mobilenetv2_a", width_multiplier=0.85).nn_mass == 1446


def test_a_basic_and_a_bottleneck_resnet_by_hand() -> None:
    basic = [[64, 64]] * 2 + [[64, 128], [128, 128], [128, 256], [256, 256], [256, 512], [512, 512]]
    assert described("resnet18").nn_mass == pytest.approx(by_hand(basic))
    bottlenecks, entering = [], 64
    for stage, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for _ in range(blocks):
            bottlenecks.append([entering, stage, stage])
            entering = 4 * stage
    assert described("resnet50").nn_mass == pytest.approx(by_hand(bottlenecks))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet18", "resnet18"),
        ("resnet50", "resnet50"),
        ("resnext50_32x4d", "resnext50_32x4d"),
        ("resnext101_32x8d", "resnext101_32x8d"),
        ("wide_resnet50_2", "wide_resnet50_2"),
        ("wide_resnet101_2", "wide_resnet101_2"),
        ("mobilenetv2_100", "mobilenet_v2"),
    ],
)
def test_torchvision_has_the_same_network(ours: str, theirs: str) -> None:
    with torch.device("meta"):
        other = topology(torchvision.models.get_model(theirs))
    record = described(ours)
    assert (record.nn_mass, record.num_params, record.macs) == (other.nn_mass, other.num_params, other.macs)


@pytest.mark.parametrize("name", ["resnet34", "resnet152", "resnext101_32x4d", "mobilenetv2_140", "wide_resnet50_2"])
def test_timm_has_the_same_network(name: str) -> None:
    with torch.device("meta"):
        other = topology(timm.create_model(name))
    record = described(name)
    assert (record.nn_mass, record.num_params, record.macs) == (other.nn_mass, other.num_params, other.macs)


@pytest.mark.parametrize(("name", "mass"), [("densenet121", 1856), ("vgg16", 0)])
def test_dense_networks_and_chains_of_torchvision_and_timm(name: str, mass: int) -> None:
    with torch.device("meta"):
        records = [topology(torchvision.models.get_model(name)), topology(timm.create_model(name))]
    assert [record.nn_mass for record in records] == [mass, mass]
    assert records[0].num_params == records[1].num_params == {"densenet121": 7_978_856, "vgg16": 138_357_544}[name]


@pytest.mark.parametrize(("network", "side"), [(ResNet(18, small_images=True), 4), (MobileNetV2(small_images=True), 2)])
def test_stems_for_small_images_keep_more_positions(network: nn.Module, side: int) -> None:
    assert network.eval().forward_features(torch.zeros(1, 3, 32, 32)).shape[-2:] == (side, side)  # type: ignore[operator]


@pytest.mark.parametrize("cls", [ResNet, MobileNetV2])
def test_the_seed_decides_the_weights(cls: Any) -> None:
    arguments = {"depth": 18} if cls is ResNet else {}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second, other = cls(**arguments, seed=4), cls(**arguments, seed=4), cls(**arguments, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    weights = [next(network.parameters()) for network in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResNet(20), "depth to be one of 18, 34, 50, 101, 152, but got 20"),  # type: ignore[arg-type]
        (lambda: ResNet(18, width_factor=0), "width_factor times 64 to be a whole number of at least 1, but got 0"),
        (lambda: ResNet(34, cardinality=32), "cardinality 1 and base_width 64 for the basic blocks of depth 34"),
        (lambda: ResNet(50, num_classes=-1), "num_classes to be an integer of at least 0"),
        (lambda: MobileNetV2(repeats=[1, 2]), r"repeats to hold 7 numbers, one per stage, but got \[1, 2\]"),
        (lambda: MobileNetV2(repeats=[0] * 7), "repeats to be an integer of at least 1, but got 0"),
        (lambda: MobileNetV2(width_multiplier=-1), "width_multiplier to be positive and finite, but got -1"),
        (lambda: MobileNetV2(in_chans=0), "in_chans to be an integer of at least 1"),
    ],
)
def test_bad_arguments_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
