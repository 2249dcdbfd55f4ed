"""What goes wrong gets one sentence on stderr, an exit status, and no traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cli import main

FIT = ("fit", "--config", "digits_dense.yaml")

# Arguments, then what the one sentence must hold. {tmp} is an empty folder; {file} is a text file.
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "subcommand": (("fitt",), "Expected a subcommand .*, but got 'fitt'; did you mean fit?"),
    "order": (("--config", "digits_dense.yaml", "fit"), "Expected a subcommand first, as in: nnmass fit --config"),
    "config name": (("fit", "--config", "digit_dense.yaml"), "did you mean digits_dense.yaml.*cifar10_dense.yaml"),
    "config path": (("fit", "--config", "{tmp}/none.yaml"), "none.yaml does not exist"),
    "config content": (("fit", "--config", "{file}"), "Expected keys and values in .*, but it holds str"),
    "no config": (("fit",), "model.network, .*data to be given"),
    "option": (
        (*FIT, "--model.netwrk", "3"),
        "known option or key, but got 'model.netwrk'; did you mean",
    ),
    "abbreviation": ((*FIT, "--trainer.max_epoch", "3"), "did you mean 'trainer.max_epochs'"),
    "network key": ((*FIT, "--model.network.cell_dept", "3"), "but got 'cell_dept'; did you mean 'cell_depth'"),
    "network class": ((*FIT, "--model.network", "zoo.RandomSkipDenseNe"), "did you mean 'zoo.RandomSkipDenseNet'"),
    "type": ((*FIT, "--model.network.cell_depth", "four"), "model.network.cell_depth to be int or .*, but got four"),
    "seed": ((*FIT, "--seed_everything", "true"), "seed_everything to be int, but got True"),
    "length of t": (
        (*FIT, "--model.network.tc", "[1,2]"),
        r"tc to be one number or one per cell \(3 cells\)",
    ),
    "negative depth": (
        (*FIT, "--model.network.cell_depth", "-3"),
        "cell_depth to be an integer of at least 1, but got -3",
    ),
    "data folder": (
        ("fit", "--config", "cifar10_dense.yaml", "--data.data_dir", "{tmp}/none", "--data.download", "false"),
        "Expected CIFAR10 in data.data_dir .*none.*; name the folder with --data.data_dir or NNMASS_DATA",
    ),
    "output folder": (
        (*FIT, "--output_dir", "{file}/runs"),
        "Expected --output_dir to be a folder that can be written",
    ),
    "nothing to resume": ((*FIT, "--ckpt_path", "last"), "an unfinished run .*, but there is no run of this config"),
    "no checkpoint": (("test", "--config", "digits_dense.yaml"), "Expected test to be given --ckpt_path"),
    "absent checkpoint": ((*FIT, "--ckpt_path", "{tmp}/none.ckpt"), "a file, last or best, but got .*none.ckpt"),
    "damaged checkpoint": ((*FIT, "--ckpt_path", "{file}"), "the file is damaged or carries code"),
    "other architecture": (
        (
            "test",
            "--config",
            "digits_dense.yaml",
            "--ckpt_path",
            "{checkpoint}",
            "--model.network.width_multiplier",
            "2",
        ),
        r"a checkpoint of this architecture, but .* is \(16, 1, 3, 3\) in the checkpoint and \(32, 1, 3, 3\)",
    ),
    "other configuration": (
        (*FIT, "--ckpt_path", "{checkpoint}", "--model.network.width_multiplier", "2"),
        r"run of this configuration, but model.network.init_args.width_multiplier is 1.0 there and 2.0 here",
    ),
    "optimizer key": ((*FIT, "--model.optimizer.lrr", "1"), "only arguments of torch.optim.SGD, .*did you mean 'lr'"),
    "choice": ((*FIT, "--model.schedule", "linear"), "model.schedule to be one of cosine, constant, but got linear"),
    "data class": ((*FIT, "--data", "datamodules.CIFAR11"), "such as datamodules.CIFAR10, .*did you mean"),
    "data key": ((*FIT, "--data.val_siz", "3"), "did you mean 'val_size'"),
    "misspelt key in a file": (("fit", "--config", "{misspelt}"), "'model.netwrk'; did you mean"),
    "trainer's folder": ((*FIT, "--trainer.default_root_dir", "x"), "Expected --output_dir to say where"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output_dir = tmp_path_factory.mktemp("runs")
    limits = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    assert main([*FIT, "--output_dir", str(output_dir), *limits]) == 0
    return output_dir / "latest" / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_sentence_and_no_traceback(mistake: str, tmp_path: Path, checkpoint: Path, nnmass: Callable) -> None:
    import re

    arguments, expected = MISTAKES[mistake]
    (tmp_path / "file").write_text("just words")
    (tmp_path / "misspelt.yaml").write_text("model:\n  netwrk: 3\n")
    places = {"tmp": tmp_path, "file": tmp_path / "file", "checkpoint": checkpoint}
    places["misspelt"] = tmp_path / "misspelt.yaml"
    done = nnmass(*(argument.format(**places) for argument in arguments), cwd=tmp_path)
    assert done.returncode not in (0, 1)
    assert re.search(expected, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr + done.stdout


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
        f"a checkpoint in {tmp_path / 'trap.ckpt'}, but the file is damaged or carries code" in capsys.readouterr().err
    )
    assert not (tmp_path / "sprung").exists()


def test_help_is_short_and_loads_no_torch(nnmass: Callable) -> None:
    done = nnmass("--help")
    assert done.returncode == 0
    assert "usage: nnmass SUBCOMMAND" in done.stdout
    assert len(done.stdout.splitlines()) < 30
    slow = nnmass("--help", PYTHONPROFILEIMPORTTIME="1")
    assert " torch" not in slow.stderr
    assert nnmass("fit", "--help").returncode == 0


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
