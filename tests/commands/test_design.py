"""Designs against brute force, and against networks that are built and counted."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass import zoo
from nnmass.commands.main import main
from nnmass.commands.options.design_reference import find_reference, start_of
from nnmass.commands.options.named_networks import network_of_config
from nnmass.commands.options.types import amount
from nnmass.commands.study.opened import open_study
from nnmass.zoo import (
    Shape,
    count_macs,
    densenet_grid,
    densenet_size,
    fewest_params,
    highest_mass,
    measure_latency,
    mlp_grid,
    mlp_size,
    mobilenet_grid,
    mobilenet_size,
    nn_mass,
    pareto_front,
    topology,
)
from nnmass.zoo.design.search import nondominated

Row = tuple[tuple, float, int, int]


def densenets(data: st.DataObject) -> tuple[list[Shape], list[Row]]:
    """A small grid, and shape, mass, parameters and MACs of each of its networks."""
    base = data.draw(st.lists(st.sampled_from([1, 2, 3, 5, 8]), min_size=1, max_size=4))
    depths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=2, unique=True))
    multipliers = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True))
    choices = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=5, unique=True))
    size = partial(densenet_size, side=16)
    rows: list[Row] = []
    for depth, multiplier, tc in product(depths, multipliers, product(choices, repeat=len(base))):
        widths = [width * multiplier for width in base]
        cost = size([depth] * len(base), widths, tc)
        rows.append(((depth, multiplier), nn_mass(depth, widths, tc), cost.num_params, cost.macs))
    return densenet_grid(depths, multipliers, choices, base, size), rows


def mlps(data: st.DataObject) -> tuple[list[Shape], list[Row]]:
    depths = data.draw(st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True))
    widths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True))
    choices = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=9, unique=True))
    rows: list[Row] = []
    for depth, width, tc in product(depths, widths, choices):
        rows.append(((depth, width), nn_mass(depth, width, tc), *mlp_size(depth, width, tc)))
    return mlp_grid(depths, widths, choices), rows


def mobilenets(data: st.DataObject) -> tuple[list[Shape], list[Row]]:
    widths = data.draw(st.lists(st.sampled_from([0.1, 0.35, 1.0, 1.4]), min_size=1, max_size=2, unique=True))
    choices = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=2, unique=True))
    rows: list[Row] = []
    for width, repeats in product(widths, product(choices, repeat=7)):
        cost, mass = mobilenet_size(width, repeats)
        rows.append(((width,), mass, *cost))
    return mobilenet_grid(widths, choices), rows


@settings(max_examples=120, deadline=None)
@given(data=st.data(), family=st.sampled_from([densenets, mlps, mobilenets]))
def test_no_network_of_a_small_grid_is_better(
    data: st.DataObject, family: Callable[[st.DataObject], tuple[list[Shape], list[Row]]]
) -> None:
    grid, rows = family(data)
    assert sum(shape.networks for shape in grid) == len(rows)
    _, some_mass, some_params, some_macs = rows[data.draw(st.integers(0, len(rows) - 1))]
    max_params = data.draw(st.sampled_from([np.inf, some_params, some_params - 1]))
    max_macs = data.draw(st.sampled_from([np.inf, some_macs, 1.1 * some_macs]))
    fitting = [row for row in rows if row[2] <= max_params and row[3] <= max_macs]
    for rule in ("mass", "params"):
        best: dict[tuple, float] = {}
        for shape, mass, params, _ in fitting:
            if rule == "mass":
                best[shape] = max(best.get(shape, 0.0), mass)
            elif mass >= some_mass * (1 - 1e-12):
                best[shape] = min(best.get(shape, np.inf), params)
        for count in (100, 1, 2):
            if rule == "mass":
                answer = highest_mass(grid, max_params, max_macs, count)
                found = {tuple(design.arguments.values())[:-1]: design.nn_mass for design in answer.designs}
                expected = sorted(best.values(), reverse=True)[:count]
            else:
                answer = fewest_params(grid, some_mass, max_params, max_macs, count)
                found = {tuple(design.arguments.values())[:-1]: design.num_params for design in answer.designs}
                expected = sorted(best.values())[:count]
            assert list(found.values()) == pytest.approx(expected)
            assert all(best[shape] == pytest.approx(figure) for shape, figure in found.items())
            if expected:
                assert answer.bound == pytest.approx(expected[0])
    figures = sorted({(params, macs, round(mass, 6)) for _, mass, params, macs in fitting})
    front = [
        one
        for one in figures
        if not any(o != one and o[0] <= one[0] and o[1] <= one[1] and o[2] >= one[2] for o in figures)
    ]
    designs = pareto_front(grid, max_params, max_macs)
    assert [(design.num_params, design.macs, round(design.nn_mass, 6)) for design in designs] == front


@given(
    st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=60),
    st.lists(st.tuples(*[st.floats(-1, 1)] * 3), max_size=20),
)
def test_nondominated(whole: list[tuple], real: list[tuple]) -> None:
    rows = np.array([*whole, *real], dtype=float).reshape(-1, 3)
    found = nondominated(rows)
    smaller = [
        any((other <= row).all() and (other != row).any() for other in rows) or (rows[:index] == row).all(1).any()
        for index, row in enumerate(rows)
    ]
    assert sorted(found) == [index for index, is_smaller in enumerate(smaller) if not is_smaller]
    assert list(rows[found, 0]) == sorted(rows[found, 0])


def test_designs_cost_what_is_printed() -> None:
    """Random-skip DenseNets, MLPs and MobileNetV2s of the Pareto fronts, drawn at random, are built and counted."""
    grids: dict[Any, Any] = {
        zoo.RandomSkipDenseNet: (densenet_grid([3, 5, 8], [0.25, 0.5], range(0, 60)), (3, 32, 32), 20),
        zoo.RandomSkipMLP: (mlp_grid(range(2, 20), range(1, 12), range(0, 40)), (784,), 40),
        zoo.MobileNetV2: (mobilenet_grid([0.35, 0.5], range(1, 3)), (3, 224, 224), 8),
    }
    generator = np.random.default_rng(0)
    for kind, (grid, input_size, count) in grids.items():
        front = pareto_front(grid)
        for index in generator.choice(len(front), min(len(front), count), False):
            design = front[index]
            with torch.device("meta" if kind is zoo.MobileNetV2 else "cpu"):
                network = kind(**design.arguments)
            assert sum(parameter.numel() for parameter in network.parameters()) == design.num_params
            assert count_macs(network, input_size) == design.macs
            if kind is zoo.MobileNetV2:
                assert topology(network, input_size).nn_mass == pytest.approx(design.nn_mass)
            else:
                assert network.nn_mass == pytest.approx(design.nn_mass, rel=1e-12)


@pytest.mark.parametrize(("max_params", "max_macs"), [(2e6, np.inf), (np.inf, 0.2e9), (3e6, 0.4e9)])
def test_the_best_keep_to_the_budget(max_params: float, max_macs: float) -> None:
    found = highest_mass(densenet_grid(range(6, 13, 3), [1, 1.5, 2], range(0, 200, 7)), max_params, max_macs, 4).designs
    assert len(found) == 4
    assert all(design.num_params <= max_params and design.macs <= max_macs for design in found)


def test_a_large_grid_is_searched_as_a_whole() -> None:
    """20 depths, 5 widths and 1500 choices for each of three cells: 3 x 10^11 networks."""
    grid = densenet_grid(range(5, 25), [1, 1.5, 2, 2.5, 3], range(1500))
    assert sum(shape.networks for shape in grid) == 337_500_000_000
    answer = highest_mass(grid, 5e6, 0.8e9)
    # All of its links are there: density 1, where the mass is the sum of its cells' widths times their depth.
    depth, multiplier = answer.designs[0].arguments["cell_depth"], answer.designs[0].arguments["width_multiplier"]
    assert answer.designs[0].nn_mass == pytest.approx(depth * multiplier * (16 + 32 + 64))
    assert answer.bound == pytest.approx(1680)
    smallest = fewest_params(grid, 1680 * (1 - 1e-9), max_macs=0.8e9)
    assert smallest.bound == smallest.designs[0].num_params <= answer.designs[0].num_params


def test_what_fits_nowhere_is_not_found() -> None:
    grid = densenet_grid([12], [2], [60])
    assert (
        highest_mass(grid, max_params=1000).designs == fewest_params(grid, 1e6).designs == pareto_front(grid, 9) == []
    )


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (densenet_grid, ([], [1], [0]), "cell_depths to hold at least one number"),
        (densenet_grid, ([12], [], [0]), "width_multipliers to hold at least one number"),
        (densenet_grid, ([12], [1], []), "tc to hold at least one number"),
        (densenet_grid, ([0], [1], [0]), "cell_depths to be an integer of at least 1, but got 0"),
        (densenet_grid, ([12], [1], [-1]), "tc to be an integer of at least 0, but got -1"),
        (densenet_grid, ([12], [1.01], [0]), "whole number of at least 1, but got 1.01"),
        (mlp_grid, ([1], [1], [0]), "depths to be an integer of at least 2, but got 1"),
        (mobilenet_grid, ([0], [1]), "width_multipliers to be positive, but got 0"),
        (mobilenet_grid, ([1], [0]), "repeats to be an integer of at least 1, but got 0"),
    ],
)
def test_bad_grids_are_refused(make: Callable, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(*arguments)


class Sleep(torch.nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        import time

        assert not self.training
        assert inputs.shape == (3, 2)
        time.sleep(0.004)
        return inputs


def test_latency_is_the_time_of_one_pass() -> None:
    network = Sleep()
    latency = measure_latency(network, (2,), batch=3, seconds=0.1)
    assert 0.004 <= latency.median < 0.02
    assert latency.repeats >= 5
    assert network.training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("like", "options"),
    [
        ("cifar10_dense.yaml", "--cell-depth 4:6"),
        ("imagenet_dsconv", "--cell-depth 4:6 --rule fewest-params --width-multiplier 2"),
        ("dense_31_w1_small", "--rule pareto-front --cell-depth 9 --width-multiplier 1"),
        ("mnist_mlp", "--max-latency 1s --batch 2 --depth 8:10 --width 8"),
        ("mobilenetv2_075", "--rule pareto-front --width-multiplier 0.5:0.6:0.1 --repeats 1:2"),
        ("mobilenetv2_100_cifar", "--width-multiplier 0.5:0.7:0.1 --repeats 1:2"),
    ],
)
def test_the_command_writes_configurations_of_the_printed_networks(
    like: str, options: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ("design", "--like", like, "--output_dir", str(tmp_path / "found"), "--count", "3", *options.split())
    assert main(command) == 0
    out = capsys.readouterr().out
    files = sorted((tmp_path / "found").glob("*.yaml"))
    assert len(files) == 3
    names = len(find_reference(like).family.grids)
    for file in files:
        named = network_of_config(str(file))
        found = topology(named.network, named.input_size)
        like_name = like.removesuffix(".yaml")
        line = next(line for line in out.splitlines() if f" {file.stem.removeprefix(like_name + '_')} " in line)
        assert [cell.strip() for cell in line.split("│")[names + 2 : names + 5]] == [
            f"{found.nn_mass:,.3f}",
            f"{found.num_params:,}",
            f"{found.macs:,}",
        ]
        assert ("±" in line) == ("--max-latency" in options)
    table = pd.read_csv(tmp_path / "found" / "designs.csv")
    assert len(table) >= 3
    assert ("latency_s" in table) == ("--max-latency" in options)
    assert (tmp_path / "found" / "designs.png").stat().st_size > 5000
    assert main(command) == 2
    assert "Expected --output-dir to be a new or empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "family", "table"),
    [
        ("--max-params 3k --family mlp --depth 4:8", "mlp", "highest-mass: within 3,000 parameters"),
        ("--max-macs 2m --family mlp --min-mass 5 --rule fewest-params --depth 8", "mlp", "2,000,000 MACs, NN-Mass"),
        ("--max-params 0.3m --width-multiplier 1 --cell-depth 4:6 --tc 0:40:20", "dense", "within 300,000 parameters"),
    ],
)
def test_a_budget_alone_is_enough(
    words: str, family: str, table: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["design", *words.split(), "--count", "2", "--output-dir", str(tmp_path / "found")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert table in out
    name = start_of(family).name
    assert f" {name} " not in out.split("Written to")[0]  # what only says how to train is no reference
    designs = pd.read_csv(tmp_path / "found" / "designs.csv")
    column, limit = ("macs", 2e6) if "macs" in words else ("num_params", 3e3 if "3k" in words else 3e5)
    assert len(designs) == 2
    assert (designs[column] <= limit).all()
    files = list((tmp_path / "found").glob("*.yaml"))
    named = network_of_config(str(files[0]))
    assert topology(named.network, named.input_size).nn_mass in designs["nn_mass"].to_list()


def test_the_rule_d_optimal_writes_a_study(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = "--like mnist_mlp --rule d-optimal --count 7 --depth 4,8,16 --width 4:8:2 --tc 1,2,4,8,16"
    assert main(["design", *words.split(), "--output-dir", str(tmp_path / "found")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Of 45 networks" in out
    assert "The largest correlation among those chosen is" in out
    assert "of log NN-Mass and log t; variance inflation: log NN-Mass" in out
    assert "d-optimal: without a budget" in out
    opened = open_study(str(tmp_path / "found" / "mnist_mlp_d_optimal.yaml"))
    designs = pd.read_csv(tmp_path / "found" / "designs.csv")
    assert len(opened.rows) == 3 * len(designs) == 21
    for (_, design), row in zip(designs.iterrows(), opened.rows[::3], strict=True):
        assert {name: row.arguments[name] for name in ("depth", "width", "tc")} == dict(
            design[["depth", "width", "tc"]]
        )
    assert main(["design", *words.split(), "--max-latency", "1ms"]) == 2
    assert "with the rule highest-mass or fewest-params, but got d-optimal." in capsys.readouterr().err


def test_a_search_without_a_limit_is_refused(capsys: pytest.CaptureFixture) -> None:
    for words, sentence in (
        ("", "Expected --max-params, --max-macs or a reference, --like, but got none of them."),
        (
            "--rule fewest-params --max-macs 2G",
            "Expected --min-mass or a reference, --like, with the rule fewest-params",
        ),
        ("--like mnist_mlp --family mlp", "Expected --family with no --like only, but got it with --like."),
    ):
        assert main(["design", *words.split()]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("text", "number"), [("3k", 3e3), ("1.5M", 1.5e6), ("1.5m", 1.5e6), ("2G", 2e9), ("7", 7)])
def test_amounts_are_read_with_small_and_capital_letters(text: str, number: float) -> None:
    assert amount("--max-params")(text) == number


@pytest.mark.slow
def test_a_checkpoint_is_a_reference(tmp_path: Path) -> None:
    short = ("--trainer.max_epochs", "1", "--output_dir", str(tmp_path / "runs"))
    assert main(["fit", "--config", "digits_dense", *short]) == 0
    checkpoint = tmp_path / "runs" / "latest" / "checkpoints" / "last.ckpt"
    reference = find_reference(str(checkpoint))
    assert reference.design.arguments == {"cell_depth": 4, "width_multiplier": 1, "tc": [8, 16, 32]}
    assert reference.input_size == (1, 8, 8)
    found = tmp_path / "found"
    like = ("--like", str(checkpoint), "--cell-depth", "4:6", "--output_dir", str(found), "--count", "1")
    assert main(["design", *like]) == 0
    assert main(["fit", "--config", str(next(found.glob("*.yaml"))), *short]) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "Expected --max-params, --max-macs or a reference, --like, but got none of them."),
        ("--family cnn", "Expected --family to be one of dense, mlp, mobilenetv2, but got 'cnn'"),
        ("--max-params 3k", "has 11,014 parameters and 1,585,312 MACs, and the budget is 3,000 parameters."),
        ("--like cifar10_denze.yaml", "did you mean cifar10_dense.yaml?"),
        ("--like resnet50", "one of RandomSkipDenseNet, RandomSkipMLP, MobileNetV2, but resnet50 is a ResNet."),
        ("--like cifar10_wrn", "one of RandomSkipDenseNet, RandomSkipMLP, MobileNetV2, but cifar10_wrn is a ResNet."),
        ("--like nowhere/last.ckpt", "Expected a checkpoint, but nowhere/last.ckpt does not exist."),
        ("--like cifar10_dense --max-params 1K", "has 676,714 parameters and 95,257,856 MACs"),
        ("--like cifar10_dense --max-params 5MB", "a positive number such as 800K, 5M or 0.8G, but got 5MB"),
        ("--like cifar10_dense --max-macs 0", "a positive number such as 800K, 5M or 0.8G, but got 0"),
        ("--like cifar10_dense --min-mass 9K", "in reach, but got 9000; the highest within the budget is 1331.810, of"),
        ("--like cifar10_dense --max-latency 5", "a time such as 800us, 5ms or 0.1s, but got 5"),
        ("--like mnist_mlp --depth 8 --max-latency 1us", "in reach, but got 0.001 ms; the fastest of the"),
        ("--like mnist_mlp --max-latency 1ms --device cuda", "Expected --device to be there, but torch sees no CUDA"),
        ("--like mnist_mlp --max-latency 1ms --rule pareto-front", "--max-latency with the rule highest-mass or"),
        ("--like cifar10_dense --tc 300:5", "Expected --tc to rise from its first number to its second, but got 300:5"),
        ("--like cifar10_dense --tc 5:9:0", "Expected --tc to be a number, from:to or from:to:step, but got 5:9:0"),
        ("--like cifar10_dense --tc 0:1:1/9999999", "Expected --tc to hold at most a million numbers"),
        ("--like cifar10_dense --cell-depth 0:4", "Expected cell_depths to be an integer of at least 1, but got 0"),
        ("--like cifar10_dense --width-multiplier 1.01", "to be a whole number of at least 1, but got 1.01"),
        ("--like cifar10_dense --repeats 1:2", "(--cell-depth, --width-multiplier, --tc), but got --repeats."),
        (
            "--like cifar10_dense --rule best",
            "Expected --rule to be one of highest-mass, fewest-params, pareto-front, d-optimal, but got 'best'",
        ),
    ],
)
def test_bad_input_gets_one_sentence(words: str, sentence: str, capsys: pytest.CaptureFixture) -> None:
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main(["design", *words.split()]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert sentence in line


# Layers, then parameters in M, FLOPs in G and mass as printed, then the t_c in steps of 5 that have them.
@pytest.mark.parametrize(
    ("layers", "params", "flops", "mass", "expected", "heaviest"),
    [
        (64, 11.89, 3.63, 1126, [(90, 170, 300)], 1215),
        (64, 8.15, 2.54, 622, [], 674),
        (40, 5.02, 1.59, 755, [(60, 130, 170)], 817),
        (37, 4.69, 1.51, 813, [(70, 140, 180)], 884),
        (31, 3.82, 1.20, 856, [(70, 140, 200), (75, 135, 200)], 914),
    ],
)
def test_rows_of_iclr_t5(
    layers: int, params: float, flops: float, mass: int, expected: list[tuple[int, int, int]], heaviest: int
) -> None:
    depth, widths = (layers - 4) // 3, [32, 64, 128]
    depths, choices = [depth] * 3, range(0, 401, 5)
    base, per_cell = densenet_size(depths, widths, [0] * 3), []
    for cell in range(3):
        rows = []
        for number in choices:
            tc = [number if cell == other else 0 for other in range(3)]
            size = densenet_size(depths, widths, tc)
            rows.append((size.num_params - base.num_params, size.macs - base.macs, nn_mass(depths, widths, tc)))
        per_cell.append(np.array(rows).T)
    a, b, c = per_cell
    sums = a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]
    fits = np.abs((base.num_params + sums[0]) / 1e6 - params) < 0.00501
    fits &= np.abs(2 * (base.macs + sums[1]) / 1e9 - flops) < 0.00501
    fits &= (sums[2] + 1e-9).astype(int) == mass
    assert [tuple(choices[index] for index in found) for found in np.argwhere(fits)] == expected
    printed = densenet_size(depths, widths, expected[0] if expected else (52, 97, 151))
    answer = highest_mass(densenet_grid([depth], [2], range(1301)), printed.num_params, printed.macs)
    assert int(answer.designs[0].nn_mass) == heaviest
    assert answer.bound == answer.designs[0].nn_mass
