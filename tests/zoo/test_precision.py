"""TF32 is one switch, is told, and is left out where numbers are held against each other."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnmass.zoo import layer_spectra
from nnmass.zoo.precision import full_precision, set_tf32, tf32_in_use

SWITCHES = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def switch(name: str) -> Any:
    library, kind = name.split(".")
    return getattr(getattr(torch.backends, library), kind)


def state() -> list[object]:
    """All that can be read, by the newer way and by the older one."""
    found: list[object] = [switch(name).fp32_precision for name in SWITCHES]
    older: list[Callable[[], object]] = [
        torch.get_float32_matmul_precision,
        lambda: torch.backends.cuda.matmul.allow_tf32,
        lambda: torch.backends.cudnn.allow_tf32,
    ]
    for read in older:
        try:
            found.append(read())
        except RuntimeError:
            found.append("refused")
    return found


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before, precision = [switch(name).fp32_precision for name in SWITCHES], torch.get_float32_matmul_precision()
    allowed = torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = allowed
    for name, value in zip(SWITCHES, before, strict=True):
        switch(name).fp32_precision = value


def newer(name: str, value: str) -> Callable[[], None]:
    return lambda: setattr(switch(name), "fp32_precision", value)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        [lambda: set_tf32(True)],
        [lambda: set_tf32(False)],
        [lambda: torch.set_float32_matmul_precision("high")],
        [lambda: torch.set_float32_matmul_precision("medium")],
        [newer("cuda.matmul", "tf32")],
        [newer("cudnn.conv", "ieee")],
        [newer("cudnn.conv", "ieee"), newer("cudnn.rnn", "ieee"), newer("mkldnn.matmul", "bf16")],
        [lambda: torch.set_float32_matmul_precision("medium"), newer("cuda.matmul", "ieee")],
    ],
)
def test_full_precision_holds_inside_and_leaves_what_was_set(settings: list[Callable[[], None]]) -> None:
    for setting in settings:
        setting()
    before = state()
    with full_precision():
        assert [switch(name).fp32_precision for name in SWITCHES] == ["ieee"] * 6
        assert not tf32_in_use()
    assert state() == before
    with pytest.raises(ZeroDivisionError), full_precision():
        _ = 1 / 0
    assert state() == before


def test_one_switch_decides_convolutions_and_products_and_leaves_the_processor_alone() -> None:
    processor = [switch(name).fp32_precision for name in SWITCHES[3:]]
    for enabled in (True, False):
        set_tf32(enabled)
        assert tf32_in_use() is enabled
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is enabled
        assert torch.get_float32_matmul_precision() == ("high" if enabled else "highest")  # which Lightning asks for
    assert [switch(name).fp32_precision for name in SWITCHES[3:]] == processor


def test_full_precision_ends_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16), full_precision():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32


def test_jacobians_are_measured_without_tf32_and_what_is_set_returns_between_the_layers() -> None:
    seen: list[bool] = []

    class Looking(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tf32_in_use())
            return super().forward(x)

    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), Looking(8, 3))
    set_tf32(True)
    with torch.autocast("cpu", torch.bfloat16):
        for found in layer_spectra(network, torch.randn(2, 1, 4, 4), exact_up_to=0):
            assert tf32_in_use()
            assert torch.is_autocast_enabled("cpu")
            assert found.spectrum.values.dtype == torch.float64
    assert seen
    assert not any(seen)
