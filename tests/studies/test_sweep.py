"""Values of a grid as users write them: numbers with an exponent, values twice, and the first combination's report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nnmass.commands.main import main
from nnmass.commands.study.opened import open_study
from nnmass.studies.definition import Study, planned_rows
from nnmass.studies.explain import explain, significant
from nnmass.studies.grid import flat_grid
from nnmass.studies.report.sweep import draw_sweep, marginal_means, sweep_of, with_positions
from nnmass.studies.report.sweep_tables import sweep_markdown, sweep_tables

DIGITS: dict[str, Any] = {
    "model": {"network": {"class_path": "RandomSkipMLP", "init_args": {"depth": 4, "width": 4, "tc": 1}}},
    "data": "Digits",
    "trainer": {"max_epochs": 1},
}


def test_an_exponent_makes_a_number_whichever_way_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(DIGITS))
    rows = []
    for number, rates in enumerate(("[1e-3, 1e-2]", "[0.001, 0.01]", "[1.0e-3, 1.0e-2]")):
        file = tmp_path / f"s{number}.yaml"
        file.write_text(f"configs: [digits.yaml]\ngrid: {{model.optimizer.init_args.lr: {rates}}}\n")
        opened = open_study(str(file))
        assert [row.options["model.optimizer.init_args.lr"] for row in opened.rows] == [0.001, 0.01]
        rows.append([row.id for row in opened.rows])
    assert rows[0] == rows[1] == rows[2]


def test_rows_keep_the_names_that_they_had_when_such_a_number_was_a_text() -> None:
    names = []
    for rate in (5e-05, "5e-05"):
        optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "weight_decay": rate}}
        content = DIGITS | {"model": DIGITS["model"] | {"optimizer": optimizer}}
        (row,) = planned_rows(Study("s", configs=["digits"]), {"digits": content})
        names.append(row.id)
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("values", "got"), [([8, 8], "8"), ([1, 1.0], "1.0"), ([0.1, "a", "a"], "a"), ([[1], [1]], r"\[1\]")]
)
def test_a_value_twice_is_refused(values: list, got: str) -> None:
    with pytest.raises(ValueError, match=f"list each value of data.batch_size once, but got {got} twice"):
        flat_grid({"data.batch_size": values})


def test_a_flag_is_no_number() -> None:
    assert flat_grid({"data.x": [True, 1, False, 0, None]}) == {"data.x": [True, 1, False, 0, None]}


def results(rates: list[Any]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "config": [f"digits lr={rate}" for rate in rates],
            "network": "a",
            "model.optimizer.lr": rates,
            "status": "finished",
            "test_accuracy_last": np.linspace(0.5, 0.6, len(rates)),
        }
    )


def test_the_first_finished_combination_has_a_table_and_a_figure() -> None:
    sweep = sweep_of(results([0.1]), ["model.optimizer.lr"])
    assert (sweep.varied, len(sweep.table)) == (["lr"], 1)
    assert with_positions(sweep)["lr"] == [("0.1", 0.5)]
    assert len(marginal_means(sweep)) == 1
    assert len(list(sweep_tables(sweep))) > 0
    assert "0.1" in sweep_markdown(sweep)
    draw_sweep(sweep)


def test_values_stand_in_the_order_of_numbers() -> None:
    sweep = sweep_of(results(["10.0", "9.0", "1e-05", "None", "auto"]), ["model.optimizer.lr"])
    assert [text for text, _ in with_positions(sweep)["lr"]] == ["1e-05", "9.0", "10.0", "None", "auto"]


def test_a_study_of_one_finished_combination_is_reported(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(DIGITS))
    study = {"configs": ["digits.yaml"], "grid": {"data.batch_size": [64, 128]}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    words = [str(tmp_path / "s.yaml"), "--output-dir", str(tmp_path / "out")]
    assert main(["study", "run", *words, "--limit", "1"]) == 0
    assert main(["study", "report", *words]) == 0
    assert len(pd.read_csv(tmp_path / "out" / "sweep.csv")) == 1


@given(st.lists(st.integers(1, 12), min_size=3, max_size=20), st.permutations([0.1, 0.2, 0.3, 0.4]))
def test_ranks_do_not_depend_on_the_order_in_which_numbers_are_summed(counts: list[int], parts: list[float]) -> None:
    x = np.array([sum(parts) * count for count in counts])
    y = np.arange(len(x)) % 5
    one, other = explain(x, y), explain(np.array(counts, dtype=float), y)
    for name in ("spearman", "kendall"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), nan_ok=True)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_twelve_digits_are_kept(values: list[float]) -> None:
    rounded = significant(np.array(values))
    np.testing.assert_allclose(rounded, values, rtol=1e-11)
    assert significant(rounded).tolist() == rounded.tolist()
