"""Grids over options: their combinations, what is refused, and that studies without one are what they were."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from nnmass.commands.main import main
from nnmass.commands.study.opened import open_study
from nnmass.commands.study.soundness import require_sound
from nnmass.studies.definition import Row, Study, planned_rows
from nnmass.studies.grid import combined_name, distinct_names, flat_grid, with_options
from nnmass.studies.plan import planned
from nnmass.studies.report.fits import study_fits
from nnmass.studies.report.page import study_page
from nnmass.studies.report.sweep import draw_sweep, marginal_means, spread_of, sweep_of, with_positions
from nnmass.studies.report.sweep_tables import sweep_markdown
from nnmass.studies.work import begun

DIGITS = {
    "model": {"network": "mlp_d16_w8_t2", "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}},
    "data": "Digits",
    "trainer": {"max_epochs": 2},
}
GRID = {"model.optimizer.lr": [0.1, 0.2], "data.batch_size": [16, 32, 64]}


def rows_of(grid: dict[str, Any], **more: Any) -> list[Row]:
    return planned_rows(Study("s", configs=["digits"], grid=grid, **more), {"digits": DIGITS})


def refused(grid: Any, tmp_path: Path, engine: str = "fit") -> str:
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(DIGITS))
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump({"engine": engine, "configs": ["digits.yaml"], "grid": grid}))
    with pytest.raises(ValueError, match="Expected") as error:
        require_sound(open_study(str(file)))
    return str(error.value)


def test_every_combination_is_trained_with_every_network_and_seed() -> None:
    rows = rows_of(GRID, networks=["mlp_d16_w8_t2", "mlp_d20_w8_t2"], seeds=2)
    assert len(rows) == len({row.id for row in rows}) == 2 * 3 * 2 * 2
    assert all(re.fullmatch(r"[\w.=-]+", row.id) for row in rows)
    chosen = set()
    for row in rows:
        model, data = row.build()
        rate = model.optimizer([next(model.parameters())]).defaults["lr"]
        assert row.options == {"model.optimizer.lr": rate, "data.batch_size": data.batch_size}
        chosen.add((rate, data.batch_size, row.network, row.seed))
    assert len(chosen) == len(rows)


def test_rows_of_a_study_without_a_grid_are_named_as_before_there_were_grids() -> None:
    (row,) = planned_rows(
        Study("s", configs=["c"], networks=["mlp_d16_w8_t2"], seeds=[3]),
        {"c": {"model": {"network": {"class_path": "nnmass.zoo.RandomSkipMLP"}}, "data": "nnmass.datamodules.Digits"}},
    )
    assert (row.id, row.config, row.options) == ("mlp_d16_w8_t2_seed3_93364ef1", "c", {})


def test_more_values_leave_the_rows_that_are_there_alone() -> None:
    assert {row.id for row in rows_of(GRID)} < {
        row.id for row in rows_of(GRID | {"data.batch_size": [16, 32, 64, 128]})
    }


def test_a_row_can_be_trained_alone_by_its_configuration_and_its_record_has_its_options() -> None:
    row = rows_of({"model.optimizer.lr": [0.3], "model.label_smoothing": [0.1], "trainer.gradient_clip_val": [1]})[0]
    assert row.configuration["model"]["optimizer"]["init_args"] == {"lr": 0.3}
    assert row.configuration["model"]["label_smoothing"] == 0.1
    assert row.configuration["trainer"] == {"max_epochs": 2, "gradient_clip_val": 1}
    record = begun(Study("s", configs=["digits"]), row)
    assert (record["model.optimizer.lr"], record["model.label_smoothing"]) == (0.3, 0.1)


def test_options_are_set_where_the_command_line_would_set_them() -> None:
    content = {"model": {"optimizer": "torch.optim.SGD"}, "data": {"class_path": "A", "init_args": {"augment": True}}}
    changed = with_options(content, {"model.optimizer.init_args.lr": 1, "data.batch_size": 2, "trainer.max_epochs": 3})
    assert changed == {
        "model": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1}}},
        "data": {"class_path": "A", "init_args": {"augment": True, "batch_size": 2}},
        "trainer": {"max_epochs": 3},
    }
    assert content["model"] == {"optimizer": "torch.optim.SGD"}


@given(st.dictionaries(st.from_regex(r"[a-z]{1,9}\.[a-z]{1,9}", fullmatch=True), st.integers() | st.text(), max_size=9))
def test_the_name_of_a_combination_is_never_long(options: dict[str, Any]) -> None:
    assert len(combined_name(options)) <= 83


@pytest.mark.parametrize(
    "grid",
    [
        {"model.optimizer": ["torch.optim.Adam", "mine.fast.Adam"]},
        {"data.data_dir": ["/d/v1.0.clean", "/d/v2.0.clean"]},
        {**{f"data.a_long_option_{number}": [number] for number in range(5)}, "data.standardise": [True, False]},
        {"data.init_args.lr": [1, "1"]},
    ],
)
def test_combinations_that_look_alike_are_told_apart(grid: dict[str, list]) -> None:
    names = distinct_names(grid)
    assert len(set(names)) == len(names) == 2
    network = {"class_path": "RandomSkipMLP", "init_args": {"depth": 4, "width": 8, "tc": 2}}
    content = {"b": {"model": {"network": network}, "data": {"class_path": "Digits"}, "trainer": {}}}
    rows = planned_rows(Study("s", configs=["b"], networks=["mlp_d16_w8_t1"], grid=grid, seeds=2), content)
    assert len({row.config for row in rows}) == 2
    assert len({row.id for row in rows}) == 4


def test_a_grid_may_be_nested() -> None:
    assert flat_grid({"model": {"optimizer": {"lr": [1]}, "label_smoothing": [2]}}) == {
        "model.optimizer.lr": [1],
        "model.label_smoothing": [2],
    }


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({"model.label_smothing": [0]}, "but got 'label_smothing'; did you mean 'model.label_smoothing'?"),
        ({"model.optimizer.lrr": [1]}, "to have only arguments of torch.optim.Adam, but got 'lrr'; did you mean 'lr'?"),
        ({"model.optimizer.lr": [0.1, "much"]}, "Expected model.optimizer.lr to be a number, but got much."),
        (
            {"data.batch_sise": [1]},
            "arguments of nnmass.datamodules.Digits, but got 'batch_sise'; did you mean 'batch_",
        ),
        ({"trainer.max_epoch": [1]}, "but got 'max_epoch'; did you mean 'trainer.max_epochs'?"),
        ({"data.batch_size": 5}, "Expected the study's grid to list values of data.batch_size, but got 5."),
        ({"data.batch_size": []}, "Expected the study's grid to list values of data.batch_size, but got []."),
        (
            {"optimizer.lr": [1]},
            "options of model, data or trainer in full, such as model.optimizer.lr, but got optimizer",
        ),
        ({"model.network.tc": [1]}, "grid to leave model.network to the study's networks, but got model.network.tc."),
        ({"seed_everything": [1]}, "grid to leave seed_everything to the study's seeds, but got seed_everything."),
        ([1], "Expected the study's grid to be options, each with a list of values, but got [1]."),
        (
            {"trainer.max_epochs": list(range(1, 402)), "data.batch_size": list(range(1, 402))},
            "Expected the study's networks, grid and seeds to make at most",
        ),
    ],
)
def test_what_is_no_grid_is_refused_in_one_sentence(grid: Any, sentence: str, tmp_path: Path) -> None:
    message = refused(grid, tmp_path)
    assert sentence in message
    assert "\n" not in message


def test_the_ensemble_engine_refuses_what_it_cannot_vary(tmp_path: Path) -> None:
    message = refused({"model.label_smoothing": [0]}, tmp_path, "ensemble")
    assert message.endswith("but got model.label_smoothing; the engine fit varies any option.")
    rows_of(GRID | {"trainer.max_epochs": [1, 2]}, engine="ensemble")


def test_a_plan_has_a_line_for_each_combination() -> None:
    study = Study("s", configs=["digits"], grid=GRID)
    lines = list(planned(study, planned_rows(study, {"digits": DIGITS})))
    assert [line["config"] for line in lines] == [
        f"digits lr={rate} batch_size={size}" for rate in (0.1, 0.2) for size in (16, 32, 64)
    ]
    assert len({line["nn_mass"] for line in lines}) == 1


def results(networks: int = 2) -> pd.DataFrame:
    """Two seeds of every combination, with accuracies that follow from it."""
    lines = [
        {
            **{"status": "finished", "engine": "fit", "config": f"c lr={rate} batch_size={size}", "network": f"n{net}"},
            **{"seed": seed, "row": f"{rate}{size}{net}{seed}", "began": "now", "depth": 3 + net, "nn_mass": 1.0 + net},
            **{"nn_density": 0.5, "num_params": 10 + net, "macs": 7, "flops": 14, "val_on_test": False},
            **{
                "model.optimizer.lr": rate,
                "data.batch_size": size,
                "val_accuracy_best": rate + size / 1000 + seed / 50,
            },
            **{"test_accuracy_best": rate, "test_accuracy_last": rate / 2},
        }
        for rate in (0.1, 0.2, 0.3)
        for size in (16, 32)
        for net in range(networks)
        for seed in range(2)
    ]
    return pd.DataFrame(lines)


def test_the_table_of_combinations_has_mean_and_spread_over_the_seeds_the_best_first() -> None:
    sweep = sweep_of(results(), list(GRID))
    assert sweep.varied == ["lr", "batch_size", "network"]
    assert sweep.measured == ["validation accuracy", "test accuracy"]
    best = sweep.table.iloc[0]
    assert (best["lr"], best["batch_size"], best["seeds"]) == (0.3, 32, 2)
    assert best["validation accuracy"] == pytest.approx(0.3 + 0.032 + 0.01)
    assert best[spread_of("validation accuracy")] == pytest.approx(np.std([0, 0.02], ddof=1))
    assert sweep.table["validation accuracy"].is_monotonic_decreasing
    positions = with_positions(sweep)
    assert positions["lr"] == [("0.1", 0.0), ("0.2", 0.5), ("0.3", 1.0)]
    assert list(positions) == [*sweep.varied, *sweep.measured]


def test_the_means_of_each_value_are_those_over_all_combinations_that_have_it() -> None:
    means = marginal_means(sweep_of(results(), list(GRID)))
    assert list(zip(means["option"], means["value"], means["combinations"], strict=True)) == [
        *(("lr", "0.1", 4), ("lr", "0.2", 4), ("lr", "0.3", 4)),
        *(("batch_size", "16", 6), ("batch_size", "32", 6), ("network", "n0", 6), ("network", "n1", 6)),
    ]
    by_value = means.set_index(["option", "value"])
    assert by_value.loc[("lr", "0.2"), "validation accuracy"] == pytest.approx(0.2 + 0.024 + 0.01)
    assert by_value.loc[("lr", "0.2"), "best validation accuracy"] == pytest.approx(0.2 + 0.032 + 0.01)
    assert by_value.loc[("batch_size", "16"), "test accuracy"] == pytest.approx(0.2)


def test_the_report_lists_combinations_and_means_and_says_what_is_left_out() -> None:
    text = sweep_markdown(sweep_of(results(), list(GRID)))
    assert "first:\n\n| lr | batch_size | network | seeds | validation accuracy | test accuracy |" in text
    assert "| 0.3 | 32 | n0 | 2 | 0.3420 ± 0.0141 | 0.3000 ± 0.0000 |" in text
    assert "| lr | 0.2 | 4 | 0.2340 | 0.2000 | 0.2420 |" in text
    assert "Not every combination" not in text
    some = results(4).iloc[2:]  # of the first combination there is nothing yet
    text = sweep_markdown(sweep_of(some[some["seed"] == 0], list(GRID)))
    assert "first; 3 more are in sweep.csv:" in text
    assert len(re.findall(r"\| n\d \| 1 \| ", text)) == 20
    assert "±" not in text.partition("first; ")[2]
    assert text.endswith("Not every combination is finished, so the means are not all of the same others.")


def test_where_the_test_set_validates_there_is_one_accuracy() -> None:
    sweep = sweep_of(results().assign(val_on_test=True), list(GRID))
    assert sweep.measured == ["test accuracy"]


@pytest.mark.parametrize("networks", [1, 3])
def test_parallel_coordinates_are_drawn_and_in_the_page(networks: int) -> None:
    table = results(networks)
    sweep = sweep_of(table, list(GRID))
    axes = draw_sweep(sweep).axes[0]
    assert len(axes.lines) == len(sweep.table) + len(with_positions(sweep))
    assert [label.get_text() for label in axes.get_xticklabels()] == [*sweep.varied, *sweep.measured]
    page = study_page("s", table, study_fits(table), "depth", [], {}, {}, sweep)
    assert "Combinations of options" in page
    assert "MultiLine" in page
    assert "Combinations of options" not in study_page("s", table, study_fits(table), "depth", [], {}, {})


@pytest.mark.slow
def test_the_page_on_sweeps_is_done_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = (ROOT / "docs" / "sweep.md").read_text()
    monkeypatch.chdir(tmp_path)
    (study,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "sweep.yaml").write_text(
        study.replace("max_epochs: 5", "max_epochs: 2").replace("seeds: 3", "seeds: 2")
    )
    for command in re.findall(r"^    python cli\.py (.*)$", page, re.MULTILINE):
        assert main(shlex.split(command)) == 0
    folder = tmp_path / "runs" / "study_sweep"
    table = pd.read_csv(folder / "sweep.csv")
    assert len(table) == 3 * 2 * 2
    assert {"lr", "batch_size", "network", "validation accuracy", "std of test accuracy"} <= set(table)
    assert set(pd.read_csv(folder / "results.csv")["model.optimizer.lr"]) == {0.001, 0.003, 0.01}
    assert set(pd.read_csv(folder / "fits.csv")["n"]) == {2, 4}  # networks, or their seeds, of one combination
    assert (folder / "sweep.png").is_file()
    assert "Combinations of options, the best first" in (out := capsys.readouterr().out)
    assert "Each value, over all combinations that have it" in out
    assert "| lr | 0.001 | 4 | " in (folder / "report.md").read_text()
    again = open_study(str(folder))  # the folder stands for itself
    assert len(again.rows) == 24
    assert {row.id for row in again.rows} == set((folder / "rows.txt").read_text().split())


@pytest.mark.slow
def test_the_engine_fit_trains_the_combinations_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {
        **{"configs": ["digits_dense.yaml"], "networks": ["timm/test_resnet", "dense_digits"]},
        **{"changes": {"trainer": {"max_epochs": 1}}, "grid": {"model.label_smoothing": [0, 0.1]}},
    }
    (tmp_path / "smooth.yaml").write_text(yaml.safe_dump(content))
    assert main(["study", "run", "smooth.yaml"]) == 0
    assert main(["study", "report", "smooth.yaml"]) == 0
    table = pd.read_csv(tmp_path / "runs" / "study_smooth" / "sweep.csv")
    assert sorted(zip(table["network"], table["label_smoothing"], strict=True)) == [
        *(("dense_digits", 0.0), ("dense_digits", 0.1), ("timm/test_resnet", 0.0), ("timm/test_resnet", 0.1)),
    ]
