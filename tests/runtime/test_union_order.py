"""Numbers of an option are read as integers before they are read as floats, whatever was imported before."""

import sys
from types import UnionType
from typing import Any, Optional, Union, get_args

import pytest
from pytorch_lightning import Trainer

from nnmass.commands.training.lightning_cli import parsed_fit
from nnmass.runtime.config_names import CONFIG_FOLDER
from nnmass.runtime.union_order import read_integers_first

LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches", "val_check_interval")
FLOAT_FIRST: UnionType = float | int | None


def test_the_order_is_put_right_and_nothing_else_is_changed() -> None:
    def function(a: Any, b: Any, c: Any, d: Any) -> None: ...

    right, text = int | float | None, str | None
    function.__annotations__ |= {"a": FLOAT_FIRST, "b": right, "c": text, "d": float}
    read_integers_first(function)
    assert get_args(function.__annotations__["a"]) == (int, float, type(None))
    assert function.__annotations__["b"] is right
    assert function.__annotations__["c"] is text
    assert function.__annotations__["d"] is float


@pytest.mark.parametrize("option", LIMITS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_number_of_batches_is_no_share(option: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another library has written ``Optional[Union[float, int]]`` before Lightning was imported."""
    monkeypatch.setitem(Trainer.__init__.__annotations__, option, FLOAT_FIRST)
    read = parsed_fit(["--config", str(CONFIG_FOLDER / "digits_dense.yaml"), f"--trainer.{option}={number}"])
    assert type(read.trainer[option]) is int


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python 3.14 keeps no unions")
def test_typing_keeps_whichever_order_came_first() -> None:
    """The reason for the module."""
    first = get_args(Optional[Union[float, complex]])  # noqa: UP007, UP045
    second = get_args(Optional[Union[complex, float]])  # noqa: UP007, UP045
    assert first == second
