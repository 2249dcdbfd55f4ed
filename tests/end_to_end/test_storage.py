"""Disks that fill up, folders that are gone, loggers that fail: it is said, and nothing that was saved is lost."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from conftest import SUPPORT
from interruptions import write_photographs

from nnmass.commands.main import main
from nnmass.datamodules.cache import cached
from nnmass.runtime.files import write_atomically

ENVIRONMENT = {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
FIT = ["fit", "--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs"]


def only_run(output_dir: Path) -> Path:
    (folder,) = (path for path in output_dir.iterdir() if path.is_dir() and not path.is_symlink())
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    filler = ["--trainer.callbacks+=interruptions.FillDisk", f"--trainer.callbacks.folder={small_disk}"]
    assert main([*FIT, "4", "--output_dir", str(small_disk), *filler]) == 2
    error = capsys.readouterr().err
    assert ", but: No space left on device; continue the run with the same command" in error
    assert "Traceback" not in error
    folder = only_run(small_disk)
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 1
    assert not list(folder.rglob("*.part"))
    (small_disk / "filler").unlink()
    assert main([*FIT, "4", "--output_dir", str(small_disk), "--ckpt_path", "last"]) == 0
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    assert main([*FIT, "4", "--output_dir", str(tmp_path / "unbroken")]) == 0
    states = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (folder, only_run(tmp_path / "unbroken"))
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_folder_that_only_may_be_read_is_refused(small_disk: Path, capsys: pytest.CaptureFixture) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=30)
    assert main([*FIT, "1", "--output_dir", str(small_disk)]) == 2
    error = capsys.readouterr().err
    assert "Expected --output_dir to be a folder that can be written to" in error
    assert "Read-only file system" in error


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_data_that_vanish_stop_the_training_with_its_last_epoch_saved(
    num_workers: int, tmp_path: Path, nnmass: Callable
) -> None:
    write_photographs(tmp_path, train=40)
    network = {"class_path": "interruptions.DropoutNetwork", "init_args": {"features": 768, "num_classes": 3}}
    data = {"class_path": "interruptions.ThreeClasses", "init_args": {"data_dir": str(tmp_path), "val_on_test": True}}
    data["init_args"] |= {"batch_size": 4, "resolution": 16, "num_workers": num_workers}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"model": {"network": network}, "data": data, "trainer": {"max_epochs": 3}}))
    vanish = ["--trainer.callbacks+=interruptions.Vanish", f"--trainer.callbacks.folder={tmp_path / 'imagenet'}"]
    words = ["fit", "--config", config, "--output_dir", tmp_path / "runs", "--trainer.accelerator", "cpu", *vanish]
    done = nnmass(*words, **ENVIRONMENT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "imagenet/train/n" in done.stderr
    assert "--ckpt_path last" in done.stderr
    folder = only_run(tmp_path / "runs")
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    shutil.move(tmp_path / "vanished", tmp_path / "imagenet")
    assert nnmass(*words[:-2], "--ckpt_path", "last", **ENVIRONMENT).returncode == 0


@pytest.mark.parametrize("when", ["start", "middle"])
def test_a_logger_that_fails_is_named_once_and_the_training_goes_on(
    when: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    logger = ["--trainer.logger", "interruptions.UnreachableLogger", "--trainer.logger.when", when]
    assert main([*FIT, "3", "--output_dir", str(tmp_path), *logger]) == 0
    error = capsys.readouterr().err
    assert error.count("UnreachableLogger has failed (no route to host); the training goes on without.") == 1
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["epochs"] == 3


def test_a_part_of_decoded_data_that_a_killed_process_has_left_goes_when_they_are_made(tmp_path: Path) -> None:
    (tmp_path / "digits.safetensors.12345678.part").touch()
    cached(tmp_path, "digits", lambda: {"images": torch.zeros(3)})
    assert not list(tmp_path.glob("*.part"))


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines may give their processes the same number."""
    path, fsync = tmp_path / "study.yaml", os.fsync

    def meanwhile(file: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        write_atomically(path, "the other's")
        fsync(file)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomically(path, "ours")
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]
