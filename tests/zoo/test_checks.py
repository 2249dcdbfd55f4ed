"""Checks of arguments: what they let pass, and the sentence with which they refuse the rest."""

import ast
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from nnmass.zoo import checks
from nnmass.zoo.checks import (
    has_one_per_cell,
    require,
    require_choice,
    require_integer,
    require_memory,
    require_multiple,
    require_non_negative,
    require_one_per_cell,
)

REFUSED: dict[str, Callable[[], object]] = {
    "Expected level to lie between 0 and 1, but got 2.": lambda: require(False, "level", "lie between 0 and 1", 2),
    "Expected name to be known, but got 'a'; is it b?": lambda: require(False, "name", "be known", "'a'", "is it b?"),
    "Expected stem to be one of none, imagenet, but got 'None'.": (
        lambda: require_choice("stem", "None", ("none", "imagenet"))
    ),
    "Expected depth to be one of 18, 34, but got [18].": lambda: require_choice("depth", [18], {18: 0, 34: 0}),
    "Expected depth to be an integer of at least 1, but got 0.": lambda: require_integer("depth", 0, 1),
    "Expected depth to be an integer of at least 1, but got True.": lambda: require_integer("depth", True, 1),
    "Expected depth to be an integer of at least 1, but got 2.0.": lambda: require_integer("depth", 2.0, 1),
    "Expected depth to be an integer of at least 1, but got '2'.": lambda: require_integer("depth", "2", 1),
    "Expected depth to be at most 10,000, but got 10001.": lambda: require_integer("depth", 10001, 1, 10_000),
    "Expected w times 64 to be a whole number of at least 1, but got 96.5.": lambda: require_multiple(
        "w times 64", 96.5
    ),
    "Expected w to be a whole number of at least 1, but got 0.5.": lambda: require_multiple("w", 0.5),
    "Expected w to be a whole number of at least 1, but got inf.": lambda: require_multiple("w", float("inf")),
    "Expected w to be a whole number of at least 1, but got nan.": lambda: require_multiple("w", float("nan")),
    "Expected w to be a whole number of at least 1, but got 1.5 x 3 = 4.5.": (
        lambda: require_multiple("w", 4.5, "1.5 x 3 = 4.5")
    ),
    "Expected variance to be non-negative, but got -1.": lambda: require_non_negative(width=2, variance=[3, -1]),
    "Expected variance to be non-negative, but got nan.": lambda: require_non_negative(variance=float("nan")),
    "Expected tc to be one number or one per cell (3 cells), but got 2: [1, 2].": (
        lambda: require_one_per_cell("tc", (1, 2), 3)
    ),
    "Expected tc to be one number or one per cell (1 cells), but got 0: [].": lambda: require_one_per_cell("tc", [], 1),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_refusal_names_the_argument_the_rule_and_the_value(sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        REFUSED[sentence]()


@given(st.integers(-5, 20), st.integers(-5, 20), st.none() | st.integers(-5, 20))
def test_an_integer_of_any_library_passes_between_its_limits(value: int, least: int, most: int | None) -> None:
    for given_value in (value, np.int64(value), torch.tensor(value)):
        if least <= value and (most is None or value <= most):
            number = require_integer("n", given_value, least, most)
            assert type(number) is int
            assert number == value
        else:
            with pytest.raises(ValueError, match="^Expected n to be "):
                require_integer("n", given_value, least, most)


@given(st.integers(1, 1000), st.integers(1, 64))
def test_a_product_that_comes_out_whole_is_returned_as_an_int(whole: int, parts: int) -> None:
    if whole * parts % 2 == 0:
        assert require_multiple("w", whole * parts / 2) == whole * parts // 2
    else:
        with pytest.raises(ValueError, match="whole number"):
            require_multiple("w", whole * parts / 2)


def test_a_sequence_has_one_value_per_cell_and_a_single_value_is_repeated() -> None:
    assert require_one_per_cell("t", 4, 3) == [4, 4, 4]
    for several in ([1, 2, 3], (1, 2, 3), range(1, 4), np.array([1, 2, 3]), torch.tensor([1, 2, 3])):
        assert has_one_per_cell(several)
        assert require_one_per_cell("t", several, 3) == [1, 2, 3]
    for single in (1, 2.5, "12", np.array(1), torch.tensor(1)):
        assert not has_one_per_cell(single)
        assert len(require_one_per_cell("t", single, 2)) == 2


def test_a_network_may_take_the_whole_memory_but_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_memory", lambda: 4_000_000_000)
    require_memory(1_000_000_000)
    with pytest.raises(ValueError, match=re.escape("the 4 GB of memory here, but got 1.00e+9 parameters (4.00 GB).")):
        require_memory(1_000_000_001)
    monkeypatch.setattr(checks, "_memory", lambda: None)  # unknown on this system
    require_memory(10**15)


def test_no_other_file_of_the_zoo_defines_a_check_of_arguments() -> None:
    # Of weights with weights, of what a trace has shown, of a library's names, of a trainer's strategy, of a file, of
    # a network's weights; _require_measurable calls those of checks.py alone.
    compared = {
        "require_same_architecture",
        "_require_cells",
        "require_statistics_of",
        "require_parameters",
        "_require_values",
        "_require_measurable",
        "require_name",
        "require_unfreezing",
        "require_undamaged",
    }
    found = {
        node.name
        for path in (ROOT / "zoo").rglob("*.py")
        if path != ROOT / "zoo" / "checks.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.lstrip("_").startswith("require_")
    }
    assert found == compared
