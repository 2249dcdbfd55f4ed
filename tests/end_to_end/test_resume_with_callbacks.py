"""Trainings with Lightning's callbacks, killed at any moment and their folder moved: they end as if unbroken."""

import inspect
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from pytorch_lightning import Callback
from pytorch_lightning import callbacks as lightning

from nnmass import callbacks
from nnmass.commands.main import main
from nnmass.commands.options.lightning_options import REFUSED_CALLBACKS
from nnmass.commands.options.resumable import CANNOT_GO_ON

DOCUMENTATION = (ROOT / "docs" / "resume.md").read_text(encoding="utf-8")
TIMES = re.compile(r"_s$|time|per_sec|DeviceStats|cpu_")


class Case(NamedTuple):
    """Words behind ``fit``, and what the configuration has beside the usual."""

    words: list[str]
    trainer: Mapping[str, Any] = MappingProxyType({})
    normalise: bool = True
    interval: str = "step"


def callback(name: str, **arguments: object) -> list[str]:
    words = [f"--trainer.callbacks.{key}={value}" for key, value in arguments.items()]
    return [f"--trainer.callbacks+=pytorch_lightning.callbacks.{name}", *words]


STOPS = {"monitor": "val/loss", "patience": 1, "min_delta": 10.0}
CASES = {
    "BasePredictionWriter": Case(callback("BasePredictionWriter")),
    "Callback": Case(callback("Callback")),
    "Checkpoint": Case(callback("Checkpoint")),
    "DeviceStatsMonitor": Case(callback("DeviceStatsMonitor")),
    "EarlyStopping": Case(callback("EarlyStopping", **STOPS), {"max_epochs": 6}),
    "EMAWeightAveraging": Case(callback("EMAWeightAveraging", decay=0.8)),
    "GradientAccumulationScheduler": Case(
        callback("GradientAccumulationScheduler", scheduling="{1: 2, 2: 3}"), interval="epoch"
    ),
    "LambdaCallback": Case(callback("LambdaCallback")),
    "LearningRateFinder": Case(callback("LearningRateFinder", num_training_steps=8), {}, interval="epoch"),
    "LearningRateMonitor": Case(callback("LearningRateMonitor", logging_interval="step")),
    "ModelCheckpoint": Case(callback("ModelCheckpoint", monitor="val/loss", save_top_k=2)),
    "ModelSummary": Case(callback("ModelSummary")),
    "OnExceptionCheckpoint": Case(callback("OnExceptionCheckpoint", dirpath="{folder}/exceptions")),
    "ProgressBar": Case(callback("ProgressBar")),
    "RichModelSummary": Case(callback("RichModelSummary")),
    "RichProgressBar": Case(callback("RichProgressBar")),
    "StochasticWeightAveraging": Case(
        callback("StochasticWeightAveraging", swa_lrs=0.02, swa_epoch_start=2), interval="epoch"
    ),
    "ThroughputMonitor": Case(callback("ThroughputMonitor", batch_size_fn="builtins.len")),
    "Timer": Case(callback("Timer", duration="00:01:00:00")),
    "TQDMProgressBar": Case(callback("TQDMProgressBar")),
    "WeightAveraging": Case(callback("WeightAveraging")),
    "average with a warm-up": Case(
        ["--trainer.callbacks+=EMAWithWarmUp", "--trainer.callbacks.decay=0.8", "--trainer.callbacks.power=0.5"]
    ),
    "average from an epoch on": Case(callback("EMAWeightAveraging", decay=0.8, update_starting_at_epoch=1)),
    "stochastic average without statistics": Case(
        callback("StochasticWeightAveraging", swa_lrs=0.02, swa_epoch_start=2, annealing_strategy="linear"),
        {},
        normalise=False,
        interval="epoch",
    ),
    "average and early stop in mid-epoch": Case(
        [*callback("EMAWeightAveraging", decay=0.8), *callback("EarlyStopping", **STOPS | {"patience": 2})],
        {"val_check_interval": 2, "max_epochs": 6},
    ),
    "early stop after the least epochs": Case(callback("EarlyStopping", **STOPS), {"max_epochs": 6, "min_epochs": 4}),
    "validations within an accumulation": Case([], {"val_check_interval": 2, "accumulate_grad_batches": 3}),
    "validations by steps": Case([], {"val_check_interval": 3, "check_val_every_n_epoch": None}),
    "validations every other epoch": Case([], {"check_val_every_n_epoch": 2}),
    "a number of steps": Case(["--model.schedule=constant"], {"max_steps": 13, "max_epochs": -1}),
}
CANNOT = {kind.__name__ for kind in CANNOT_GO_ON}
REFUSED = {kind.__name__ for kind in REFUSED_CALLBACKS}
# These change nothing in a training, and are stopped at fewer moments.
ONLY_TELL = {
    "BasePredictionWriter", "Callback", "Checkpoint", "DeviceStatsMonitor", "LambdaCallback", "LearningRateMonitor",
    "ModelSummary", "ProgressBar", "RichModelSummary", "RichProgressBar", "ThroughputMonitor", "TQDMProgressBar",
}  # fmt: skip
# The representatives for every day; the moments are those before which a copy was taken, as a kill would leave it.
DAILY = [
    ("EMAWeightAveraging", ["val after 8 in 1 1", "test 1 0"]),
    ("average with a warm-up", ["train 1 2"]),
    ("EarlyStopping", ["train 1 3", "test 2 0"]),
    ("GradientAccumulationScheduler", ["train 1 2"]),
    ("StochasticWeightAveraging", ["train 1 2", "train 2 0", "train 3 2"]),
    ("stochastic average without statistics", ["test 1 0"]),
    ("validations within an accumulation", ["val after 2 in 0 1", "train 1 3"]),
]


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out callbacks that only draw and measure, which take most of the time of such small trainings."""
    for name in ("LearningCurves", "ConfusionMatrix", "TopologyRecorder"):
        monkeypatch.setattr(callbacks, name, Callback)


def configuration(case: Case, folder: Path) -> Path:
    digits = {"batch_size": 300, "val_size": 400, "augmentation": {"crop_padding": 1}}
    network = {"features": 64, "num_classes": 10, "normalise": case.normalise}
    content = {
        "model": {"network": {"class_path": "interruptions.DropoutNetwork", "init_args": network}},
        "data": {"class_path": "nnmass.datamodules.Digits", "init_args": digits},
        "trainer": {"max_epochs": 3, "accelerator": "cpu", "logger": False, **case.trainer},
    }
    content["model"]["interval"] = case.interval
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def fit(case: Case, folder: Path, output_dir: Path, *words: str) -> int:
    config, own = (
        configuration(case, folder),
        [word.format(folder=folder) if "{folder}" in word else word for word in case.words],
    )
    every = ["--checkpoint_minutes", "0"]
    return main(["fit", "--config", str(config), "--output_dir", str(output_dir), *every, *own, *words])


def figures(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if not TIMES.search(name)}


def outcome(output_dir: Path) -> tuple[dict[str, torch.Tensor], pd.DataFrame, dict[str, Any]]:
    (file,) = output_dir.glob("2*/run.json")
    checkpoint = torch.load(file.parent / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(file.parent / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    weights = checkpoint["state_dict"] | {f"best {name}": value for name, value in best.items()}
    history = pd.read_csv(file.parent / "metrics.csv")
    record = json.loads(file.read_text())
    kept = {key: record.get(key) for key in ("test", "test_last", "epochs", "best_val_accuracy", "stopped_early")}
    kept |= {"last": figures(record["last"]), "steps": checkpoint["global_step"]}
    return weights, history[[name for name in history if not TIMES.search(name)]], kept


def assert_equal_to_unbroken(case: Case, folder: Path, moments: Callable[[list[str]], list[str]]) -> None:
    snapshots = ["--trainer.callbacks+=interruptions.Snapshots"]
    snapshots += [f"--trainer.callbacks.folder={folder / 'copies'}"]
    assert fit(case, folder, folder / "unbroken", *snapshots) == 0
    weights, history, record = outcome(folder / "unbroken")
    shutil.rmtree(folder / "unbroken")  # the copies stand for a folder that was moved
    copies = sorted((folder / "copies").iterdir(), key=lambda copy: copy.stat().st_mtime_ns)
    for moment in moments([copy.name for copy in copies if list(copy.glob("*/checkpoints/last.ckpt"))]):
        copy = folder / "copies" / moment
        assert fit(case, folder, copy, "--ckpt_path", "last") == 0, moment
        their_weights, their_history, their_record = outcome(copy)
        assert their_record == record, moment
        assert their_weights.keys() == weights.keys()
        assert not [name for name in weights if not torch.equal(weights[name], their_weights[name])], moment
        pd.testing.assert_frame_equal(their_history, history, check_exact=True)


@pytest.mark.parametrize(("name", "moments"), DAILY, ids=[name for name, _ in DAILY])
def test_a_killed_and_moved_run_ends_as_if_unbroken(name: str, moments: list[str], tmp_path: Path) -> None:
    assert_equal_to_unbroken(CASES[name], tmp_path, lambda _: moments)


def spread(moments: list[str], every: int) -> list[str]:
    """The beginnings of both tests, and of the others each ``every``-th: batches, validations and ends of epochs."""
    tests = ("test 1 0", "test 2 0")
    return [moment for number, moment in enumerate(moments) if number % every == 1 or moment in tests]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_with_every_callback_a_run_killed_anywhere_ends_as_if_unbroken(name: str, tmp_path: Path) -> None:
    every = 9 if name in ONLY_TELL else 3
    assert_equal_to_unbroken(CASES[name], tmp_path, lambda moments: spread(moments, every))


def test_every_callback_that_lightning_ships_is_tried_or_cannot_go_on_and_stands_in_the_documentation() -> None:
    """A new one fails here until it is known what becomes of a stopped run."""
    shipped = {name for name in lightning.__all__ if inspect.isclass(getattr(lightning, name))}
    assert shipped == (CASES.keys() & shipped) | CANNOT | REFUSED
    assert not CASES.keys() & (CANNOT | REFUSED)
    section = DOCUMENTATION.split("### Lightning's callbacks", 1)[1].split("\n## ", 1)[0]
    goes_on, cannot = (set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\| .*`.*$", section, re.MULTILINE))
    assert goes_on == CASES.keys() & shipped
    assert cannot == CANNOT - REFUSED


@pytest.mark.parametrize("name", sorted(CANNOT - REFUSED))
def test_what_cannot_go_on_is_said_before_and_refused_by_name_after(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = {"pruning_fn": "l1_unstructured"} if name == "ModelPruning" else {"init_val": 100, "max_trials": 1}
    case = Case(callback(name, **arguments))
    stop = [
        "--trainer.callbacks+=interruptions.Signal",
        "--trainer.callbacks.stage=epoch",
        "--trainer.callbacks.count=1",
    ]
    assert fit(case, tmp_path, tmp_path / "runs", *stop) == 75
    assert re.search(f"A stop ends this run for good: no checkpoint holds .*, as {name} would", capsys.readouterr().out)
    assert fit(case, tmp_path, tmp_path / "runs", "--ckpt_path", "last") == 2
    assert f"Expected a run without {name} to go on, but no checkpoint holds" in capsys.readouterr().err


def test_a_new_run_does_not_begin_from_what_an_exception_has_left(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "exceptions").mkdir()
    (tmp_path / "exceptions" / "on_exception.ckpt").touch()
    assert fit(CASES["OnExceptionCheckpoint"], tmp_path, tmp_path / "runs") == 2
    assert "but OnExceptionCheckpoint would begin it from" in capsys.readouterr().err


@pytest.mark.parametrize(("stage", "count"), [("val", 3), ("test", 1)])
def test_a_signal_with_an_average_loses_nothing(stage: str, count: int, tmp_path: Path) -> None:
    case = CASES["EMAWeightAveraging"]
    assert fit(case, tmp_path, tmp_path / "whole") == 0
    moment = ["--trainer.callbacks+=interruptions.Signal", f"--trainer.callbacks.stage={stage}"]
    moment += [f"--trainer.callbacks.count={count}", "--trainer.callbacks.name=SIGTERM"]
    assert fit(case, tmp_path, tmp_path / "runs", *moment) == 76
    (tmp_path / "runs").rename(tmp_path / "renamed")
    assert fit(case, tmp_path, tmp_path / "renamed", "--ckpt_path", "last") == 0
    (weights, history, record), (ours, our_history, our_record) = (
        outcome(tmp_path / "whole"),
        outcome(tmp_path / "renamed"),
    )
    assert our_record == record
    assert all(torch.equal(value, ours[name]) for name, value in weights.items())
    pd.testing.assert_frame_equal(our_history, history, check_exact=True)


def test_a_run_with_a_stochastic_average_can_be_run_again_from_its_folder(tmp_path: Path) -> None:
    assert fit(CASES["StochasticWeightAveraging"], tmp_path, tmp_path / "first") == 0
    (config,) = (tmp_path / "first").glob("2*/config.yaml")
    assert main(["fit", "--config", str(config), "--output_dir", str(tmp_path / "again")]) == 0
    first, again = outcome(tmp_path / "first"), outcome(tmp_path / "again")
    assert all(torch.equal(value, again[0][name]) for name, value in first[0].items())
    assert again[2] == first[2]
