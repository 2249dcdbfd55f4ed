"""Trainings that signals interrupt: they go on at the next batch and end as if nothing had happened."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
import yaml
from interruptions import write_photographs

from cli import main

COME_BACK, STAY_STOPPED = 75, 76
TIMED = ["train/data_wait_s"]


class Training(NamedTuple):
    """A configuration, and what an unbroken run of it has left."""

    config: Path
    weights: dict[str, torch.Tensor]
    history: pd.DataFrame
    diary: list[str]
    steps: int
    val_batches: int


def only_run(output_dir: Path) -> Path:
    (folder,) = (path for path in output_dir.iterdir() if path.is_dir() and not path.is_symlink())
    return folder


def fit(training: Path, output_dir: Path, *arguments: object) -> int:
    diary = ["--trainer.callbacks+=interruptions.Diary", f"--trainer.callbacks.path={output_dir.parent / 'diary'}"]
    return main(["fit", "--config", str(training), "--output_dir", str(output_dir), *diary, *map(str, arguments)])


def outcome(output_dir: Path) -> tuple[dict[str, torch.Tensor], pd.DataFrame, list[str]]:
    folder = only_run(output_dir)
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    history = pd.read_csv(folder / "metrics.csv").drop(columns=TIMED)
    return state, history, (output_dir.parent / "diary.0").read_text().splitlines()


def unbroken(config: dict[str, Any], folder: Path, val_batches: int) -> Training:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert fit(path, folder / "runs") == 0
    state, history, diary = outcome(folder / "runs")
    return Training(path, state, history, diary, len(diary), val_batches)


@pytest.fixture(scope="module", params=["memory", "workers"])
def training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Three epochs with dropout; of digits with crops and cutout, or of photographs that two workers read."""
    folder = tmp_path_factory.mktemp(request.param)
    trainer = {"max_epochs": 3, "accelerator": "cpu", "logger": False}
    if request.param == "memory":
        data = {"class_path": "datamodules.Digits", "init_args": {"batch_size": 199, "val_size": 250}}
        data["init_args"] |= {"augmentation": {"crop_padding": 1, "cutout": 2}}
        features, classes, val_batches = 64, 10, 2
    else:
        write_photographs(folder)
        data = {"class_path": "interruptions.ThreeClasses", "init_args": {"batch_size": 5, "resolution": 16}}
        data["init_args"] |= {"data_dir": str(folder), "num_workers": 2, "val_on_test": True}
        features, classes, val_batches = 3 * 16 * 16, 3, 4
    network = {"class_path": "interruptions.DropoutNetwork"}
    network["init_args"] = {"features": features, "num_classes": classes}
    model = {"network": network, "interval": "step"}
    return unbroken({"model": model, "data": data, "trainer": trainer}, folder, val_batches)


def assert_equal(training: Training, output_dir: Path) -> None:
    state, history, diary = outcome(output_dir)
    assert diary == training.diary
    for name, value in training.weights.items():
        assert torch.equal(value, state[name]), name
    pd.testing.assert_frame_equal(history, training.history, check_exact=True)


MOMENTS = [
    *[("epoch", 0), ("epoch", 1), ("train", 0), ("train", 4), ("train", -2)],
    *[("last of epoch", 0), ("last of epoch", 2), ("val", 1), ("val", 3), ("val", -1), ("test", 0)],
]


@pytest.mark.parametrize(("stage", "count"), MOMENTS)
def test_a_signal_at_any_moment_loses_nothing(stage: str, count: int, training: Training, tmp_path: Path) -> None:
    epoch = training.steps // 3
    if stage == "last of epoch":
        stage, count = "train", epoch * (count + 1) - 1
    elif count < 0:
        count += {"train": training.steps, "val": 3 * training.val_batches}[stage]
    signal = ["--trainer.callbacks+=interruptions.Signal", f"--trainer.callbacks.stage={stage}"]
    signal += [f"--trainer.callbacks.count={count}"]
    runs = tmp_path / "runs"
    assert fit(training.config, runs, *signal) == COME_BACK
    folder = only_run(runs)
    record = json.loads((folder / "run.json").read_text())
    begun = (folder / "checkpoints" / "last.ckpt").exists()
    assert begun == ((stage, count) != ("epoch", 0))
    if stage == "test":
        assert record["status"] == "finished"
        assert_equal(training, runs)
        return
    assert record["status"] == "interrupted"
    again = ["--ckpt_path", "last"] if begun else []
    assert fit(training.config, runs if begun else tmp_path / "again", *again) == 0
    assert_equal(training, runs if begun else tmp_path / "again")
