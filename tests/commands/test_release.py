"""Weights of a training, written for create_model: tested again, with record, configuration and card."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from nnmass.commands.main import main
from nnmass.commands.release import _without_places
from nnmass.zoo import RandomSkipMLP, create_model
from nnmass.zoo.weights.pretrained import find_pretrained

ARGUMENTS: dict[str, Any] = {"depth": 4, "width": 3, "tc": 2}
CONFIGURATION = {
    "seed_everything": 3,
    "model": {"network": {"class_path": "nnmass.zoo.RandomSkipMLP", "init_args": ARGUMENTS}},
    "data": {"class_path": "nnmass.datamodules.Digits", "init_args": {"batch_size": 512}},
    "trainer": {"max_epochs": 2, "accelerator": "auto", "precision": None},
}


def trained() -> RandomSkipMLP:
    return RandomSkipMLP(**ARGUMENTS, in_features=64, seed=8)


def run_folder(folder: Path) -> Path:
    """A run as ``fit`` leaves it; returns its checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    (folder / "run.json").write_text(
        json.dumps({"epochs": 2, "device": "cpu", "versions": {"torch": "2", "pandas": "3"}})
    )
    state = {f"network.{name}": value for name, value in trained().state_dict().items()}
    checkpoint = {"state_dict": state, "global_step": 1, "pytorch-lightning_version": "2"}
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    return folder / "checkpoints" / "best.ckpt"


def row_folder(folder: Path) -> Path:
    """A row of a study as the engine ``ensemble`` leaves it; returns its weights."""
    folder.mkdir()
    (folder / f"{folder.name}.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    (folder / "row.json").write_text(json.dumps({"epochs": 2, "engine": "ensemble", "torch": "2"}))
    save_file(trained().state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.mark.parametrize("trained_by", [run_folder, row_folder], ids=["run", "row"])
def test_what_is_released_is_the_trained_network(
    trained_by: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, folder = trained_by(tmp_path / "training"), tmp_path / "weights"
    command = ["release", str(weights), "mine", "--folder", str(folder)]
    assert main(command) == 0
    assert "mine; " in capsys.readouterr().out
    monkeypatch.setenv("NNMASS_WEIGHTS", str(folder))
    state = create_model("mine", pretrained=True).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained().state_dict().items())
    record = find_pretrained("mine")
    assert (record.seed, record.epochs, record.data, record.versions) == (3, 2, "Digits", {"torch": "2"})
    assert record.network["init_args"]["in_features"] == 64
    assert record.preprocessing == {"channels": 1, "size": [8, 8], "mean": [0.3053], "std": [0.376], "crop": None}
    assert f"| accuracy | {100 * record.test['accuracy']:.2f} % |" in (folder / "mine.md").read_text()
    kept = yaml.safe_load((folder / "mine.yaml").read_text())
    assert kept == {**CONFIGURATION, "trainer": {"max_epochs": 2}}
    assert main(command) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_the_configuration_names_no_folder() -> None:
    data = {"class_path": "MNIST", "init_args": {"data_dir": "/somewhere", "batch_size": 4}}
    assert _without_places({**CONFIGURATION, "data": data, "output_dir": "/elsewhere"}) == {
        **CONFIGURATION,
        "data": {"class_path": "MNIST", "init_args": {"batch_size": 4}},
        "trainer": {"max_epochs": 2},
    }


def test_what_cannot_be_released_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tmp_path / "weights.safetensors"
    save_file(trained().state_dict(), alone)
    for words, sentence in (
        (["nothing.ckpt", "mine"], "Expected a file of weights (.ckpt or .safetensors), but got 'nothing.ckpt'."),
        ([str(alone), "a/b"], "Expected the network's name to be one line without slashes"),
        ([str(alone), "mine"], "to lie in the folder of a study's row, but got no "),
    ):
        assert main(["release", *words, "--folder", str(tmp_path / "out")]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
