"""predict: the classes of images by a checkpoint alone, wherever it lies; the same as those of the test."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from nnmass import zoo
from nnmass.commands.main import main
from nnmass.datamodules import Digits
from nnmass.runtime.files import read_run

NOT_UTF8 = os.fsdecode(b"caf\xe9.png")
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short training on the digits."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
    assert main(["fit", *words, "--output_dir", str(folder / "runs")]) == 0
    return (folder / "runs" / "latest").resolve()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images of the digits as files, their labels in the names."""
    folder = tmp_path_factory.mktemp("images")
    for index, (image, label) in enumerate(zip(*Digits().load("test"), strict=True)):
        Image.fromarray(image[0].numpy()).save(folder / f"{index:03}_{label}.png")
    return folder


@pytest.fixture
def alone(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The best checkpoint, copied away from its run, where no data can be loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnmass.datamodules.Digits.load", lambda *_: pytest.fail("the data were read"))
    return Path(shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "copy.ckpt"))


def right(table: pd.DataFrame) -> int:
    labels = table["file"].map(lambda file: int(Path(file).stem.rpartition("_")[2]))
    return int((labels == table["class"].astype(int)).sum())


def test_the_accuracy_is_that_of_the_test(run: Path, images: Path, alone: Path) -> None:
    assert main(["predict", str(alone), str(images)]) == 0
    table = pd.read_csv("predictions.csv")
    assert list(table) == ["file", "class", "probability"]
    assert list(table["file"]) == sorted(str(path) for path in images.iterdir())
    assert right(table) / 360 == pytest.approx(read_run(run)["test"]["test/accuracy"], abs=1e-6)


@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flip"])
def test_probabilities_are_those_of_the_network(flip: bool, images: Path, alone: Path) -> None:
    words = ["predict", str(alone), str(images), "--top-k", "10", "--output", "all.json", "--batch-size", "7"]
    assert main([*words, *(["--flip"] if flip else [])]) == 0
    trained = zoo.load(alone)
    assert trained.transform is not None
    inputs = torch.stack([trained.transform(path) for path in sorted(images.iterdir())])
    with torch.inference_mode():
        expected = trained.network(inputs).softmax(1)
        if flip:
            expected = (expected + trained.network(inputs.flip(3)).softmax(1)) / 2
    listed: list[dict[str, Any]] = json.loads(Path("all.json").read_text())
    assert len(listed) == 360
    for entry, row in zip(listed, expected, strict=True):
        found = {one["class"]: one["probability"] for one in entry["classes"]}
        assert list(found.values()) == sorted(found.values(), reverse=True)
        np.testing.assert_allclose([found[str(label)] for label in range(10)], row, atol=1e-5)


def test_several_classes_are_ranked_in_the_table(images: Path, alone: Path) -> None:
    one, other = sorted(images.iterdir())[:2]
    assert main(["predict", str(alone), str(one), str(other), "--top-k", "3"]) == 0
    table = pd.read_csv("predictions.csv")
    assert list(table) == ["file", "rank", "class", "probability"]
    assert table["rank"].tolist() == [1, 2, 3] * 2
    assert table["file"].tolist() == [str(one)] * 3 + [str(other)] * 3
    assert (table.groupby("file")["probability"].diff().dropna() <= 0).all()


def test_a_file_is_replaced_only_on_demand(images: Path, alone: Path, capsys: pytest.CaptureFixture) -> None:
    Path("predictions.csv").write_text("mine")
    words = ["predict", str(alone), str(min(images.iterdir()))]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "Expected a file that does not exist yet, but predictions.csv does; --overwrite replaces it.\n"
    )
    assert Path("predictions.csv").read_text() == "mine"
    assert main([*words, "--overwrite"]) == 0
    assert len(pd.read_csv("predictions.csv")) == 1


def undescribed(checkpoint: Path, to: Path) -> Path:
    """A copy as it was written before checkpoints described their networks."""
    content = torch.load(checkpoint, weights_only=True)
    del content["nnmass"]
    to.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, to)
    return to


def test_older_checkpoints_are_read_in_their_run_folders(
    run: Path, images: Path, alone: Path, capsys: pytest.CaptureFixture
) -> None:
    old = undescribed(alone, Path("run") / "checkpoints" / "best.ckpt")
    words = [str(images), "--top-k", "2"]
    assert main(["predict", str(old), *words, "--output", "old.csv"]) == 2
    assert "Expected run/checkpoints/best.ckpt to describe its network, but found neither" in capsys.readouterr().err
    shutil.copy(run / "config.yaml", "run")
    assert main(["predict", str(old), *words, "--output", "old.csv"]) == 0
    assert main(["predict", str(alone), *words, "--output", "new.csv"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv("old.csv"), pd.read_csv("new.csv"))


def test_classes_of_ones_own_are_found_in_the_current_folder(
    images: Path, alone: Path, capsys: pytest.CaptureFixture
) -> None:
    content = torch.load(alone, weights_only=True)
    arguments = content["nnmass"]["network"]["init_args"]
    content["nnmass"]["network"]["class_path"] = "network_of_mine.Mine"
    torch.save(content, "mine.ckpt")
    words = ["predict", "mine.ckpt", str(min(images.iterdir()))]
    assert main(words) == 2
    assert "network_of_mine" in capsys.readouterr().err
    names = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    Path("network_of_mine.py").write_text(
        "from nnmass import zoo\n\n\nclass Mine(zoo.RandomSkipDenseNet):\n"
        f"    def __init__(self, {names}):\n        super().__init__({', '.join(f'{n}={n}' for n in arguments)})\n"
    )
    assert main(words) == 0
    assert main(["predict", str(alone), words[2], "--output", "ours.csv"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv("predictions.csv"), pd.read_csv("ours.csv"))


def test_what_can_be_read_is_written_and_the_rest_is_listed(alone: Path, capsys: pytest.CaptureFixture) -> None:
    photos = Path("photos")
    photos.mkdir()
    for name in ("a.png", "b.gif", "c.tif", NOT_UTF8):
        Image.new("L", (9, 9), 90).save(photos / name)
    (photos / "half.png").write_bytes((photos / "a.png").read_bytes()[:50])
    (photos / "script.jpg").write_bytes(POSTSCRIPT)
    assert main(["predict", str(alone), "photos"]) == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert [line.split(",")[0].rpartition("/")[2] for line in lines[:2]] == ["half.png", "script.jpg"]
    assert lines[2:] == ["Expected whole images alone, but 2 could not be decoded and are not in predictions.csv."]
    assert "Written to predictions.csv: 4 images." in captured.out
    assert [Path(name).name for name in pd.read_csv("predictions.csv")["file"]] == [
        "a.png",
        "b.gif",
        "c.tif",
        r"caf\xe9.png",
    ]
    Path("predictions.csv").unlink()
    for name in ("a.png", "b.gif", "c.tif", NOT_UTF8):
        (photos / name).unlink()
    assert main(["predict", str(alone), "photos"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Of 2 images none can be decoded, of which the first is: Expected an image in ")
    assert err.count("\n") == 1
    assert not Path("predictions.csv").exists()


def test_vectors_and_wrong_numbers_of_names_are_refused(
    images: Path, alone: Path, capsys: pytest.CaptureFixture
) -> None:
    content = torch.load(alone, weights_only=True)
    short = {**content["nnmass"], "classes": ["a", "b"]}
    vectors = {**content["nnmass"], "preprocessing": None, "data": "Seg"}
    for name, notes, sentence in (
        ("short", short, "but the network tells 10 classes and has 2 names."),
        ("vectors", vectors, "Expected a network of images, but vectors.ckpt takes the vectors of Seg."),
    ):
        torch.save({**content, "nnmass": notes}, f"{name}.ckpt")
        assert main(["predict", f"{name}.ckpt", str(images)]) == 2
        assert sentence in capsys.readouterr().err
