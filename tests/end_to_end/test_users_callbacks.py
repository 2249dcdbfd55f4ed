"""Lightning's own callbacks and options beside ours: averages of weights, early ends, profiles."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from nnmass.commands.main import main
from nnmass.runtime.folders import configuration_id

DIGITS = ["--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs"]
CALLBACK = "--trainer.callbacks+=pytorch_lightning.callbacks."
AVERAGING = [f"{CALLBACK}EMAWeightAveraging", "--trainer.callbacks.decay", "0.9"]


def only_run(output_dir: Path) -> Path:
    (folder,) = (path for path in output_dir.iterdir() if path.is_dir() and not path.is_symlink())
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_the_average_of_the_weights_is_validated_tested_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [*DIGITS, "2", *AVERAGING, "--output_dir", str(tmp_path)]
    assert main(["fit", *arguments]) == 0
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    without = [*DIGITS, "2", "--output_dir", str(tmp_path), "--ckpt_path"]
    best = str(only_run(tmp_path) / "checkpoints" / "best.ckpt")
    for words in (["test", *without, best], ["test", *arguments, "--ckpt_path", "best"]):
        capsys.readouterr()
        assert main(words) == 0
        assert f"{run['test']['test/accuracy']:.4f} " in capsys.readouterr().out
    assert main(["validate", *without, best]) == 0
    assert f"{run['best_val_accuracy']:.4f} " in capsys.readouterr().out


def test_an_average_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments = [*DIGITS, "2", *AVERAGING, "--output_dir"]
    assert main(["fit", *arguments, str(tmp_path / "whole")]) == 0
    moment = ["--trainer.callbacks+=interruptions.Signal", "--trainer.callbacks.stage=train"]
    assert main(["fit", *arguments, str(tmp_path / "parts"), *moment, "--trainer.callbacks.count=25"]) == 75
    assert main(["fit", *arguments, str(tmp_path / "parts"), "--ckpt_path", "last"]) == 0
    whole, parts = (weights(only_run(tmp_path / name)) for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_stochastic_weight_averaging_runs(tmp_path: Path) -> None:
    options = [f"{CALLBACK}StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.01"]
    assert main(["fit", *DIGITS, "2", *options, "--output_dir", str(tmp_path)]) == 0
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "finished"


def test_an_early_end_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = [f"{CALLBACK}EarlyStopping", "--trainer.callbacks.monitor=val/loss", "--trainer.callbacks.patience=1"]
    options += ["--trainer.callbacks.min_delta=9"]
    assert main(["fit", *DIGITS, "9", *options, "--output_dir", str(tmp_path)]) == 0
    said = (
        "The training has ended after 2 of 9 epochs: Monitored metric val/loss did not improve in the last 1 records."
    )
    assert said in capsys.readouterr().out
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert (run["status"], run["epochs"]) == ("finished", 2)
    assert "did not improve" in run["stopped_early"]


def test_the_same_samples_are_overfitted_in_each_epoch(tmp_path: Path) -> None:
    diary = ["--trainer.callbacks+=interruptions.Diary", f"--trainer.callbacks.path={tmp_path / 'diary'}"]
    options = ["--trainer.overfit_batches", "2", "--data.augmentation.crop_padding", "0", "--output_dir", str(tmp_path)]
    assert main(["fit", *DIGITS, "3", *options, *diary]) == 0
    seen = [line.split()[1] for line in (tmp_path / "diary.0").read_text().splitlines()]
    assert len(seen) == 6
    assert len(set(seen)) == 2


def test_a_profile_is_printed(tmp_path: Path, nnmass: Callable) -> None:
    done = nnmass("fit", *DIGITS, "1", "--trainer.profiler", "simple", "--output_dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FIT Profiler Report" in done.stderr


def test_a_callback_that_decides_the_training_makes_another_run() -> None:
    def identity(callbacks: object) -> str:
        return configuration_id({"seed_everything": 0, "trainer": {"max_epochs": 3, "callbacks": callbacks}})

    watching = {"class_path": "pytorch_lightning.callbacks.DeviceStatsMonitor"}
    stopping = {"class_path": "pytorch_lightning.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}}
    assert identity(None) == identity([]) == identity(watching) == identity([watching])
    assert identity(stopping) == identity([watching, stopping]) != identity(None)
    patient = {**stopping, "init_args": {"monitor": "val/loss", "patience": 9}}
    assert identity([patient]) != identity([stopping])


def test_a_validation_neither_claims_the_run_nor_shows_what_was_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [*DIGITS, "1", "--output_dir", str(tmp_path)]
    assert main(["fit", *arguments]) == 0
    capsys.readouterr()
    with FileLock(only_run(tmp_path) / ".lock"):
        assert main(["validate", *arguments, "--ckpt_path", "last"]) == 0
    out = capsys.readouterr().out
    assert "val accuracy" in out
    assert "train" not in out
