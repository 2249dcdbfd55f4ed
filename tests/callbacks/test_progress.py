"""The line per epoch, which must stay wherever a training is watched."""

import io
import re
from typing import Any

import pytest
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import RichProgressBar, TQDMProgressBar

from nnmass.commands.training.trainer_parts import evaluation_callbacks
from nnmass.datamodules import Digits
from nnmass.zoo import Classifier, RandomSkipMLP


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> list[str]:
        """The lines that are left once all returns, line feeds, steps upwards and erasures have been followed."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]|[^\r\n\x1b]+|\x1b.", self.getvalue()):
            if part == "\r":
                column = 0
            elif part == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif part.endswith("A") and part.startswith("\x1b"):
                row = max(0, row - int(part[2:-1] or 1))
            elif part.endswith("K") and part.startswith("\x1b"):
                lines[row] = "" if part == "\x1b[2K" else lines[row][:column]
            elif not part.startswith("\x1b"):
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
                column += len(part)
        return lines


@pytest.mark.parametrize("bar", [None, TQDMProgressBar, RichProgressBar, "Lightning's"])
def test_the_line_of_every_epoch_stays_on_a_terminal(bar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "300")  # rich folds longer lines
    own = [bar()] if isinstance(bar, type) else []
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=evaluation_callbacks(own, {}, records=False, shows_bar=bar is not None),
        enable_progress_bar=bar is not None,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
    )
    data = Digits(batch_size=512)
    trainer.fit(Classifier(RandomSkipMLP(8, 4, 2, in_features=64), num_classes=10), datamodule=data)
    shown = "\n".join(screen.shown())
    for epoch in (1, 2, 3):
        lines = re.findall(rf"^epoch {epoch}/3, .*val/accuracy .*train/loss .*, lr .* s *$", shown, re.MULTILINE)
        assert len(lines) == 1, shown
