"""The examples run as they are written, in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from nnmass.zoo import nn_mass

EXAMPLES = ROOT / "examples"


def run(example: str, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "lightning_project.py",
        "own_network.py",
        "plain_loop.py",
    }


def test_a_lightning_project_of_ones_own(tmp_path: Path) -> None:
    out = run(
        "lightning_project.py", "fit", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu", folder=tmp_path
    )
    assert "max_epochs=3" in out or (tmp_path / "lightning_logs").is_dir()
    source = (EXAMPLES / "lightning_project.py").read_text()
    assert "callbacks" not in source.replace("this project's callbacks", "")
    assert "datamodules" not in source


def test_a_plain_loop(tmp_path: Path) -> None:
    lines = run("plain_loop.py", folder=tmp_path).splitlines()
    accuracies = [float(line.rpartition(" ")[2]) for line in lines]
    assert [line.partition(":")[0] for line in lines] == ["sparse", "dense"]
    assert accuracies[1] > 0.7
    assert f"NN-Mass {nn_mass(12, 8, 8):.2f}" in lines[1]


def test_a_cell_in_a_network_of_ones_own(tmp_path: Path) -> None:
    out = run("own_network.py", folder=tmp_path)
    expected = 32.0 + nn_mass(8, 16, 20) + nn_mass(8, 32, 40)
    assert f"together {expected:.2f}; logits (2, 10)" in out
    assert out.count("concatenation") == 2
    with pytest.raises(AssertionError):
        run("none.py", folder=tmp_path)
