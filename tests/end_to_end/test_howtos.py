"""The how-tos on networks and data sets of one's own, on fine-tuning and topology, done as they are written."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from sklearn.datasets import load_digits

from nnmass.commands.main import main
from nnmass.zoo.weights.pretrained import find_pretrained

SHORT = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_test_batches", "1"]
SHORT += ["--trainer.limit_val_batches", "1", "--model.warmup_epochs", "0", "--data.batch_size", "4"]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def command(page: str, word: str) -> list[str]:
    """The words behind ``python cli.py`` of the line that holds ``word``."""
    (line,) = re.findall(
        rf"^    python cli\.py (.*{re.escape(word)}.*)$", (ROOT / "docs" / page).read_text(), re.MULTILINE
    )
    return line.split()


def photographs(folder: Path, classes: int) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12 if classes == 10 else 2), ("val", 1), ("test", 1)):
        for label in range(classes):
            place = folder / split / f"class_{label:03d}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


def test_a_network_of_ones_own(tmp_path: Path, nnmass: Callable) -> None:
    (tmp_path / "mynet.py").write_text(blocks("own_network.md", "python")[0])
    photographs(tmp_path / "data" / "cifar10", 10)
    done = nnmass(*command("own_network.md", "mynet.MyNet"), *SHORT, "--data.download", "false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "runs" / "latest" / "config.yaml").read_text()
    assert "class_path: mynet.MyNet" in config
    assert "hidden: 32" in config
    (ours,) = blocks("own_network.md", "yaml")
    (tmp_path / "own.yaml").write_text(f"{ours}data: Digits\n")
    assert nnmass("inspect", "--config", "own.yaml", cwd=tmp_path).returncode == 0


def test_a_data_set_of_ones_own(tmp_path: Path, nnmass: Callable) -> None:
    (tmp_path / "mydata.py").write_text("\n".join(blocks("own_data.md", "python")))
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 20)):
        images = rng.integers(0, 256, (count, 3, 24, 24), dtype=np.uint8)
        np.savez(tmp_path / f"stamps_{split}.npz", images=images, labels=np.arange(count) % 5)
    done = nnmass(*command("own_data.md", "mydata.Stamps"), *SHORT, "--trainer.precision", "32-true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    matrix = (tmp_path / "runs" / "latest" / "confusion_matrix.csv").read_text().splitlines()
    assert matrix[0] == "true class,0,1,2,3,4"


@pytest.mark.slow
def test_fine_tuning_a_trained_network(tmp_path: Path, nnmass: Callable) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 2)):
        for name in ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]:
            place = tmp_path / "data" / "cifar10" / part / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    (links,), (config,) = blocks("fine_tuning.md", "bash"), blocks("fine_tuning.md", "yaml")
    subprocess.run(["bash", "-ec", links], cwd=tmp_path, check=True)
    (tmp_path / "halves.yaml").write_text(config)
    lines = re.findall(r"^    python cli\.py (.*)$", (ROOT / "docs" / "fine_tuning.md").read_text(), re.MULTILINE)
    assert len(lines) == 5
    small = ["--data.batch_size", "8", "--data.val_size", "5", "--trainer.accelerator", "cpu"]
    small += ["--trainer.max_epochs", "2"]
    for line in lines:
        done = nnmass(*shlex.split(line), *small, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        began_anew = "Not loaded, and begin anew: classifier.weight, classifier.bias." in done.stdout
        assert began_anew == ("--model.weights" in line and "--extend" not in line)
    parent, extended = sorted((tmp_path / "runs" / "tuned").glob("2*/run.json"))
    assert json.loads(extended.read_text())["parent"] == parent.parent.name
    assert json.loads(extended.read_text())["epochs"] == 12


def test_a_trained_network_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray((load_digits().images[0] * 255 / 16).astype(np.uint8)).save("digit.png")
    names: dict[str, Any] = {}
    exec("\n".join(blocks("pretrained.md", "python")), names)
    assert capsys.readouterr().out.splitlines()[-1] == "0"
    rows = re.findall(
        r"^\| `(\w+)`.* \| \[(.+) %\]", (ROOT / "docs" / "pretrained.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {name: f"{100 * find_pretrained(name).test['accuracy']:.2f}" for name, _ in rows} == dict(rows)
    for word in ("list models", "predict"):
        assert main([part.strip("'") for part in command("pretrained.md", word)]) == 0
    assert "dense_digits" in capsys.readouterr().out


@pytest.mark.slow
def test_weights_of_ones_own_under_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command("pretrained.md", "fit"), *SHORT]) == 0
    assert main(command("pretrained.md", "release")) == 0
    monkeypatch.setenv("NNMASS_WEIGHTS", "weights")
    assert find_pretrained("my_digits").data == "Digits"


def test_the_topology_of_a_network() -> None:
    (code,) = blocks("topology.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["record"].num_params == 11_689_512
