"""The Jacobian recorder in real runs: measured before training, at epochs on request, and nothing changed by it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from nnmass.callbacks import JacobianRecorder
from nnmass.commands.main import main
from nnmass.zoo import create_model, hidden_mean, layer_spectra

FIT = ["fit", "--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.limit_train_batches", "2"]
RECORDER = ["--trainer.callbacks+=nnmass.callbacks.JacobianRecorder", "--trainer.callbacks.exact_up_to", "300"]


def fit(folder: Path, *arguments: str) -> Path:
    assert main([*FIT, "--output_dir", str(folder), *arguments]) == 0
    return (folder / "latest").resolve()


def test_a_run_with_the_recorder_ends_with_the_weights_of_one_without(tmp_path: Path) -> None:
    epochs = ["--trainer.max_epochs", "3"]
    with_it = fit(tmp_path / "a", *epochs, *RECORDER, "--trainer.callbacks.every_k_epochs", "2")
    without = fit(tmp_path / "b", *epochs)
    weights = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (with_it, without)
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    table = pd.read_csv(with_it / "jacobian.csv")
    assert table["epoch"].unique().tolist() == [0, 2]
    assert len(table) == 2 * 13
    assert {path.name for path in with_it.glob("jacobian_epoch_*.png")} == {
        "jacobian_epoch_0.png",
        "jacobian_epoch_2.png",
    }
    typed = pd.read_parquet(with_it / "jacobian.parquet")
    assert typed["mean"].tolist() == pytest.approx(table["mean"].tolist())
    assert all(sum(shares) == pytest.approx(1) for shares in typed["histogram"])
    hidden = table[(table["epoch"] == 0) & table["layer"].between(1, 11)]
    logged = pd.read_csv(with_it / "metrics.csv")
    for name, column in (("mean_singular_value", "mean"), ("isometry", "isometry")):
        assert logged[f"jacobian/{name}"].dropna().iloc[0] == pytest.approx(hidden[column].mean())


def test_inspect_shows_the_same_without_training(capsys: pytest.CaptureFixture) -> None:
    assert main(["inspect", "mlp_d16_w8_t2", "--ldi"]) == 0
    out = capsys.readouterr().out
    inputs = torch.randn(4, 784, generator=torch.Generator().manual_seed(0))
    spectra = list(layer_spectra(create_model("mlp_d16_w8_t2"), inputs))
    assert f"mlp_d16_w8_t2: mean singular value of the hidden layers {hidden_mean(spectra):.4f}" in out
    assert "layers.15.linear" in out


def test_a_network_without_hidden_layers_is_trained_and_a_line_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    network = [
        "--model.network",
        "nnmass.zoo.RandomSkipMLP",
        "--model.network.depth",
        "2",
        "--model.network.width",
        "4",
    ]
    folder = fit(tmp_path, "--trainer.max_epochs", "1", *network, "--model.network.tc", "0", *RECORDER[:1])
    assert "No Jacobian is recorded: Expected a network with hidden layers" in capsys.readouterr().out
    assert not (folder / "jacobian.csv").exists()


def test_of_two_processes_one_measures_and_writes_and_the_other_waits(tmp_path: Path) -> None:
    spread = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "2"]
    command = [*FIT, "--output_dir", str(tmp_path), *spread, *RECORDER, "--trainer.callbacks.every_k_epochs", "1"]
    done = subprocess.run([sys.executable, "cli.py", *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best val accuracy") == 1
    (run,) = tmp_path.glob("2*")
    record = json.loads((run / "run.json").read_text())
    assert (record["world_size"], record["status"]) == (2, "finished")
    assert pd.read_csv(run / "jacobian.csv")["epoch"].tolist() == [0] * 13 + [1] * 13
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [0, 1]
    assert pd.read_csv(run / "confusion_matrix.csv", index_col=0).to_numpy().sum() == 360


@pytest.mark.parametrize("name", ["every_k_epochs", "samples", "probes"])
def test_bad_arguments_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected {name} to be at least 1, but got 0"):
        JacobianRecorder(**{name: 0})
