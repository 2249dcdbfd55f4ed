"""The search for the highest mass against brute force, and its answers against networks that are built and counted."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.named_networks import network_of_config
from zoo import RandomSkipDenseNet, count_macs, highest_mass, nn_mass, topology
from zoo.size import densenet_size


def all_networks(
    cells: int, depths: list[int], multipliers: list[int], choices: list[int], base: list[int]
) -> list[tuple[int, int, float, int, int]]:
    """Depth, multiplier, mass, parameters and MACs of every network of a grid."""
    rows = []
    for depth, multiplier, tc in product(depths, multipliers, product(choices, repeat=cells)):
        widths = [width * multiplier for width in base]
        cost = densenet_size([depth] * cells, widths, tc, side=16)
        rows.append((depth, multiplier, nn_mass(depth, widths, tc), cost.num_params, cost.macs))
    return rows


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_network_of_a_small_grid_is_heavier(data: st.DataObject) -> None:
    base = data.draw(st.lists(st.sampled_from([1, 2, 3, 5, 8]), min_size=1, max_size=4))
    depths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=2, unique=True))
    multipliers = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True))
    choices = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=5, unique=True))
    rows = all_networks(len(base), depths, multipliers, choices, base)
    some = data.draw(st.integers(0, len(rows) - 1))
    max_params = data.draw(st.sampled_from([np.inf, rows[some][3], rows[some][3] - 1]))
    max_macs = data.draw(st.sampled_from([np.inf, rows[some][4], 1.1 * rows[some][4]]))
    best: dict[tuple[int, int], float] = {}
    for depth, multiplier, mass, params, macs in rows:
        if params <= max_params and macs <= max_macs:
            best[depth, multiplier] = max(best.get((depth, multiplier), 0.0), mass)
    size = partial(densenet_size, side=16)
    found = highest_mass(depths, multipliers, choices, max_params, max_macs, base, size)
    assert {(d.cell_depth, d.width_multiplier): pytest.approx(d.nn_mass) for d in found} == best
    assert [d.nn_mass for d in found] == sorted((d.nn_mass for d in found), reverse=True)
    for few in (1, 2):
        fewer = highest_mass(depths, multipliers, choices, max_params, max_macs, base, size, count=few)
        assert [d.nn_mass for d in fewer] == [d.nn_mass for d in found][:few]


@pytest.mark.parametrize("budget", [(2e6, np.inf), (np.inf, 0.2e9), (3e6, 0.4e9)])
def test_designs_cost_what_is_printed(budget: tuple[float, float]) -> None:
    found = highest_mass(range(6, 13, 3), [1, 1.5, 2], range(0, 200, 7), *budget, count=4)
    assert len(found) == 4
    for design in found:
        network = RandomSkipDenseNet(design.cell_depth, design.width_multiplier, design.tc)
        assert network.nn_mass == design.nn_mass
        assert sum(parameter.numel() for parameter in network.parameters()) == design.num_params <= budget[0]
        assert count_macs(network, (3, 32, 32)) == design.macs <= budget[1]


def test_a_large_grid_is_searched_as_a_whole() -> None:
    """20 depths, 5 widths and 1500 choices for each of three cells: 3 x 10^11 networks."""
    best = highest_mass(range(5, 25), [1, 1.5, 2, 2.5, 3], range(1500), 5e6, 0.8e9)[0]
    # All of its links are there: density 1, where the mass is the sum of its cells' widths times their depth.
    assert best.nn_mass == pytest.approx(best.cell_depth * best.width_multiplier * (16 + 32 + 64)) == 1680
    assert best.num_params <= 5e6
    assert best.macs <= 0.8e9


def test_what_fits_nowhere_is_not_found() -> None:
    assert highest_mass([12], [2], [60], max_params=1000) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [1], [0]), "cell_depths to hold at least one number"),
        (([12], [], [0]), "width_multipliers to hold at least one number"),
        (([12], [1], []), "tc to hold at least one number"),
        (([0], [1], [0]), "cell_depths to be an integer of at least 1, but got 0"),
        (([12], [1], [-1]), "tc to be an integer of at least 0, but got -1"),
        (([12], [1.01], [0]), "whole number of at least 1, but got 1.01"),
    ],
)
def test_bad_grids_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        highest_mass(*arguments)


@pytest.mark.parametrize("like", ["cifar10_dense.yaml", "imagenet_dsconv"])
def test_the_command_writes_configurations_of_the_printed_networks(like: str, tmp_path: Path, nnmass: Callable) -> None:
    done = nnmass("design", "--like", like, "--output_dir", str(tmp_path), "--cell-depth", "4:6", "--count", "3")
    assert done.returncode == 0, done.stderr
    files = sorted(tmp_path.glob("*.yaml"))
    assert len(files) == 3
    for file in files:
        found = topology(*network_of_config(str(file))[1:])
        line = next(line for line in done.stdout.splitlines() if file.stem in line)
        assert [cell.strip() for cell in line.split("│")[5:8]] == [
            f"{found.nn_mass:.3f}",
            f"{found.num_params:,}",
            f"{found.macs:,}",
        ]
    files[0].write_text("mine")
    nnmass("design", "--like", like, "--output_dir", str(tmp_path), "--cell-depth", "4:6", "--count", "3")
    assert files[0].read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "required: --like"),
        ("--like cifar10_denze.yaml", "did you mean cifar10_dense.yaml?"),
        ("--like mnist_mlp.yaml", "Expected --like to describe a zoo.RandomSkipDenseNet, but mnist_mlp.yaml does not."),
        ("--like cifar10_dense --max-params 1K", "the smallest has 170,170 parameters and 24,035,968 MACs"),
        ("--like cifar10_dense --max-params 5MB", "a positive number such as 800K, 5M or 0.8G, but got 5MB"),
        ("--like cifar10_dense --max-macs 0", "a positive number such as 800K, 5M or 0.8G, but got 0"),
        ("--like cifar10_dense --tc 300:5", "Expected --tc to rise from its first number to its second, but got 300:5"),
        ("--like cifar10_dense --tc 5:9:0", "Expected --tc to be a number, from:to or from:to:step, but got 5:9:0"),
        ("--like cifar10_dense --tc 0:1:1/9999999", "Expected --tc to hold at most a million numbers"),
        ("--like cifar10_dense --cell-depth 0:4", "Expected cell_depths to be an integer of at least 1, but got 0"),
        ("--like cifar10_dense --width-multiplier 1.01", "to be a whole number of at least 1, but got 1.01"),
    ],
)
def test_bad_input_gets_one_sentence(words: str, sentence: str, nnmass: Callable) -> None:
    done = nnmass("design", *words.split())
    assert done.returncode != 0
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
