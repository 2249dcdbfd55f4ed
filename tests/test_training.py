"""The main job through the real command line: the folder it leaves, resuming, processes, NaN."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from cli import main
from zoo import RandomSkipDenseNet

ROOT = Path(__file__).resolve().parent.parent
FIT = ("fit", "--config", "digits_dense.yaml", "--trainer.accelerator", "cpu")
CASE = tuple[Path, pd.DataFrame, dict[str, Any]]


def fit(*arguments: object) -> int:
    return main([*FIT, *map(str, arguments)])


def only_run(output_dir: Path) -> Path:
    folders = [path for path in output_dir.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(folders) == 1, folders
    return folders[0]


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six epochs that nothing disturbed."""
    output_dir = tmp_path_factory.mktemp("unbroken")
    assert fit("--output_dir", output_dir, "--trainer.max_epochs", 6) == 0
    return only_run(output_dir)


def test_the_folder_holds_everything(unbroken: Path) -> None:
    assert (unbroken.parent / "latest").resolve() == unbroken
    history = pd.read_csv(unbroken / "metrics.csv")
    assert history["epoch"].tolist() == list(range(6))
    for column in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr-SGD"):
        assert history[column].notna().all()
    assert history["topology/nn_mass"][0] == pytest.approx(149.333, abs=1e-3)
    assert list((unbroken / "tensorboard").glob("events.out.tfevents.*"))
    for name in ("accuracy.png", "loss.png"):
        with Image.open(unbroken / name) as picture:
            assert picture.width > 500


def test_the_record_is_complete(unbroken: Path) -> None:
    run = json.loads((unbroken / "run.json").read_text())
    assert run["status"] == "finished"
    assert (run["seed"], run["epochs"], run["resumes"], run["world_size"]) == (0, 6, 0, 1)
    assert run["versions"]["torch"] == torch.__version__.split("+")[0]
    assert run["device"].startswith("cpu")
    assert "command" in run
    assert "git_commit" in run
    assert run["topology"]["nn_mass"] == pytest.approx(RandomSkipDenseNet(4, 1, [8, 16, 32]).nn_mass)
    assert run["topology"]["input_size"] == [1, 8, 8]
    assert 0.3 < run["test"]["test/accuracy"] <= 1
    history = pd.read_csv(unbroken / "metrics.csv")
    assert run["best_val_accuracy"] == pytest.approx(history["val/accuracy"].max())


def test_the_saved_configuration_repeats_the_run(unbroken: Path, tmp_path: Path) -> None:
    saved = yaml.safe_load((unbroken / "config.yaml").read_text())
    assert saved["model"]["network"]["init_args"]["tc"] == [8, 16, 32]
    assert saved["trainer"]["max_epochs"] == 6
    assert main(["fit", "--config", str(unbroken / "config.yaml"), "--output_dir", str(tmp_path)]) == 0
    repeated = weights(only_run(tmp_path))
    assert all(torch.equal(value, repeated[name]) for name, value in weights(unbroken).items())


def test_the_best_checkpoint_can_be_tested_alone(unbroken: Path, capsys: pytest.CaptureFixture) -> None:
    before = json.loads((unbroken / "run.json").read_text())["test"]
    arguments = ["--config", str(unbroken / "config.yaml"), "--ckpt_path", "best"]
    assert main(["test", *arguments]) == 0
    assert json.loads((unbroken / "run.json").read_text())["test"] == before
    assert f"{before['test/accuracy']:.4f}" in capsys.readouterr().out
    assert main(["validate", *arguments]) == 0
    assert "val accuracy" in capsys.readouterr().out


def test_a_finished_run_is_not_resumed_and_not_written_over(unbroken: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file() and path.name != ".lock"}
    assert main(["fit", "--config", str(unbroken / "config.yaml"), "--ckpt_path", "last"]) != 0
    assert "is finished" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_resumed_run_equals_an_unbroken_one(
    how: signal.Signals, unbroken: Path, tmp_path: Path, nnmass: Callable
) -> None:
    arguments = [*FIT, "--output_dir", str(tmp_path), "--trainer.max_epochs", "6"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if line.startswith("epoch 3/6"):
            process.send_signal(how)
            break
    process.stdout.read()
    error = process.stderr.read()
    assert process.wait() != 0
    if how == signal.SIGINT:
        assert error == "Stopped; continue the run with the same command and --ckpt_path last.\n"
        assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "interrupted"
    resumed = nnmass(*arguments, "--ckpt_path", "last")
    assert resumed.returncode == 0, resumed.stderr
    folder = only_run(tmp_path)
    assert json.loads((folder / "run.json").read_text())["resumes"] == 1
    for name in ("last", "best"):
        theirs = weights(folder, name)
        assert all(torch.equal(value, theirs[key]) for key, value in weights(unbroken, name).items())
    ours, theirs = (pd.read_csv(path / "metrics.csv") for path in (unbroken, folder))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-6)


def test_two_runs_of_one_configuration_get_two_folders(unbroken: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert fit("--output_dir", tmp_path, "--trainer.max_epochs", 1) == 0
    folders = [path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(folders) == 2


def test_two_processes_train_one_network_in_one_folder(tmp_path: Path, nnmass: Callable) -> None:
    done = nnmass(
        *FIT, "--output_dir", tmp_path, "--trainer.devices", 2, "--trainer.strategy", "ddp", "--trainer.max_epochs", 2
    )
    assert done.returncode == 0, done.stderr
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert (run["world_size"], run["status"]) == (2, "finished")
    assert pd.read_csv(only_run(tmp_path) / "metrics.csv")["epoch"].tolist() == [0, 1]
    assert done.stdout.count("NN-Mass") == 2  # one table before the training, one after


def test_nan_stops_the_run_and_names_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from zoo import Classifier

    plain = Classifier.training_step

    def poisoned(self: Classifier, batch: tuple, batch_idx: int) -> torch.Tensor:
        loss = plain(self, batch, batch_idx)
        return loss * float("nan") if self.trainer.global_step == 23 else loss

    monkeypatch.setattr(Classifier, "training_step", poisoned)
    assert fit("--output_dir", tmp_path, "--trainer.max_epochs", 3) != 0
    assert "not finite at step 23 (epoch 1)" in capsys.readouterr().err
    folder = only_run(tmp_path)
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    assert all(torch.isfinite(value).all() for value in weights(folder).values())


def test_flags_win_over_a_checkpoint(unbroken: Path, tmp_path: Path) -> None:
    checkpoint = unbroken / "checkpoints" / "last.ckpt"
    assert fit("--output_dir", tmp_path, "--trainer.max_epochs", 7, "--ckpt_path", checkpoint) == 0
    folder = only_run(tmp_path)
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_epochs"] == 7
    assert pd.read_csv(folder / "metrics.csv")["epoch"].tolist() == [6]


def test_a_run_that_is_at_work_is_left_alone(
    unbroken: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from commands.run_folders import claim

    with claim(unbroken):
        assert main(["test", "--config", str(unbroken / "config.yaml"), "--ckpt_path", "best"]) != 0
    assert "another process is working in it" in capsys.readouterr().err


def test_nothing_of_a_run_stays_in_the_environment(unbroken: Path) -> None:
    assert "NNMASS_RUN_FOLDER" not in os.environ


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy(tmp_path: Path) -> None:
    assert fit("--output_dir", tmp_path) == 0
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert run["test"]["test/accuracy"] >= 0.97
    assert run["wall_time_s"] < 180
