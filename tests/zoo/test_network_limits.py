"""A network that no machine could hold is refused before anything of it is made."""

import math
import time
from collections.abc import Callable

import pytest
import torch

from nnmass import zoo

LIMITS: dict[str, tuple[Callable, str]] = {
    "layers of a cell": (lambda: zoo.RandomSkipDenseNet(10**9, 1, 5), "cell_depth to be at most 10,000, but got 10000"),
    "layers of one cell of several": (lambda: zoo.RandomSkipDenseNet([4, 10**9, 4], 1, 5), "cell_depth to be at most"),
    "layers of an MLP": (lambda: zoo.RandomSkipMLP(10**9, 8, 2), "depth to be at most 10,000, but got 1000000000"),
    "layers of a cell of one's own": (lambda: zoo.RandomSkipCell(3, 8, 10**9, 3), "depth to be at most 10,000"),
    "blocks": (lambda: zoo.MobileNetV2(1, [10**9] * 7), "repeats to be at most 10,000, but got 1000000000"),
    "mass": (lambda: zoo.nn_mass(10**9, 3, 3), "depth to be at most 10,000, but got 1000000000"),
    "width": (lambda: zoo.RandomSkipDenseNet(4, 1e9, 5), "fits into .* memory here, but got 1.68e.23 parameters"),
    "greater width": (lambda: zoo.RandomSkipDenseNet(4, 1e30, 5), "fits into .* memory here, but got 1.68e.65"),
    "endless width": (lambda: zoo.RandomSkipDenseNet(4, math.inf, 5), "a whole number of at least 1, but got inf x 16"),
    "width of no number": (lambda: zoo.RandomSkipDenseNet(4, math.nan, 5), "whole number of at least 1, but got nan x"),
    "width of an MLP": (lambda: zoo.RandomSkipMLP(5, 10**9, 2), r"but got 3\.00e.18 parameters \(1.20e.10 GB\)"),
    "width of a MobileNet": (lambda: zoo.MobileNetV2(1e6), "fits into .* memory here"),
    "greater width of a MobileNet": (lambda: zoo.MobileNetV2(1e200), "fits into .* memory here"),
    "endless width of a MobileNet": (lambda: zoo.MobileNetV2(math.inf), "positive and finite, but got inf"),
    "expansion": (lambda: zoo.RandomSkipDenseNet(4, 1, 5, expansion=10**9), "fits into .* memory here"),
    "classes": (lambda: zoo.RandomSkipDenseNet(4, 1, 5, num_classes=10**12), "fits into .* memory here"),
    "depth and width": (lambda: zoo.RandomSkipDenseNet(10**4, 100, 5), "fits into .* memory here"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_it_is_refused_at_once(limit: str) -> None:
    make, sentence = LIMITS[limit]
    began = time.perf_counter()
    with pytest.raises(ValueError, match=sentence):
        make()
    assert time.perf_counter() - began < 10


def test_what_the_memory_holds_is_made() -> None:
    assert zoo.RandomSkipDenseNet(200, 1, 5).num_classes == 10
    assert zoo.RandomSkipMLP(5, 500, torch.tensor(3)).num_classes == 10
