"""Trainings that signals interrupt: they go on at the next batch and end as if nothing had happened."""

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
import yaml
from conftest import SUPPORT
from interruptions import write_photographs

from nnmass import callbacks
from nnmass.commands.main import main

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
    """Three epochs with dropout; of digits with crops and cutout, or of photographs that two workers read and augment.

    The photographs are augmented in all ways, and trained on as in protocol A3 of Wightman et al.
    """
    folder = tmp_path_factory.mktemp(request.param)
    trainer = {"max_epochs": 3, "accelerator": "cpu", "logger": False}
    if request.param == "memory":
        data = {"class_path": "nnmass.datamodules.Digits", "init_args": {"batch_size": 199, "val_size": 250}}
        data["init_args"] |= {"augmentation": {"crop_padding": 1, "cutout": 2}}
        features, classes, val_batches = 64, 10, 2
    else:
        write_photographs(folder)
        data = {"class_path": "interruptions.ThreeClasses", "init_args": {"batch_size": 5, "resolution": 16}}
        data["init_args"] |= {"data_dir": str(folder), "num_workers": 2, "val_on_test": True}
        data["init_args"]["augmentation"] = {
            **{"policy": "rand-m6-mstd0.5-inc1", "colour_jitter": 0.4, "erasing": 0.5},
            **{"mixup": 0.1, "cutmix": 1.0, "repeats": 2},
        }
        features, classes, val_batches = 3 * 16 * 16, 3, 4
    network = {"class_path": "interruptions.DropoutNetwork"}
    network["init_args"] = {"features": features, "num_classes": classes}
    model = {"network": network, "interval": "step"}
    if request.param == "workers":
        model["optimizer"] = {"class_path": "timm.optim.Lamb", "init_args": {"lr": 0.008, "weight_decay": 0.02}}
        model |= {"loss": "binary_cross_entropy", "decay_norms": False, "warmup_epochs": 1}
    return unbroken({"model": model, "data": data, "trainer": trainer}, folder, val_batches)


def assert_equal(training: Training, output_dir: Path) -> None:
    state, history, diary = outcome(output_dir)
    assert diary == training.diary
    for name, value in training.weights.items():
        assert torch.equal(value, state[name]), name
    pd.testing.assert_frame_equal(history, training.history, check_exact=True)


# Every kind of moment every day; the others of its kind, and what does not depend on who reads, with the slow tests.
MOMENTS: list[Any] = [("epoch", 0), ("train", 4), ("last of epoch", 0), ("val", 1), ("test", 0)]
OTHER_MOMENTS = [
    *[("epoch", 1), ("train", 0), ("train", -2)],
    *[("last of epoch", 2), ("val", 3), ("val", -1)],
]
MOMENTS += [pytest.param(*moment, marks=pytest.mark.slow) for moment in OTHER_MOMENTS]
READ_BY = pytest.mark.parametrize(
    "training", ["memory", pytest.param("workers", marks=pytest.mark.slow)], indirect=True
)


@READ_BY
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
        assert record["status"] == "trained"
        assert_equal(training, runs)
        assert fit(training.config, runs, "--ckpt_path", "last") == 0
        assert json.loads((folder / "run.json").read_text())["status"] == "finished"
        assert_equal(training, runs)
        return
    assert record["status"] == "interrupted"
    again = ["--ckpt_path", "last"] if begun else []
    assert fit(training.config, runs if begun else tmp_path / "again", *again) == 0
    assert_equal(training, runs if begun else tmp_path / "again")


@pytest.mark.parametrize("training", ["memory"], indirect=True)
@pytest.mark.parametrize("count", [0, 2])
def test_a_signal_in_a_validation_between_two_batches_of_a_step(count: int, training: Training, tmp_path: Path) -> None:
    steps = ["--trainer.accumulate_grad_batches", 2, "--trainer.val_check_interval", 3]
    assert fit(training.config, tmp_path / "unbroken" / "runs", *steps) == 0
    whole, _, diary = outcome(tmp_path / "unbroken" / "runs")
    moment = ["--trainer.callbacks+=interruptions.Signal", "--trainer.callbacks.stage=val"]
    moment += [f"--trainer.callbacks.count={count}"]
    runs = tmp_path / "broken" / "runs"
    assert fit(training.config, runs, *steps, *moment) == COME_BACK
    assert fit(training.config, runs, *steps, "--ckpt_path", "last") == 0
    parts, _, their_diary = outcome(runs)
    assert their_diary == diary
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


@READ_BY
@pytest.mark.parametrize(("stage", "count"), [("train", 4), ("val", 1)])
def test_ctrl_c_loses_nothing(
    stage: str, count: int, training: Training, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        moment = ["--trainer.callbacks+=interruptions.Signal", f"--trainer.callbacks.stage={stage}"]
        moment += [f"--trainer.callbacks.count={count}", "--trainer.callbacks.name=SIGINT"]
        assert fit(training.config, tmp_path / "runs", *moment) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "by Ctrl-C; continue the run with the same command" in capsys.readouterr().err
    assert fit(training.config, tmp_path / "runs", "--ckpt_path", "last") == 0
    assert_equal(training, tmp_path / "runs")


@pytest.mark.slow
@pytest.mark.parts(3)
@pytest.mark.parametrize("moment", range(10))
def test_kill_9_costs_one_checkpoint_interval_at_most(
    moment: int, training: Training, tmp_path: Path, nnmass: Callable
) -> None:
    """A checkpoint after every step; a part of the kills hits the middle of a write."""
    runs, generator = tmp_path / "runs", random.Random(moment)
    when = f"write={generator.randrange(24)}" if moment % 3 == 0 else f"seconds={generator.uniform(0, 1.5)}"
    diary = ["--trainer.callbacks+=interruptions.Diary", f"--trainer.callbacks.path={tmp_path / 'diary'}"]
    kill = ["--trainer.callbacks+=interruptions.Kill", f"--trainer.callbacks.{when}"]
    words = ["fit", "--config", training.config, "--output_dir", runs, *diary, *kill, "--checkpoint_minutes", 0]
    status = nnmass(*words, PYTHONPATH=str(SUPPORT)).returncode
    assert status in (0, -signal.SIGKILL)
    last = only_run(runs) / "checkpoints" / "last.ckpt"
    record = json.loads((last.parent.parent / "run.json").read_text())
    if not last.exists():
        assert not (tmp_path / "diary.0").exists() or len((tmp_path / "diary.0").read_text().splitlines()) <= 1
        return
    if record["status"] != "finished":
        assert status != 0
        reached = int((tmp_path / "diary.0").read_text().splitlines()[-1].split()[0])
        assert fit(training.config, runs, "--ckpt_path", "last") == 0
        again = json.loads((last.parent.parent / "run.json").read_text())
        assert again["status"] == "finished"
        assert record["status"] == "trained" or again["starts"][-1] >= reached - 1
    state, history, _ = outcome(runs)
    assert all(torch.equal(value, state[name]) for name, value in training.weights.items())
    pd.testing.assert_frame_equal(history, training.history, check_exact=True)


@READ_BY
@pytest.mark.parametrize(
    "damage", ["one byte", *(pytest.param(damage, marks=pytest.mark.slow) for damage in ("truncated", "empty"))]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    damage: str, training: Training, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = tmp_path / "runs"
    moment = ["--trainer.callbacks+=interruptions.Signal", "--trainer.callbacks.stage=train"]
    moment += [f"--trainer.callbacks.count={training.steps // 2}"]
    assert fit(training.config, runs, *moment, "--checkpoint_minutes", 0) == COME_BACK
    last = only_run(runs) / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"truncated": content[: len(content) // 2], "one byte": content, "empty": b""}[damage])
    (tmp_path / "diary.0").unlink()
    assert fit(training.config, runs, "--ckpt_path", "last") == 0
    assert f"{last}, but the file is damaged" in capsys.readouterr().err
    state, history, diary = outcome(runs)
    assert diary == training.diary[training.steps // 2 :]
    assert all(torch.equal(value, state[name]) for name, value in training.weights.items())
    pd.testing.assert_frame_equal(history, training.history, check_exact=True)


@READ_BY
def test_without_an_intact_checkpoint_nothing_begins(
    training: Training, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = tmp_path / "runs"
    assert fit(training.config, runs, "--trainer.callbacks+=interruptions.Signal", "--trainer.callbacks.stage=epoch",
               "--trainer.callbacks.count=1") == COME_BACK  # fmt: skip
    for path in (only_run(runs) / "checkpoints").glob("*.ckpt"):
        path.write_bytes(b"")
    assert fit(training.config, runs, "--ckpt_path", "last") == 2
    assert "Expected a checkpoint in" in capsys.readouterr().err


@READ_BY
def test_a_job_that_gets_no_further_is_not_started_for_ever(
    training: Training, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    monkeypatch.setattr(callbacks.ResumeCheckpoint, "_save", lambda *_: (_ for _ in ()).throw(OSError("no disk")))
    for name, value in {"RUN_ID": "7", "RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    for name, value in {"LOCAL_WORLD_SIZE": "1", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for name, value in {"GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}.items():
        monkeypatch.setenv(name, value)
    for restarts in range(4):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
        assert fit(training.config, runs) == 2
        said = capsys.readouterr().err
        assert ("three starts at step 0 have come to no checkpoint" in said) == (restarts == 3), said
    assert len(list(runs.glob("2*"))) == 1
