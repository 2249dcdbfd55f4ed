"""Progress of a study's rows while they are trained, and the environment that their processes inherit."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from rich.console import Console

from nnmass.commands.study.progress import RowsAtWork
from nnmass.studies import fit_engine
from nnmass.studies.definition import Row, Study, planned_rows
from nnmass.studies.engines import run_study

BASE = yaml.safe_load((ROOT / "configs" / "mnist_mlp.yaml").read_text())
EPOCHS = 3
# Instead of ``nnmass fit``: a run that writes its record epoch by epoch, and ends with what it has inherited.
TRAINING = """
import json, os, pathlib, sys, time
run = pathlib.Path(sys.argv[sys.argv.index("--output_dir") + 1]) / "run"
run.mkdir()
for epoch in (1, 2):
    text = json.dumps({"status": "running", "epochs": epoch, "last": {"val/accuracy": epoch / 4}})
    (run / "new").write_text(text)
    (run / "new").rename(run / "run.json")
    time.sleep(1)
print(os.environ["OMP_NUM_THREADS"], os.environ["LOKY_MAX_CPU_COUNT"])
sys.exit(1)
"""


def study_of(engine: str, seeds: int, depths: tuple[int, ...] = (3,)) -> tuple[Study, list[Row]]:
    changes: dict[str, Any] = {"data": {"class_path": "nnmass.datamodules.Digits"}, "trainer": {"max_epochs": EPOCHS}}
    networks = [{"depth": list(depths), "tc": [1]}]
    study = Study("small", engine=engine, configs=["mnist_mlp"], networks=networks, seeds=seeds, changes=changes)
    return study, planned_rows(study, {"mnist_mlp": BASE})


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the engine ``fit`` are trained by :data:`TRAINING`, on four cores."""
    monkeypatch.setattr(fit_engine, "program", lambda: [sys.executable, "-c", TRAINING])
    monkeypatch.setattr(fit_engine, "available_cores", lambda: 4)
    monkeypatch.setattr(fit_engine, "_LOOK_S", 0.0)


def test_the_epochs_of_every_row_are_told_while_it_is_trained_together_with_others(tmp_path: Path) -> None:
    study, rows = study_of("ensemble", 2)
    told: list[tuple[str, int]] = []

    def watch(row: Row, epochs: int, metrics: Mapping[str, float]) -> None:
        assert 0 <= metrics["val/accuracy"] <= 1
        told.append((row.id, epochs))

    ended = [row.id for row, _ in run_study(study, rows, tmp_path, 2, watch=watch)]
    assert sorted(ended) == sorted(row.id for row in rows)
    for row in rows:
        assert [epochs for name, epochs in told if name == row.id] == [1, 2, 3]


def test_the_epochs_of_a_process_are_told_while_it_trains(tmp_path: Path, pretended: None) -> None:
    study, rows = study_of("fit", 2)
    told: list[tuple[str, int, float | None]] = []
    for _ in run_study(
        study, rows, tmp_path, 2, watch=lambda row, *how: told.append((row.id, how[0], how[1].get("val/accuracy")))
    ):
        pass
    for row in rows:
        assert [how for name, *how in told if name == row.id and how[0]] == [[1, 0.25], [2, 0.5]]


def test_every_network_is_trained_once_before_any_with_a_second_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_engine, "program", lambda: [sys.executable, "-c", "raise SystemExit(1)"])
    study, rows = study_of("fit", 2, depths=(3, 4))
    in_turn = [
        (row.seed, row.configuration["model"]["network"]["init_args"]["depth"])
        for row, _ in run_study(study, rows, tmp_path, 1)
    ]
    assert in_turn == [(0, 3), (0, 4), (1, 3), (1, 4)]


@pytest.mark.parametrize(("user", "computing"), [(None, "2"), ("1", "1"), ("3", "3")])
def test_the_users_number_of_threads_is_kept(
    user: str | None, computing: str, tmp_path: Path, pretended: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if user is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", user)
    study, rows = study_of("fit", 1)
    ((_, record),) = run_study(study, rows, tmp_path, 2)
    assert record["reason"] == f"{computing} 2"


def rows_named(*names: str) -> list[Row]:
    return [Row(name, name, "c", 0, {}, {"trainer": {"max_epochs": 60}}) for name in names]


def test_a_log_gets_a_line_of_all_rows_at_work_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))  # each look at it comes 20 s after the last
    monkeypatch.setattr("nnmass.commands.study.progress.time.monotonic", lambda: float(next(clock)))
    console = Console(file=io.StringIO(), width=40)
    one, other = rows_named("one", "other")
    with RowsAtWork(console, "small", 2, 0) as at_work:
        for epoch in range(1, 4):
            at_work.watch(one, epoch, {"val/accuracy": epoch / 8})
            at_work.watch(other, 10 * epoch, {})
        at_work.end(one)
        for epoch in range(4, 7):
            at_work.watch(other, 10 * epoch, {})
    file: Any = console.file
    lines = [line for line in file.getvalue().splitlines() if line]
    assert lines[0] == "At work: one epoch 2/60, val accuracy 0.2500; other epoch 10/60"
    assert 2 <= len(lines) <= 3
    assert "one" not in lines[-1]
    assert lines[-1].startswith("At work: other epoch")


def test_a_terminal_shows_a_bar_for_each_of_the_first_rows_at_work() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    rows = rows_named(*(f"row{number}" for number in range(12)))
    with RowsAtWork(console, "small", 12, 0) as at_work:
        for row in rows:
            at_work.watch(row, 7, {"val/accuracy": 0.5})
        at_work.end(rows[0])
        at_work.watch(rows[11], 8, {})
    file: Any = console.file
    shown = file.getvalue()
    assert "row1, val accuracy 0.5000" in shown
    assert "7/60" in shown
    assert "row11" in shown  # in the place of one that has ended
    assert "row9," not in shown
    assert "1/12" in shown
