"""The main job through the real command line: the folder it leaves, resuming, processes, NaN."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, SUPPORT
from PIL import Image

from nnmass.commands.main import main
from nnmass.zoo import Classifier, RandomSkipDenseNet, create_model

FIT = ("fit", "--config", "digits_dense.yaml", "--trainer.accelerator", "cpu")
TIMED = ["train/data_wait_s"]


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


def test_its_checkpoint_loads_in_python(unbroken: Path) -> None:
    path = unbroken / "checkpoints" / "best.ckpt"
    model = Classifier.load_from_checkpoint(path, network=create_model("dense_digits", seed=7), weights_only=True)
    saved = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_the_record_is_complete(unbroken: Path) -> None:
    run = json.loads((unbroken / "run.json").read_text())
    assert run["status"] == "finished"
    assert (run["seed"], run["epochs"], run["resumes"], run["world_size"]) == (0, 6, 0, 1)
    assert run["threads"] == torch.get_num_threads()
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
    before = json.loads((unbroken / "run.json").read_text())
    assert before["test"]["checkpoint"] == "best.ckpt"
    arguments = ["--config", str(unbroken / "config.yaml"), "--ckpt_path", "best"]
    assert main(["test", *arguments]) == 0
    assert json.loads((unbroken / "run.json").read_text()) == before
    assert f"{before['test']['test/accuracy']:.4f}" in capsys.readouterr().out
    assert main(["validate", *arguments]) == 0
    assert "val accuracy" in capsys.readouterr().out


def test_a_finished_run_is_not_resumed_and_not_written_over(unbroken: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file() and path.name != ".lock"}
    assert main(["fit", "--config", str(unbroken / "config.yaml"), "--ckpt_path", "last"]) != 0
    assert "is finished" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def interrupt(arguments: list[str], line: str, how: signal.Signals) -> str:
    """Start a training, send a signal to all its processes after a line of output, and return what stderr says."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for output in process.stdout:
            if output.startswith(line):
                os.killpg(process.pid, how)
                break
        process.stdout.read()
        error = process.stderr.read()
        assert process.wait() != 0
        return error


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL], ids=lambda how: how.name
)
def test_a_resumed_run_equals_an_unbroken_one(
    how: signal.Signals, unbroken: Path, tmp_path: Path, nnmass: Callable
) -> None:
    arguments = [*FIT, "--output_dir", str(tmp_path), "--trainer.max_epochs", "6"]
    error = interrupt(arguments, "epoch 3/6", how)
    if how == signal.SIGINT:
        said = error.strip().splitlines()
        assert said[0] == "Stopping after this batch, with the state saved; Ctrl-C once more stops at once."
        assert re.fullmatch(r"Stopped at step \d+ by Ctrl-C; continue the run .* and --ckpt_path last\.", said[1])
        assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "interrupted"
        assert (only_run(tmp_path) / "accuracy.png").is_file()
    resumed = nnmass(*arguments, "--ckpt_path", "last")
    assert resumed.returncode == 0, resumed.stderr
    folder = only_run(tmp_path)
    assert json.loads((folder / "run.json").read_text())["resumes"] == 1
    for name in ("last", "best"):
        theirs = weights(folder, name)
        assert all(torch.equal(value, theirs[key]) for key, value in weights(unbroken, name).items())
    ours, theirs = (pd.read_csv(path / "metrics.csv") for path in (unbroken, folder))
    pd.testing.assert_frame_equal(ours.drop(columns=TIMED), theirs.drop(columns=TIMED), rtol=1e-6)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    slow = ["--trainer.callbacks+=interruptions.Diary", f"--trainer.callbacks.path={tmp_path / 'diary'}"]
    slow += ["--trainer.callbacks.pause_s=60", "--output_dir", str(tmp_path / "runs")]
    with subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *FIT, *slow],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        record = tmp_path / "runs" / "latest" / "run.json"
        while not (record.exists() and json.loads(record.read_text()).get("topology")):
            assert process.poll() is None
            time.sleep(0.2)
        time.sleep(2)  # the first step
        assert process.stderr is not None
        os.killpg(process.pid, signal.SIGINT)
        while not process.stderr.readline().startswith("Stopping after this batch"):
            pass
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130  # well within the minute that the step takes


def test_a_second_ctrl_c_while_the_first_is_answered_counts() -> None:
    impatient = """
import os, signal
from nnmass.runtime.signals import StopSignals
def write(file: int, text: bytes) -> None:
    os.write = real
    real(file, text)
    signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job ignores it
with StopSignals() as signals:
    signals.watch()
    real, os.write = os.write, write
    signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", impatient], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.count("Stopping after this batch") == 1


def test_two_runs_of_one_configuration_get_two_folders(unbroken: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert fit("--output_dir", tmp_path, "--trainer.max_epochs", 1) == 0
    folders = [path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(folders) == 2


@pytest.mark.slow
def test_two_processes_train_one_network_in_one_folder_and_resume(tmp_path: Path, nnmass: Callable) -> None:
    spread = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "3"]
    arguments = [*FIT, *spread, "--model.interval", "step", "--output_dir"]
    done = nnmass(*arguments, tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best val accuracy") == 1
    whole = only_run(tmp_path / "whole")
    run = json.loads((whole / "run.json").read_text())
    assert (run["world_size"], run["status"]) == (2, "finished")
    assert pd.read_csv(whole / "confusion_matrix.csv", index_col=0).to_numpy().sum() == 360

    interrupt([*arguments, str(tmp_path / "parts")], "epoch 2/3", signal.SIGKILL)
    done = nnmass(*arguments, tmp_path / "parts", "--ckpt_path", "last")
    assert done.returncode == 0, done.stderr
    resumed = only_run(tmp_path / "parts")
    ours, theirs = (pd.read_csv(path / "metrics.csv") for path in (whole, resumed))
    assert theirs["epoch"].tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(ours.drop(columns=TIMED), theirs.drop(columns=TIMED), rtol=1e-4)
    final = weights(resumed)
    for name, value in weights(whole).items():
        torch.testing.assert_close(final[name], value)


def test_nan_stops_the_run_and_names_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from nnmass.zoo import Classifier

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
    # Mended, it goes on in its own folder, also when the checkpoint is given by its path.
    monkeypatch.setattr(Classifier, "training_step", plain)
    last = folder / "checkpoints" / "last.ckpt"
    assert fit("--output_dir", tmp_path, "--trainer.max_epochs", 3, "--ckpt_path", last) == 0
    assert only_run(tmp_path) == folder
    run = json.loads((folder / "run.json").read_text())
    assert (run["status"], run["reason"], run["resumes"]) == ("finished", None, 1)
    assert pd.read_csv(folder / "metrics.csv")["epoch"].tolist() == [0, 1, 2]


def test_a_training_is_not_continued_under_another_configuration(
    unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Its optimizer and schedule would come from the checkpoint, whatever the flags say."""
    checkpoint = unbroken / "checkpoints" / "last.ckpt"
    for flags, difference in (
        (("--trainer.max_epochs", 7), "trainer.max_epochs is 6 there and 7 here"),
        (("--trainer.max_epochs", 6, "--model.optimizer.lr", 0.5), "lr is 0.05 there and 0.5 here"),
        (("--trainer.max_epochs", 6), "is finished"),
    ):
        assert fit("--output_dir", tmp_path, *flags, "--ckpt_path", checkpoint) != 0
        assert difference in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_array_tasks_do_not_load_each_others_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning loads the highest hpc_ckpt of its root folder; ours is the run's own."""
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "runs"):
        folder.mkdir(exist_ok=True)
        (folder / "hpc_ckpt_3.ckpt").write_text("of another task")
    assert main([*FIT, "--trainer.max_epochs", "1"]) == 0
    assert json.loads((tmp_path / "runs" / "latest" / "run.json").read_text())["epochs"] == 1


def test_the_configurations_callbacks_come_on_top_of_ours(tmp_path: Path) -> None:
    extra = ["--trainer.callbacks+=pytorch_lightning.callbacks.EarlyStopping", "--trainer.callbacks.monitor=val/loss"]
    assert fit("--output_dir", tmp_path, "--trainer.max_epochs", 1, *extra) == 0
    folder = only_run(tmp_path)
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert "topology" in json.loads((folder / "run.json").read_text())


def test_a_run_whose_time_is_over_can_go_on(tmp_path: Path) -> None:
    assert fit("--output_dir", tmp_path, "--trainer.max_epochs", 50, "--trainer.max_time", "00:00:00:01") == 0
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "interrupted"


OWN_NETWORK = """
from torch import nn

class Own(nn.Sequential):
    def __init__(self, num_classes: int = 3):
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))
        self.num_classes = num_classes

class Moody(Own):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)
"""


@pytest.mark.parametrize("name", ["Own", "Moody"])
def test_a_network_of_ones_own_is_trained_whether_its_topology_can_be_read_or_not(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_network.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "own.yaml"
    config.write_text(f"model: {{network: own_network.{name}}}\ndata: datamodules.Digits\ntrainer: {{max_epochs: 1}}\n")
    assert main(["fit", "--config", str(config), "--output_dir", str(tmp_path / "runs")]) == 0
    run = json.loads((only_run(tmp_path / "runs") / "run.json").read_text())
    if name == "Own":
        assert (run["topology"]["nn_mass"], run["topology"]["num_layers"]) == (0, 1)
    else:
        assert "No topology is recorded: Expected a network that torch can trace" in capsys.readouterr().out
        assert "topology" not in run


def test_validation_on_the_test_set_is_recorded(tmp_path: Path) -> None:
    assert fit("--output_dir", tmp_path, "--trainer.max_epochs", 1, "--data.val_on_test", "true") == 0
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert run["val_on_test"] is True
    assert run["best_val_accuracy"] == pytest.approx(run["test"]["test/accuracy"])


def test_the_confusion_matrix_counts_every_image_once(unbroken: Path) -> None:
    run = json.loads((unbroken / "run.json").read_text())
    counts = pd.read_csv(unbroken / "confusion_matrix.csv", index_col=0).to_numpy()
    assert counts.sum() == 360
    assert counts.trace() / 360 == pytest.approx(run["test"]["test/accuracy"])
    table = pd.read_csv(unbroken / "class_accuracy.csv")
    assert table["images"].tolist() == counts.sum(1).tolist()
    assert table["accuracy"].tolist() == pytest.approx((counts.diagonal() / counts.sum(1)).tolist())
    with Image.open(unbroken / "confusion_matrix.png") as picture:
        assert picture.width > 500


def test_a_run_that_is_at_work_is_left_alone(
    unbroken: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnmass.runtime.folders import claim

    with claim(unbroken):
        assert main(["test", "--config", str(unbroken / "config.yaml"), "--ckpt_path", "best"]) != 0
    assert "another process is working in it" in capsys.readouterr().err


def test_nothing_of_a_run_stays_in_the_environment(unbroken: Path) -> None:
    assert "NNMASS_PLACE" not in os.environ


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy(tmp_path: Path) -> None:
    assert fit("--output_dir", tmp_path) == 0
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert run["test"]["test/accuracy"] >= 0.97
    assert run["wall_time_s"] < 180
