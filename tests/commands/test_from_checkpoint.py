"""test and validate by a checkpoint alone: the run's figures, other data prepared as the network takes them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from idx_files import write_idx
from PIL import Image

from nnmass import zoo
from nnmass.commands.main import main
from nnmass.commands.training.from_checkpoint import require_as_trained
from nnmass.datamodules import CIFAR10, MNIST, Digits
from nnmass.runtime.files import read_run
from nnmass.zoo.weights.description import Description

CPU = ("--trainer.accelerator", "cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short training on the digits, in [0, 1]."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["--config", "digits_dense.yaml", *CPU, "--trainer.max_epochs", "1", "--data.standardise", "false"]
    assert main(["fit", *words, "--output_dir", str(folder / "runs")]) == 0
    return (folder / "runs" / "latest").resolve()


def accuracy(out: str) -> str:
    (line,) = [line for line in out.splitlines() if "test accuracy" in line]
    return line.split("│")[2].strip()


def test_a_copied_checkpoint_gives_the_figures_of_the_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(run / "checkpoints" / "best.ckpt", "copy.ckpt")
    capsys.readouterr()
    assert main(["test", "copy.ckpt", *CPU]) == 0
    alone = accuracy(capsys.readouterr().out)
    assert main(["test", str(run / "checkpoints" / "best.ckpt"), *CPU]) == 0
    assert accuracy(capsys.readouterr().out) == alone
    assert main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", "copy.ckpt", *CPU]) == 0
    assert accuracy(capsys.readouterr().out) == alone
    assert f"{read_run(run)['test']['test/accuracy']:.4f}" == alone
    assert main(["validate", "copy.ckpt", *CPU]) == 0
    assert "val accuracy" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["copy.ckpt"]


def test_what_contradicts_a_checkpoint_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save(content, "copy.ckpt")
    torch.save({**content, "nnmass": {**content["nnmass"], "data": "Pets"}}, "pets.ckpt")
    content.pop("nnmass")
    torch.save(content, "old.ckpt")
    for words, sentence in (
        ("copy.ckpt --ckpt_path best", "Expected test to be given a checkpoint or --ckpt_path, but got both."),
        ("copy.ckpt --config digits_dense", "Expected test to be given a checkpoint or --config, but got both."),
        ("nowhere.ckpt", "Expected a checkpoint, but nowhere.ckpt does not exist."),
        ("old.ckpt", "Expected old.ckpt to describe its network, but found neither that nor a config.yaml in a run"),
        ("pets.ckpt", "Expected --data for pets.ckpt, which was trained on Pets, but got none."),
        ("copy.ckpt --data.standardise true", "to prepare images with mean [0.0], as the checkpoint's network takes"),
        ("copy.ckpt --data CIFAR10", "to prepare images with channels 1, as the checkpoint's network takes them, but"),
    ):
        assert main(["test", *words.split()]) == 2, words
        err = capsys.readouterr().err
        assert sentence in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        *("predict FOLDER photos", "test FOLDER", "inspect FOLDER", "export FOLDER network.pt2"),
        "fit --config digits_dense --model.weights FOLDER",
    ],
)
def test_a_folder_in_place_of_a_checkpoint_is_called_one_and_the_checkpoint_in_it_is_named(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    best = Path("run") / "checkpoints" / "best.ckpt"
    for path, sentence in ((Path("other"), "other is a folder."), (best, f"run is a folder; it holds {best}.")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir()
        assert main(words.replace("FOLDER", path.parts[0]).split()) == 2
        err = capsys.readouterr().err
        assert sentence in err
        assert err.count("\n") == 1


def test_weights_alone_are_said_to_describe_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"module.layer.weight": torch.ones(2, 3)}, "weights.pth")
    assert main(["predict", "weights.pth", "."]) == 2
    assert capsys.readouterr().err == (
        "Expected weights.pth to describe its network, but found neither that nor a config.yaml in a run folder around "
        "it.\n"
    )


@pytest.mark.parametrize("in_memory", [False, True], ids=["photographs", "small images"])
def test_folders_are_prepared_as_the_network_takes_them(
    in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Their own mean and standard deviation are others."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    right = 0
    prepared = zoo.Preprocessing(3, (16, 16), (0.2, 0.3, 0.4), (0.5, 0.6, 0.7), None if in_memory else 0.875)
    arguments: dict[str, Any] = {"cell_depth": 3, "width_multiplier": 1, "tc": 4, "num_classes": 3}
    network = zoo.RandomSkipDenseNet(**arguments).eval()
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog", "emu")):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for number in range(6):
                path = tmp_path / "pets" / part / name / f"{number}.png"
                Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
                if part == "test":
                    right += int(network(prepared(path).unsqueeze(0)).argmax()) == label
    notes = Description(
        "nnmass.zoo.RandomSkipDenseNet", arguments, (3, 16, 16), prepared, ("cat", "dog", "emu"), "Mine"
    )
    model = zoo.Classifier(network)
    content = {"state_dict": model.state_dict(), "nnmass": notes.as_dict(), "global_step": 0}
    torch.save({**content, "pytorch-lightning_version": "2.6.0", "callbacks": {}}, "pets.ckpt")
    words = ["--data", "ImageFolder", "--data.data_dir", "pets", "--data.num_workers", "0"]
    capsys.readouterr()
    assert main(["test", "pets.ckpt", *words, *CPU]) == 0
    assert float(accuracy(capsys.readouterr().out)) == pytest.approx(right / 18, abs=1e-4)
    (tmp_path / "pets" / "train" / "emu").rename(tmp_path / "pets" / "train" / "ant")
    (tmp_path / "pets" / "test" / "emu").rename(tmp_path / "pets" / "test" / "ant")
    assert main(["test", "pets.ckpt", *words, *CPU]) == 2
    err = capsys.readouterr().err
    assert err == "Expected the data's classes to be the checkpoint's, such as 'cat', but got 'ant'.\n"


def test_images_are_evaluated_at_the_resolution_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_idx(tmp_path / "MNIST" / "raw", 80)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNMASS_DATA", str(tmp_path))
    words = ("--data.resolution", "8", "--data.val_size", "20", "--trainer.max_epochs", "1", "--output_dir", "runs")
    assert main(["fit", "--config", "mnist_mlp", *CPU, *words]) == 0
    trained = (tmp_path / "runs" / "latest").resolve()
    shutil.copy(trained / "checkpoints" / "best.ckpt", "copy.ckpt")
    capsys.readouterr()
    assert main(["test", "copy.ckpt", *CPU]) == 0
    assert accuracy(capsys.readouterr().out) == f"{read_run(trained)['test']['test/accuracy']:.4f}"
    assert main(["test", "copy.ckpt", "--data.resolution", "28", *CPU]) == 2
    assert "to prepare images with size [8, 8], as the checkpoint's network" in capsys.readouterr().err
    whole, small = (MNIST(resolution=side).load("test")[0] for side in (None, 8))
    Path("images").mkdir()
    for index, image in enumerate(whole):
        Image.fromarray(image[0].numpy()).save(f"images/{index:02}.png")
    assert main(["predict", "copy.ckpt", "images", "--output", "found.csv"]) == 0
    network = zoo.load("copy.ckpt").network
    assert small.shape == (40, 1, 8, 8)
    with torch.no_grad():
        expected = network(small / 255).softmax(1).max(1)
    found = pd.read_csv("found.csv")
    assert found["class"].tolist() == expected.indices.tolist()
    assert found["probability"].tolist() == pytest.approx(expected.values.tolist(), abs=1e-5)


def test_another_number_of_classes_is_named_before_the_weights_are_compared() -> None:
    described = Description("nnmass.zoo.ResNet", {}, (1, 8, 8), Digits().preprocessing, ("a", "b"), "Mine")
    with pytest.raises(ValueError, match="^Expected the data to have the checkpoint's 2 classes, but they have 10"):
        require_as_trained(Digits(), described)


def test_classes_without_names_are_not_compared() -> None:
    prepared = Digits().preprocessing
    named = Description("nnmass.zoo.ResNet", {}, (1, 8, 8), prepared, tuple("abcdefghij"), "Mine")
    require_as_trained(Digits(), named)
    colour = CIFAR10().preprocessing
    with pytest.raises(ValueError, match="^Expected the data's classes to be the checkpoint's, such as 'a', but"):
        require_as_trained(CIFAR10(), Description("a.B", {}, (3, 32, 32), colour, tuple("abcdefghij"), "Mine"))
