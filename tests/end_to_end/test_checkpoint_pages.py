"""The pages on checkpoints and exports, done as they are written, with a short training on the digits."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from test_howtos import blocks, command

from nnmass.commands.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, best.ckpt copied out of it, and the digits as files, also in class folders."""
    folder = tmp_path_factory.mktemp("pages")
    words = ["--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
    assert main(["fit", *words, "--output_dir", str(folder / "runs")]) == 0
    shutil.copy(folder / "runs" / "latest" / "checkpoints" / "best.ckpt", folder)
    digits = load_digits()
    (folder / "photos").mkdir()
    for index, (pixels, label) in enumerate(zip(digits.images[:60] * 255 / 16, digits.target, strict=False)):
        image = Image.fromarray(pixels.round().astype(np.uint8))
        image.save(folder / "photos" / ("a.png" if index == 0 else f"{index}.png"))
        for part in ("train", "test"):
            place = folder / "pets" / part / str(label)
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{index}.png")
    return folder


def test_classifying_with_a_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    more = {"test best.ckpt": ["--data.num_workers", "0"], "--ckpt_path best": ["--trainer.max_epochs", "1"]}
    for words in ("--top-k", "predict runs/latest", "test runs/latest", "test best.ckpt", "--ckpt_path best"):
        assert main([*command("evaluation.md", words), *more.get(words, [])]) == 0
    capsys.readouterr()
    (code,) = blocks("evaluation.md", "python")
    exec(code, {})
    predicted = pd.read_csv("predictions.csv").set_index("file")["class"]
    assert capsys.readouterr().out.strip() == str(predicted["photos/a.png"])
    assert Path("classes.json").is_file()


def test_classifying_without_torch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    assert main(command("export.md", "export")) == 0
    assert main(["predict", "best.ckpt", "photos", "--output", "all.csv"]) == 0
    predicted = pd.read_csv("all.csv")
    (code,) = blocks("export.md", "python")
    monkeypatch.setattr(sys, "argv", ["classify.py", *predicted["file"]])
    capsys.readouterr()
    exec(code, {})
    expected = [f"{file} {name}" for file, name in zip(predicted["file"], predicted["class"], strict=True)]
    assert capsys.readouterr().out.splitlines() == expected
