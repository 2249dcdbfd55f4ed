"""Trainings and monitors that cannot work are refused in one line before a run has a folder."""

from pathlib import Path

import pytest
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from nnmass.commands.main import main
from nnmass.commands.options.monitors import require_logged

EARLY = "--trainer.callbacks EarlyStopping"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (EARLY, "Expected pytorch_lightning.callbacks.EarlyStopping to be given monitor, but got nothing."),
        (
            f"{EARLY} --trainer.callbacks.monitor val/lossy",
            "Expected EarlyStopping to monitor one of train/loss, train/accuracy, train/data_wait_s, val/loss, "
            "val/accuracy, val/top5, val/macro_accuracy, val/macro_f1, but got val/lossy; did you mean val/loss?",
        ),
        ("--trainer.callbacks ModelCheckpoint --trainer.callbacks.monitor loss", "Expected ModelCheckpoint to monitor"),
        (
            "--model.network torch.nn.Identity",
            "Expected model.network to be a class whose arguments have names, but got torch.nn.Identity.",
        ),
        ("--model.network torch.nn.Module", "Expected model.network to be a class whose arguments have names, but got"),
        ("--model.network torch.nn.ReLU", "Expected model.network to have weights to train, but ReLU has none."),
        ("--model.network torch.nn.Flatten", "Expected model.network to have weights to train, but Flatten has none."),
    ],
)
def test_the_command_line_says_so(words: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    where = ["--output_dir", str(tmp_path / "runs")]
    assert main(["fit", "--config", "digits_dense.yaml", *where, *words.split()]) == 2
    message = capsys.readouterr().err
    assert message.startswith(sentence)
    assert message.count("\n") == 1
    assert not (tmp_path / "runs").exists()


class Own(Callback):
    """May log whatever it likes."""


def test_what_is_logged_may_be_watched() -> None:
    require_logged([], 2)
    require_logged([EarlyStopping("val/top5"), LearningRateMonitor(), ModelCheckpoint(monitor="lr-SGD")], 6)
    require_logged([ModelCheckpoint(), ModelCheckpoint(monitor="step", mode="max")], 2)
    require_logged([EarlyStopping("mine"), Own()], 2)
    with pytest.raises(ValueError, match="but got val/top5"):
        require_logged([EarlyStopping("val/top5")], 5)
