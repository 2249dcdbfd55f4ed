"""The command line beside the table of bad input: help, tracebacks, code in checkpoints, downloads, pipes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from nnmass.commands.main import main
from nnmass.commands.training.help import training_help

FIT = ("fit", "--config", "digits_dense.yaml")


def test_debug_gives_the_traceback_back(nnmass: Callable, tmp_path: Path) -> None:
    done = nnmass("fit", "--config", "none.yaml", cwd=tmp_path, NNMASS_DEBUG="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_checkpoint_that_carries_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "sprung").touch, ())

    torch.save({"state_dict": {}, "trap": Trap()}, tmp_path / "trap.ckpt")
    assert main([*FIT, "--output_dir", str(tmp_path), "--ckpt_path", str(tmp_path / "trap.ckpt")]) != 0
    assert (
        f"a checkpoint in {tmp_path / 'trap.ckpt'}, but it carries code (getattr), which is not run."
        in capsys.readouterr().err
    )
    assert not (tmp_path / "sprung").exists()


def test_help_is_short_and_loads_no_torch(nnmass: Callable) -> None:
    done = nnmass("--help")
    assert done.returncode == 0
    assert "usage: nnmass SUBCOMMAND" in done.stdout
    assert len(done.stdout.splitlines()) < 30
    slow = nnmass("--help", PYTHONPROFILEIMPORTTIME="1")
    assert " torch" not in slow.stderr


@pytest.mark.parametrize("subcommand", ["fit", "validate", "test"])
def test_the_page_of_a_training_names_options_that_there_are(subcommand: str, capsys: pytest.CaptureFixture) -> None:
    page = training_help(subcommand)
    assert len(page.splitlines()) < 45
    with pytest.raises(SystemExit):
        main([subcommand, "--help-all"])
    known = capsys.readouterr().out
    for option in re.findall(r"^  (--[\w.]+)", page, flags=re.MULTILINE):
        root = ".".join(option.split(".")[:2]) if option.startswith("--model") else option.split(".")[0]
        assert root in known or option == "--help-all", option


def test_whoever_reads_may_stop_reading(tmp_path: Path) -> None:
    command = f"{sys.executable} {ROOT / 'cli.py'} list models | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("dense_28")
    assert done.stderr == ""
    words = [sys.executable, str(ROOT / "cli.py"), "list", "configs"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # before anything is written
        assert process.stderr.read() == ""


def test_a_class_in_this_folder_is_found(tmp_path: Path, nnmass: Callable) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\nclass Mine(nn.Module):\n    def __init__(self, hidden: int = 4):\n"
        "        super().__init__()\n        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden),\n"
        "                                    nn.ReLU(), nn.Linear(hidden, 10))\n\n"
        "    def forward(self, x):\n        return self.layers(x)\n"
    )
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    done = nnmass(*FIT, *short, "--model.network", "mine.Mine", "--model.network.hidden", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_download_without_a_network_ends_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import socket

    def closed(*_: object, **__: object) -> None:
        raise OSError("no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", closed)
        arguments = ["--data.data_dir", str(tmp_path), "--output_dir", str(tmp_path / "runs")]
        assert main(["fit", "--config", "cifar10_dense.yaml", *arguments]) != 0
    error = capsys.readouterr().err
    assert "and the download failed" in error
    assert error.count("\n") == 1
