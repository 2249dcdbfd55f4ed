"""Damaged files of a study are named by every action that reads them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from nnmass.commands.main import main

CONFIG = yaml.safe_load((ROOT / "configs" / "mnist_mlp.yaml").read_text())
STUDY: dict[str, Any] = {
    "engine": "ensemble",
    "configs": ["mnist_mlp.yaml"],
    "networks": [{"depth": [3, 4], "width": [4], "tc": [1]}],
    "changes": {"data": {"class_path": "nnmass.datamodules.Digits"}, "trainer": {"max_epochs": 1}},
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small study that is trained and reported."""
    home = tmp_path_factory.mktemp("damaged")
    (home / "small.yaml").write_text(yaml.safe_dump(STUDY))
    for action in ("run", "report"):
        assert main(["study", action, str(home / "small.yaml"), "--output-dir", str(home / "out")]) == 0
    return home / "out"


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "copy"))


def first(folder: Path, name: str) -> Path:
    return min(folder.glob(f"rows/*/{name}"))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "Expected JSON in {path}, but Expecting value"),
        (b'{"status": "fini', "Expected JSON in {path}, but Unterminated string"),
        (b"\xff\xfe\x00", "Expected JSON in {path}, but it holds other bytes."),
        (b"[1]", "Expected keys and values in {path}, but it holds list."),
    ],
)
def test_a_damaged_record_is_named(content: bytes, fault: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = first(folder, "row.json")
    path.write_bytes(content)
    for action in ("status", "report", "run"):
        assert main(["study", action, str(folder)]) == 2
        message = capsys.readouterr().err
        assert fault.format(path=path) in message
        assert message.count("\n") == 1


def test_a_result_that_is_no_number_is_named(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = first(folder, "row.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_accuracy_last": "high"}))
    assert main(["study", "report", str(folder)]) == 2
    assert capsys.readouterr().err == f"Expected test_accuracy_last in {path} to be a number, but got 'high'.\n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "Expected a CSV in {path}, but No columns to parse from file; without that file the row has results"),
        (b"epoch,train/loss\n0,1\n1,2,3,4\n", "Expected a CSV in {path}, but Error tokenizing data"),
        (b"\xff\xfe\x00", "Expected a CSV in {path}, but it holds other bytes; without"),
        (b"a,b\n1,2\n", "Expected {path} to have a column epoch, but it has a, b; without"),
        (b"epoch,b\nx,2\n", "Expected numbers in the column epoch of {path}, but it holds texts; without"),
    ],
)
def test_a_damaged_curve_is_named_and_can_be_left_out(
    content: bytes, fault: str, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    path = first(folder, "curve.csv")
    path.write_bytes(content)
    assert main(["study", "report", str(folder)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(fault.format(path=path))
    assert message.count("\n") == 1
    path.unlink()
    assert main(["study", "report", str(folder)]) == 0


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "Expected a CSV in {path}, but No columns to parse from file."),
        (b"study,row\nx,y\n", "Expected {path} to have a column test_accuracy_last, but it has study, row."),
        (b"study,row,test_accuracy_last\nx,y,high\n", "Expected numbers in the column test_accuracy_last of {path}"),
    ],
)
def test_a_damaged_table_of_a_benchmark_is_named(
    content: bytes, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    words = ["--measures", "params", "--output-dir", str(tmp_path / "out")]
    assert main(["study", "benchmark", str(path), *words]) == 2
    assert fault.format(path=path) in capsys.readouterr().err


def test_a_folder_whose_study_was_changed_says_what_fills_it(folder: Path, capsys: pytest.CaptureFixture) -> None:
    content = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump(content | {"seeds": 2}))
    assert main(["study", "report", str(folder)]) == 2
    message = capsys.readouterr().err
    assert f"nnmass study run {folder} fills the rows that it has now." in message
    assert "study report" not in message
    assert main(["study", "run", str(folder)]) == 0
    assert main(["study", "report", str(folder)]) == 0
