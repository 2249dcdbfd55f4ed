"""D-optimal choices against brute force, and against the definition of the inflation of variances."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnmass.zoo import densenet_grid, link_counts, mlp_grid, mobilenet_grid
from nnmass.zoo.design.d_optimal import d_optimal, design_features, exchange, separation


def information(columns: np.ndarray, chosen: object) -> float:
    """Determinant of X'X by its definition."""
    rows = np.column_stack([np.ones(len(columns)), columns])[list(chosen)]  # type: ignore[call-overload]
    return float(np.linalg.det(rows.T @ rows))


def named(columns: np.ndarray) -> dict[str, np.ndarray]:
    return {f"x{index}": column for index, column in enumerate(columns.T)}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("rows", "features", "count"), [(8, 1, 3), (9, 2, 5), (10, 3, 4), (10, 3, 6)])
def test_the_choice_is_the_best_of_all(rows: int, features: int, count: int, seed: int) -> None:
    columns = np.random.default_rng(seed).normal(size=(rows, features))
    best = max(information(columns, chosen) for chosen in combinations(range(rows), count))
    assert information(columns, exchange(named(columns), count)) == pytest.approx(best, rel=1e-9)


TABLES = arrays(float, st.tuples(st.integers(8, 20), st.integers(1, 3)), elements=st.integers(-9, 9).map(float))


@given(table=TABLES, data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_exchange_of_one_row_betters_the_choice(table: np.ndarray, data: st.DataObject) -> None:
    if np.linalg.matrix_rank(table - table.mean(axis=0)) < table.shape[1]:
        with pytest.raises(ValueError, match="to vary, none of them as a linear function of the others"):
            exchange(named(table), table.shape[1] + 1)
        return
    count = data.draw(st.integers(table.shape[1] + 1, len(table)))
    chosen = exchange(named(table), count, seed=data.draw(st.integers(0, 3)))
    assert len(set(chosen)) == count
    reached = information(table, chosen)
    assert reached > 0
    for left in chosen:
        for taken in set(range(len(table))) - set(chosen):
            assert information(table, [*(set(chosen) - {left}), taken]) <= reached * (1 + 1e-6)


def test_scales_units_and_mixtures_of_the_features_change_nothing() -> None:
    columns = np.random.default_rng(0).normal(size=(60, 3))
    mixed = columns @ np.array([[1e6, 0, 0], [3, 1e-3, 0], [0, 1, 5]]) + [1e3, -4, 0]
    assert exchange(named(columns), 12).tolist() == exchange(named(mixed), 12).tolist()


def test_the_inflation_is_one_over_what_the_others_leave() -> None:
    columns = np.random.default_rng(1).normal(size=(40, 3)) @ np.array([[1, 0.8, 0], [0, 1, 0.5], [0, 0, 1]])
    told = separation(columns)
    for index, column in enumerate(columns.T):
        others = np.column_stack([np.ones(40), np.delete(columns, index, axis=1)])
        left = column - others @ np.linalg.lstsq(others, column, rcond=None)[0]
        assert told.inflation[index] == pytest.approx(np.var(column) / np.var(left))
    assert told.determinant == pytest.approx(np.linalg.det(np.corrcoef(columns.T)))


@pytest.mark.parametrize(
    ("grid", "features"),
    [
        (mlp_grid([4, 8, 16], [4, 8], [0, 1, 4, 16]), ["log NN-Mass", "log parameters", "depth", "log t"]),
        (densenet_grid([6, 9, 12], [1, 2], [20, 60, 100]), ["log NN-Mass", "log parameters", "depth", "log t"]),
        (densenet_grid([9], [1, 2], [20, 60, 100]), ["log NN-Mass", "log parameters", "log t"]),
        (mobilenet_grid([0.5, 1], [1, 2]), ["log NN-Mass", "log parameters", "depth"]),
    ],
    ids=["mlp", "densenet", "densenet of one depth", "mobilenet"],
)
def test_networks_are_chosen_from_every_family(grid: list, features: list[str]) -> None:
    choice = d_optimal(grid, count=8)
    assert choice.features == features
    assert len({str(design.arguments) for design in choice.designs}) == len(choice.designs) == 8
    assert all(design.nn_mass > 0 for design in choice.designs)
    table = np.array([[design_features(design)[name] for name in features] for design in choice.designs])
    assert choice.separation.determinant == pytest.approx(separation(table).determinant)


def test_the_choice_keeps_to_the_budget() -> None:
    choice = d_optimal(mlp_grid(range(4, 17), [4, 8], range(1, 17)), 12, max_params=8000, max_macs=7000, min_mass=5)
    assert all(d.num_params <= 8000 and d.macs <= 7000 and d.nn_mass >= 5 for d in choice.designs)


def test_no_t_is_chosen_that_no_layer_can_take() -> None:
    for shape in mlp_grid([3, 8], [4, 6], range(60)):
        depth, width = shape.arguments["depth"], shape.arguments["width"]
        for t in shape.cells[0].values:
            assert t == 0 or max(link_counts(depth, width, int(t))) == t


@pytest.mark.parametrize(
    ("grid", "count", "sentence"),
    [
        (densenet_grid([9], [1], range(0, 301, 5)), 9, "at most 200,000 networks .* but got .*; take larger"),
        (mlp_grid([4, 8], [4], [1, 2]), 9, "Expected count to be at most 4, the networks to choose from, but got 9."),
        (mlp_grid([4, 8, 9], [4, 5], [1, 2]), 3, "Expected count to be an integer of at least 5, but got 3"),
        (mlp_grid([3], [8], range(1, 9)), 5, "to vary, none of them as a linear function of the others"),
        (
            mlp_grid([3, 4], [8], [0]),
            3,
            "Expected the grid to hold networks with links within the limits, but got none",
        ),
    ],
    ids=["too many", "too few", "count", "one shape", "chains"],
)
def test_what_cannot_be_told_apart_is_refused(grid: list, count: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        d_optimal(grid, count)
