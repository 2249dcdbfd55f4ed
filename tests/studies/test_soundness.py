"""Refusal of options and reports that a study cannot have, by plan, run and submit, before anything is trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from nnmass.commands.main import main
from nnmass.commands.study.opened import open_study
from nnmass.commands.study.soundness import require_sound
from nnmass.studies.choices import FITTED, PROPERTIES
from nnmass.studies.declared import require_report
from nnmass.studies.definition import Study, planned_rows
from nnmass.studies.report.baselines import BASELINES
from nnmass.studies.report.fits import PREDICTORS

DIGITS: dict[str, Any] = {
    "model": {"network": "mlp_d16_w8_t2", "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}},
    "data": "Digits",
    "trainer": {"max_epochs": 2},
}
STUDY: dict[str, Any] = {"configs": ["digits.yaml"], "networks": [{"depth": [4, 6], "width": [5], "tc": [1, 2]}]}


def written(folder: Path, **changes: Any) -> str:
    (folder / "digits.yaml").write_text(yaml.safe_dump(DIGITS))
    (folder / "small.yaml").write_text(yaml.safe_dump(STUDY | changes))
    return str(folder / "small.yaml")


@pytest.mark.parametrize("engine", ["fit", "ensemble"])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainr": {"max_epochs": 1}}, "Expected a known option or key, but got 'trainr.max_epochs'; did you"),
        ({"trainer": {"max_epoch": 1}}, "but got 'max_epoch'; did you mean 'trainer.max_epochs'?"),
        ({"model": {"schedul": "cosine"}}, "but got 'schedul'; did you mean 'model.schedule'?"),
        ({"trainer": {"precision": "bf17"}}, "small, digits: Expected trainer.precision to be one of"),
        ({"data": {"class_path": "Digits", "init_args": {"batch": 8}}}, "nnmass.datamodules.Digits, but got 'batch'"),
    ],
)
def test_options_that_fit_does_not_have_are_refused_by_every_engine(
    engine: str, changes: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    definition = written(tmp_path, engine=engine, changes=changes)
    for action in (["plan"], ["run", "--output-dir", str(tmp_path / "out")], ["submit", "--dry-run"]):
        assert main(["study", action[0], definition, *action[1:]]) == 2
        message = capsys.readouterr().err
        assert sentence in message
        assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        ({"group": "widht"}, "report.group to be one of depth, width, tc, config, network, nn_mass"),
        ({"colour": "widht"}, "report.colour to be one of depth, width, tc, config"),
        ({"curves": [{"X": "depth4_tc3_width5"}]}, "X: 'depth4_tc3_width5'; did you mean depth4_tc"),
        ({"published": {"train accuracy": {}}}, "report.published to have R2 of the test accuracy or mean singular"),
        ({"published": {"test accuracy": {"log mass": 0.9}}}, "R2 on one of log NN-Mass, log parameters, log MACs"),
        ({"published": {"test accuracy": {"NN-Mass, 9": 0.9}}}, "report.published 'NN-Mass, 9' to be one of all"),
        ({"endpoint": {"explained": "accuracy"}}, "report.endpoint.explained to be one of test accuracy, mean sing"),
        ({"endpoint": {"epoch": "last"}}, "report.endpoint.epoch to be one of last epoch, best epoch by validation"),
        ({"endpoint": {"networks": "linked"}}, "report.endpoint.networks to be one of all, NN-Mass > 0, but got"),
        ({"endpoint": {"measure": "log mass"}}, "report.endpoint.measure to be one of log NN-Mass, log(1 + NN-Mass)"),
        ({"endpoint": {"measure": "zen"}}, "but got 'zen'; study run takes it of the trained networks if the study's"),
        ({"endpoint": {"given": ["size"]}}, "report.endpoint.given to be one of log NN-Mass"),
        ({"endpoint": {"group": "4"}}, "report.endpoint.group to be one of all, but got '4'"),
        ({"endpoint": {"group": "5"}, "group": "depth"}, "report.endpoint.group to be one of all, 4, 6, but got '5'"),
    ],
)
def test_a_report_on_what_is_not_there_is_refused(
    report: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["study", "plan", written(tmp_path, report=report)]) == 2
    assert f"{sentence}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "report",
    [
        {"group": "depth", "colour": "tc", "endpoint": {"group": "4", "networks": "NN-Mass > 0"}},
        {"endpoint": {"explained": "mean singular value", "epoch": "before training", "measure": "depth"}},
        {"endpoint": {"measure": "log zen", "given": ["zen", "log parameters"]}},
        {"curves": [{"X": "depth4_tc2_width5"}], "published": {"test accuracy": {"NN-Mass": 0.9}}},
        {"group": "data.batch_size"},
        {"group": "num_layers", "endpoint": {"group": "4"}},
    ],
)
def test_a_report_on_what_is_there_is_taken(report: dict[str, Any], tmp_path: Path) -> None:
    more = {"grid": {"data.batch_size": [8]}} if report.get("group") == "data.batch_size" else {}
    require_sound(open_study(written(tmp_path, report=report, measures=["zen"], **more)))


def test_groups_of_several_configurations_are_named_after_both() -> None:
    rows = {"a": DIGITS, "b": DIGITS}

    def require(group: str, **more: Any) -> None:
        from nnmass.studies.choices import Endpoint, ReportChoice

        report = ReportChoice(Endpoint(group=group), group="depth")
        study = Study("s", configs=["a", "b"], networks=STUDY["networks"], report=report, **more)
        require_report(study, planned_rows(study, rows))

    for group in ("a", "b", "a, 4", "b, 6"):
        require(group)
    with pytest.raises(ValueError, match=r"one of a, a, 4, a, 6, b, b, 4, b, 6, but got 'all'"):
        require("all")
    require("all", grid={"data.batch_size": [8, 16]})  # of which the report shows one combination


def test_names_of_properties_are_those_of_the_tables() -> None:
    assert (tuple(BASELINES), tuple(PREDICTORS)) == (PROPERTIES, FITTED)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs" / "studies").glob("*.yaml")))
def test_all_that_ships_is_sound(name: str) -> None:
    require_sound(open_study(name))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "Expected keys and values in {path}, but it is empty."),
        (b"- 1\n", "Expected keys and values in {path}, but it holds list."),
        (b"model: [1\n", "Expected YAML in {path} (line 2)"),
        (b"\xff\xfe\x00", "Expected YAML in {path}, but it holds other bytes."),
        (b"data: Digits\ndata: MNIST\n", "line 2: the key 'data' stands in line 1 already"),
        (b"trainer: 5\n", "Expected keys and values under trainer in {path}, but it holds 5."),
    ],
)
def test_a_configuration_beside_the_study_is_read_as_strictly_as_by_fit(
    content: bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    definition = written(tmp_path)
    (tmp_path / "digits.yaml").write_bytes(content)
    for action in ("plan", "status"):
        assert main(["study", action, definition]) == 2
        message = capsys.readouterr().err
        assert sentence.format(path=tmp_path / "digits.yaml") in message
        assert message.count("\n") == 1


def test_a_damaged_definition_in_the_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "study.yaml").write_text("[1]\n")
    assert main(["study", "run", written(tmp_path), "--output-dir", str(folder)]) == 2
    assert f"keys and values in {folder / 'study.yaml'}, but it holds list." in capsys.readouterr().err


def test_a_group_is_a_column_of_the_results_and_not_derived_from_them() -> None:
    opened = open_study("cifar10_half")  # of cells, which have a cell_depth and no depth
    with pytest.raises(ValueError, match=r"report.group to be one of cell_depth, .* but got 'depth'"):
        require_report(replace(opened.study, report=replace(opened.study.report, group="depth")), opened.rows)
