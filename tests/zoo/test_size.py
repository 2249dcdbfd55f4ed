"""Sizes in closed form against networks that are built and counted."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass.zoo import MobileNetV2, RandomSkipCell, RandomSkipDenseNet, RandomSkipMLP, count_macs, link_counts, topology
from nnmass.zoo.networks.variants import VARIANTS, create_model
from nnmass.zoo.size import Size, cell_size, densenet_size, mlp_size, mobilenet_size


def counted(network: Any, input_size: tuple[int, ...]) -> Size:
    return Size(sum(p.numel() for p in network.parameters()), count_macs(network, input_size))


@settings(max_examples=40)
@given(
    in_channels=st.integers(1, 5),
    width=st.integers(1, 6),
    depth=st.integers(1, 6),
    tc=st.integers(0, 30),
    side=st.integers(1, 9),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([None, 1, 3]),
    expand_first=st.booleans(),
)
def test_a_cell(
    in_channels: int, width: int, depth: int, tc: int, side: int, stride: int, expansion: Any, expand_first: bool
) -> None:
    cell = RandomSkipCell(in_channels, width, depth, tc, stride=stride, expansion=expansion, expand_first=expand_first)
    links = sum(link_counts(depth, width, tc))
    found = cell_size(in_channels, width, depth, links, side, stride, expansion, expand_first)
    assert found == counted(cell, (in_channels, side, side))


@settings(max_examples=15)
@given(
    depths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    base=st.integers(1, 4),
    tc=st.integers(0, 20),
    classes=st.integers(0, 5),
    side=st.sampled_from([16, 23, 32]),
    stem=st.booleans(),
    expansion=st.sampled_from([None, 2]),
)
def test_a_densenet(
    depths: list[int], base: int, tc: int, classes: int, side: int, stem: bool, expansion: int | None
) -> None:
    widths, tcs = [base + index for index in range(len(depths))], [tc + index for index in range(len(depths))]
    network = RandomSkipDenseNet(depths, 1, tcs, classes, 2, widths, "imagenet" if stem else "none", expansion)
    found = densenet_size(depths, widths, tcs, classes, 2, side, stem, expansion)
    assert found == counted(network, (2, side, side))


@given(depth=st.integers(2, 9), width=st.integers(1, 9), tc=st.integers(0, 40), classes=st.integers(1, 4))
@settings(max_examples=30)
def test_an_mlp(depth: int, width: int, tc: int, classes: int) -> None:
    network = RandomSkipMLP(depth, width, tc, classes, 7)
    assert mlp_size(depth, width, tc, classes, 7) == counted(network, (7,))


@given(width=st.floats(0.1, 2.0), repeats=st.lists(st.integers(1, 3), min_size=7, max_size=7), small=st.booleans())
@settings(max_examples=8)
def test_a_mobilenet(width: float, repeats: list[int], small: bool) -> None:
    network = MobileNetV2(width, repeats, 5, small_images=small)
    size, mass = mobilenet_size(width, repeats, 5, 3, 32, small)
    assert size == counted(network, (3, 32, 32))
    assert mass == pytest.approx(topology(network, (3, 32, 32)).nn_mass)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "mobilenetv2_075", "mobilenetv2_140", "mobilenetv2_a"])
def test_the_published_mobilenets(name: str) -> None:
    record = topology(create_model(name), (3, 224, 224))
    size, mass = mobilenet_size(**VARIANTS[name].arguments)
    assert size == (record.num_params, record.macs)
    assert mass == pytest.approx(record.nn_mass)


def test_a_whole_array_of_links_at_once() -> None:
    links = np.array([0, 7, 21])
    found = cell_size(3, 4, 6, links, side=8)
    singles = [cell_size(3, 4, 6, number, side=8) for number in (0, 7, 21)]
    assert found.num_params.tolist() == [single.num_params for single in singles]
    assert found.macs.tolist() == [single.macs for single in singles]
