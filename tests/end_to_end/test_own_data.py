"""The how-to on images of one's own, done as it is written."""

import importlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from scipy.io import savemat

from nnmass.commands.main import main

LINES = re.findall(r"^    python cli\.py (.*)$", (ROOT / "docs" / "own_data.md").read_text(), re.MULTILINE)
LINES = [line for line in LINES if "mydata" not in line]
SHORT = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_test_batches", "1"]
SHORT += ["--trainer.limit_val_batches", "1", "--data.batch_size", "4", "--trainer.accelerator", "cpu"]
SHORT += ["--trainer.precision", "32-true", "--model.warmup_epochs", "0"]
SMALL = ["--data.resolution", "32", "--data.num_workers", "0", "--model.network.depth", "18"]
RNG = np.random.default_rng(0)


def picture() -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (32, 40, 3), dtype=np.uint8))


def write_data(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the page trains on, made small."""
    rows = ["file,label"]
    for name in ("cat", "dog"):
        for folder, count in (("pets", 20), ("stamps/train", 12), ("stamps/test", 4)):
            (place / folder / name).mkdir(parents=True)
            for number in range(count):
                picture().save(place / folder / name / f"{number}.png")
        rows += [f"{name}/{number}.png,{name}" for number in range(20)]
    (place / "pets" / "labels.csv").write_text("\n".join(rows))
    (place / "data").mkdir()
    for split, count in (("train", 40), ("test", 20)):
        images = RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        savemat(place / "data" / f"{split}_32x32.mat", {"X": images, "y": (np.arange(count) % 10 + 1)[:, None]})
    for module in ("svhn", "utils"):  # which know the sums of the official files
        known = importlib.import_module(f"torchvision.datasets.{module}")
        monkeypatch.setattr(known, "check_integrity", lambda *_: True)


def write_hugging_face(place: Path) -> None:
    datasets = importlib.import_module("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    columns = {"image": [picture() for _ in range(40)], "label": [0, 1] * 20}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(place / "saved_pets"))


def marked(line: str) -> object:
    quick = "stamps" in line
    return pytest.param(
        line,
        id=line.split("--data ")[1].split()[0] + ("-balanced" if "balance" in line else ""),
        marks=() if quick else pytest.mark.slow,
    )


@pytest.mark.parametrize("line", list(map(marked, LINES)))
def test_the_commands_of_the_page(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNMASS_DATA", "")
    write_data(tmp_path, monkeypatch)
    if "saved_pets" in line:
        write_hugging_face(tmp_path)
    small = SMALL if "imagenet" in line else []
    assert main([*shlex.split(line), *SHORT, *small]) == 0
    record = json.loads((tmp_path / "runs" / "latest" / "run.json").read_text())
    assert record["status"] == "finished"
    table = (tmp_path / "runs" / "latest" / "class_accuracy.csv").read_text().splitlines()
    assert table[0] == "class,images,accuracy,precision,recall,f1"
    assert len(table) == 1 + (10 if "SVHN" in line else 2)


def test_the_page_is_of_one_screen() -> None:
    page = (ROOT / "docs" / "own_data.md").read_text().partition("## Arrays")[0]
    assert page.count("\n") <= 60
    assert len(LINES) == 6
