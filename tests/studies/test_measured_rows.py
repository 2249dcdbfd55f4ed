"""Training-free measures as columns of a study: taken once, fitted like NN-Mass, never by training again."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT

from nnmass import studies, zoo
from nnmass.commands.main import main
from nnmass.datamodules import Digits
from nnmass.runtime.signals import STAY_STOPPED
from nnmass.studies import engines
from nnmass.studies.choices import JacobianChoice
from nnmass.studies.definition import Row, Study, planned_rows
from nnmass.studies.engines import run_study
from nnmass.studies.measurer import MEASURED_IMAGES, Measurer
from nnmass.studies.report.fits import averages, study_fits
from nnmass.studies.rows import claimed, read_row
from nnmass.zoo.measures import MEASURES, Batch, measure_network

BASE = yaml.safe_load((ROOT / "configs" / "mnist_mlp.yaml").read_text())
SMALL: dict[str, Any] = {
    "engine": "ensemble",
    "configs": ["mnist_mlp.yaml"],
    "networks": [{"depth": [3, 4, 5], "tc": [1]}],
    "changes": {"data": {"class_path": "nnmass.datamodules.Digits"}, "trainer": {"max_epochs": 1}},
    "seeds": 2,
}
NAMES = ["grad_norm", "zen"]  # the second has no value without batch normalisation


def study_of(**changes: Any) -> tuple[Study, list[Row]]:
    study = Study("measured", **{**SMALL, **changes})
    return study, planned_rows(study, {"mnist_mlp": BASE})


def test_rows_have_the_measures_of_their_networks_before_training(tmp_path: Path) -> None:
    study, rows = study_of(measures=NAMES)
    assert len(list(run_study(study, rows, tmp_path, 1))) == 6
    for row in rows[:2]:
        record = read_row(tmp_path, row)
        torch.manual_seed(99)  # nothing of it decides
        model, data = row.build()
        batch = Batch(*data.first_samples(MEASURED_IMAGES, row.seed))
        assert record["grad_norm"] == measure_network(model.network, batch, NAMES, row.seed)["grad_norm"].value
        assert "zen" not in record
        assert list(json.loads(record["not_measured"])) == ["zen"]


def test_trained_rows_are_measured_and_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, rows = study_of()
    trained = {row.id: record for row, record in run_study(study, rows, tmp_path, 1)}

    def train(*_: Any) -> None:
        pytest.fail("a trained row was trained again")
        yield

    with monkeypatch.context() as changed:
        changed.setattr(engines, "fill_together", lambda work, rows: train() if rows else iter(()))
        more, _ = study_of(measures=NAMES, jacobian=JacobianChoice(samples=4))
        again = {row.id: record for row, record in run_study(more, rows, tmp_path, 1)}
        assert not list(run_study(more, rows, tmp_path, 1)), "what is measured is not measured again"
        fewer, _ = study_of(measures=NAMES[:1], jacobian=JacobianChoice(samples=4))
        assert not list(run_study(fewer, rows, tmp_path, 1))
    added = {"grad_norm", "mean_singular_value", "isometry", "not_measured", "measures", "jacobian"}
    for name, record in again.items():
        assert {key: value for key, value in record.items() if key not in added} == trained[name]
    whole = tmp_path / "whole"
    for row, record in run_study(more, rows, whole, 1):
        assert all(record[key] == again[row.id][key] for key in added)


def test_what_is_not_measured_is_not_called_finished(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    definition = tmp_path / "measured.yaml"
    words = [str(definition), "--output_dir", str(tmp_path / "out")]
    definition.write_text(yaml.safe_dump(SMALL))
    assert main(["study", "run", *words]) == 0
    assert main(["study", "submit", *words, "--dry-run"]) == 2
    definition.write_text(yaml.safe_dump({**SMALL, "measures": NAMES[:1]}))
    capsys.readouterr()
    assert main(["study", "status", *words]) == 0
    assert re.search(r"unmeasured\W+6\b", capsys.readouterr().out)
    assert main(["study", "submit", *words, "--dry-run"]) == 0
    assert main(["study", "run", *words]) == 0
    assert re.search(r"finished\W+6\b", capsys.readouterr().out)


def test_a_measurement_that_fails_leaves_the_trained_row_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, rows = study_of(seeds=1)
    list(run_study(study, rows, tmp_path, 1))
    before = [read_row(tmp_path, row) for row in rows]

    def broken(*_: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr("nnmass.studies.measurer.measure_network", broken)
    more, _ = study_of(seeds=1, measures=NAMES)
    ended = [record for _, record in run_study(more, rows, tmp_path, 1)]
    assert [(record["status"], record["reason"]) for record in ended] == [("unmeasured", "no memory")] * 3
    assert [read_row(tmp_path, row) for row in rows] == before


def test_what_is_measured_later_comes_to_what_is_there(tmp_path: Path) -> None:
    first, rows = study_of(seeds=1, measures=NAMES, jacobian=JacobianChoice(samples=4))
    before = {row.id: record for row, record in run_study(first, rows, tmp_path, 1)}
    less, _ = study_of(seeds=1)
    assert not list(run_study(less, rows, tmp_path, 1)), "nothing is lacking where nothing is asked for"
    other, _ = study_of(seeds=1, measures=["snip", "naswot"])
    for row, record in run_study(other, rows, tmp_path, 1):
        assert record["measures"] == "grad_norm zen snip naswot"
        assert list(json.loads(record["not_measured"])) == ["zen", "naswot"]
        changed = {"measures", "not_measured", "snip"}
        assert {key: value for key, value in record.items() if key not in changed} == {
            key: value for key, value in before[row.id].items() if key not in changed
        }


def test_rows_that_are_measured_count_for_the_limit(tmp_path: Path) -> None:
    study, rows = study_of(seeds=1)
    list(run_study(study, rows[:2], tmp_path, 1))
    more, _ = study_of(seeds=1, measures=NAMES[:1])
    assert [row.id for row, _ in run_study(more, rows, tmp_path, 1, limit=1)] == [rows[0].id]
    assert [row.id for row, _ in run_study(more, rows, tmp_path, 1, limit=1)] == [rows[1].id]
    assert [row.id for row, _ in run_study(more, rows, tmp_path, 1, limit=1)] == [rows[2].id]


def test_a_row_that_another_process_measures_is_left_to_it(tmp_path: Path) -> None:
    study, rows = study_of(seeds=1)
    list(run_study(study, rows, tmp_path, 1))
    more, _ = study_of(seeds=1, measures=NAMES[:1])
    with claimed(tmp_path, rows[:1]):
        assert [row.id for row, _ in run_study(more, rows, tmp_path, 1)] == [row.id for row in rows[1:]]


def test_where_there_are_fewer_images_all_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rows = study_of()
    model, data = rows[0].build()
    monkeypatch.setattr("nnmass.studies.measurer.MEASURED_IMAGES", 10**6)
    record = Measurer(None, ["grad_norm"])(rows[0], model, data)
    images, labels = data.first_samples(10**6, rows[0].seed, or_all=True)
    assert len(images) == len(labels) == data.training_batches().sampler.num_samples
    batch = Batch(images, labels)
    assert record["grad_norm"] == measure_network(model.network, batch, ["grad_norm"], rows[0].seed)["grad_norm"].value


@pytest.fixture
def trained(tmp_path: Path, capsys: pytest.CaptureFixture) -> list[str]:
    """Words of the command line for a study that was trained before measures were added to it."""
    definition = tmp_path / "measured.yaml"
    definition.write_text(yaml.safe_dump({**SMALL, "seeds": 1}))
    words = [str(definition), "--output_dir", str(tmp_path / "out")]
    assert main(["study", "run", *words]) == 0
    definition.write_text(yaml.safe_dump({**SMALL, "seeds": 1, "measures": NAMES[:1]}))
    capsys.readouterr()
    return words


def test_measuring_is_told_from_training(trained: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["study", "run", *trained]) == 0
    said = capsys.readouterr().out
    assert "3 trained rows are measured, and not trained again." in said
    assert re.findall(r"^\[(\d/\d)\] \S+: (.*)$", said, re.MULTILINE) == [(f"{n}/3", "measured") for n in (1, 2, 3)]


def test_a_report_says_that_measurements_are_lacking(trained: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["study", "report", *trained]) == 0
    assert "Of 3 rows 3 lack a measurement that the study asks for; nnmass study run" in capsys.readouterr().out
    assert main(["study", "run", *trained]) == 0
    assert main(["study", "report", *trained]) == 0
    assert "lack" not in capsys.readouterr().out


def test_a_study_that_could_not_be_measured_does_not_end_well(
    trained: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr("nnmass.studies.measurer.measure_network", broken)
    assert main(["study", "run", *trained]) != 0
    out, err = capsys.readouterr()
    assert out.count("unmeasured no memory") == 3
    assert "Expected every row to come to its end, but 3 of 3 failed; see above." in err


def test_a_signal_ends_the_measuring_at_once(trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a network's forward, whose errors become reasons."""
    calls = []

    def forward(*_: Any) -> Any:
        calls.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal did not end it")

    monkeypatch.setattr(zoo.RandomSkipMLP, "forward", forward)
    rows = list(Path(trained[-1]).glob("rows/*/row.json"))
    before = [file.read_text() for file in rows]
    assert main(["study", "run", *trained]) == STAY_STOPPED
    assert len(calls) == 1
    assert [file.read_text() for file in rows] == before


def test_fits_and_report_treat_measures_like_mass(tmp_path: Path) -> None:
    definition = tmp_path / "measured.yaml"
    report = {"endpoint": {"measure": "log grad_norm", "given": ["log parameters"]}}
    definition.write_text(yaml.safe_dump({**SMALL, "measures": NAMES, "report": report}))
    for action in ("run", "report"):
        assert main(["study", action, str(definition), "--output_dir", str(tmp_path / "out")]) == 0
    results = studies.load(tmp_path / "out")
    means = averages(results)
    assert means["grad_norm"].iloc[0] == pytest.approx(results["grad_norm"].iloc[:2].mean())
    fits = study_fits(results)
    chosen = fits[(fits["averaging"] == "mean over seeds") & (fits["epoch"] == "last epoch")]
    assert {"grad_norm", "log grad_norm"} <= set(chosen["explaining"])
    assert "zen" not in set(chosen["explaining"])
    r2 = means["grad_norm"].corr(means["test_accuracy_last"]) ** 2
    assert chosen.set_index("explaining")["r2"]["grad_norm"] == pytest.approx(r2)
    baselines = pd.read_csv(tmp_path / "out" / "baselines.csv")
    assert list(baselines[baselines["endpoint"] == "primary"]["measure"]) == ["log grad_norm"]
    page = (tmp_path / "out" / "report.md").read_text()
    assert "zen has no value in 6 of 6 rows: Expected a network with batch normalisation" in page
    assert (tmp_path / "out" / "accuracy_by_measures.png").is_file()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"measures": ["synflw"]}, "Expected the study's measures to have known names; .* the nearest: synflow"),
        ({"measures": ["params"]}, "Expected the study's measures to be none of params, macs, .*, but got params"),
        (
            {"engine": "published", "accuracies": {"resnet50": 76.0}, "configs": [], "networks": [], "changes": {}},
            "Expected the study's measures to be absent with the engine published",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Study("measured", **{**SMALL, "measures": ["zen"], **changes})


def test_all_stands_for_what_has_no_column_anyway() -> None:
    names = study_of(measures=["all"])[0].measures
    assert set(MEASURES) - set(names) == {
        *("params", "macs", "nn_mass", "nn_density", "mean_singular_value", "isometry"),
    }


def test_measures_do_not_change_the_rows() -> None:
    assert [row.id for row in study_of()[1]] == [row.id for row in study_of(measures=NAMES)[1]]


def test_a_network_that_starts_from_weights_is_measured_with_these(tmp_path: Path) -> None:
    _, rows = study_of()
    model, data = rows[0].build()
    other = rows[1].build()[0].network  # of another seed
    torch.save(other.state_dict(), tmp_path / "other.pt")
    begun = zoo.Classifier(model.network, weights=str(tmp_path / "other.pt"))
    assert isinstance(data, Digits)
    record = Measurer(None, ["grad_norm"])(rows[0], begun, data)
    batch = Batch(*data.first_samples(MEASURED_IMAGES, rows[0].seed))
    assert record["grad_norm"] == measure_network(other, batch, ["grad_norm"], rows[0].seed)["grad_norm"].value
