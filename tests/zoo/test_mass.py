"""The closed forms against a count of single links, and against the papers' printed figures."""

import itertools
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmass.zoo import (
    average_degree,
    average_degree_approximation,
    cell_density,
    link_counts,
    nn_mass,
    singular_value_bounds,
)
from nnmass.zoo.mass import residual_mass

CELL = st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(0, 60))


def count_links(depth: int, width: int, tc: int) -> tuple[int, int]:
    """Links present and possible, candidate by candidate."""
    present = possible = 0
    for layer in range(depth):
        candidates = list(itertools.product(range(layer - 1), range(width)))
        possible += len(candidates)
        present += len(candidates[:tc])
    return present, possible


@given(CELL)
def test_density_mass_and_degree_equal_a_count_of_links(cell: tuple[int, int, int]) -> None:
    depth, width, tc = cell
    present, possible = count_links(depth, width, tc)
    density = present / possible if possible else 0.0
    assert sum(link_counts(depth, width, tc)) == present
    assert cell_density(depth, width, tc) == [pytest.approx(density)]
    assert nn_mass(depth, width, tc) == pytest.approx(width * depth * density)
    edges = (depth - 1) * width * width + present * width
    assert average_degree(depth, width, tc) == pytest.approx(edges / (width * depth))


@given(st.lists(CELL, min_size=1, max_size=4))
def test_a_network_pools_its_cells(cells: list[tuple[int, int, int]]) -> None:
    depth, width, tc = (list(column) for column in zip(*cells, strict=True))
    assert nn_mass(depth, width, tc) == pytest.approx(sum(nn_mass(*cell) for cell in cells))
    neurons = [d * w for d, w, _ in cells]
    degrees = [average_degree(*cell) for cell in cells]
    pooled = sum(n * k for n, k in zip(neurons, degrees, strict=True)) / sum(neurons)
    assert average_degree(depth, width, tc) == pytest.approx(pooled)


@given(CELL)
def test_density_runs_from_chain_to_all_to_all(cell: tuple[int, int, int]) -> None:
    depth, width, tc = cell
    assert cell_density(depth, width, 0) == [0.0]
    assert 0 <= cell_density(depth, width, tc)[0] <= 1
    if depth >= 3:
        assert cell_density(depth, width, width * depth) == [pytest.approx(1.0)]


def test_published_figures() -> None:
    assert nn_mass(4, [2, 3, 4], [3, 4, 5]) == pytest.approx(28)  # ICLR-F9
    assert nn_mass(12, [32, 64, 128], [60, 130, 170]) == pytest.approx(755.345, abs=5e-4)  # ICLR-T5
    assert average_degree(12, [32, 64, 128], [60, 130, 170]) == pytest.approx(203.095, abs=5e-4)
    assert average_degree(12, 32, 60) == 77.0
    assert average_degree_approximation(32, nn_mass(12, 32, 60)) == pytest.approx(94.4)
    assert int(nn_mass(24, 8, 2) * 100) / 100 == 4.17
    assert int(nn_mass(32, 8, 2) * 100) / 100 == 4.12  # 4.129, which the paper rounds to 4.13
    assert round(nn_mass(16, 8, 8), 2) == 17.07


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6))
def test_the_mass_of_a_residual_block_equals_a_count_of_links(widths: list[int]) -> None:
    """Each layer's input could skip to every later layer's output; the skip brings the first layer's to the last."""
    possible = sum(width for first, width in enumerate(widths) for _ in widths[first + 1 :])
    assert residual_mass(widths) == pytest.approx(sum(widths) * widths[0] / possible)


@given(st.integers(1, 50))
def test_the_approximation_is_the_limit_of_deep_cells(tc: int) -> None:
    width, depth = 4, 4000
    exact = average_degree(depth, width, tc)
    assert average_degree_approximation(width, nn_mass(depth, width, tc)) == pytest.approx(exact, rel=0.02)


def test_bounds_follow_the_formula_and_broadcast() -> None:
    low, high = singular_value_bounds(width=8, nn_mass=[0, 16], variance=0.5)
    assert low == pytest.approx([0.0, sqrt(8) - 2])
    assert high == pytest.approx([4.0, sqrt(8) + 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, [1, 2], [1, 2, 3]), "width to be one number or one per cell"),
        ((4, [], 3), "width to be one number or one per cell"),
        ((0, 1, 1), "depth to be an integer of at least 1, but got 0"),
        ((3, 0, 1), "width to be an integer of at least 1, but got 0"),
        ((3, 2.5, 1), "width to be an integer of at least 1, but got 2.5"),
        ((3, 2, -1), "tc to be an integer of at least 0, but got -1"),
        ((True, 2, 1), "depth to be an integer of at least 1, but got True"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple, message: str) -> None:
    for function in (nn_mass, cell_density, average_degree):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="variance to be non-negative, but got -1"):
        singular_value_bounds(8, 16, -1)
    with pytest.raises(ValueError, match="nn_mass to be non-negative, but got -2"):
        average_degree_approximation(8, [1, -2])
