"""A study as a job array on a real SLURM cluster; one of its tasks is taken away in the middle and comes back."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import studies

pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True, scope="module")
def cluster() -> None:
    try:
        subprocess.run(["sinfo"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        if os.environ.get("NNMASS_REQUIRE_SLURM") == "1":
            pytest.fail("sinfo reaches no cluster, although NNMASS_REQUIRE_SLURM says that it must")
        pytest.skip("needs a SLURM cluster")


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def until(holds: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, slurm("squeue")
        time.sleep(0.5)


def test_an_array_fills_a_study_although_a_task_is_requeued(tmp_path: Path, nnmass: Callable) -> None:
    definition = tmp_path / "array.yaml"
    study = {
        "configs": ["mnist_mlp.yaml"],
        "networks": [{"depth": [3, 4], "tc": [1]}],
        "changes": {"data": {"class_path": "datamodules.Digits"}, "trainer": {"max_epochs": 60}},
        "seeds": 2,
    }
    definition.write_text(yaml.safe_dump(study))
    folder = tmp_path / "out"
    options = ["--output_dir", folder, "--tasks", "2", "--sbatch=--time=10:00 --cpus-per-task 1"]
    done = nnmass("study", "submit", definition, *options)
    assert done.returncode == 0, done.stderr
    job = done.stdout.split()[-1]
    until(lambda: list(folder.glob("rows/*/*/checkpoints/last.ckpt")))
    slurm("scontrol", "requeue", f"{job}_1")
    until(lambda: not slurm("squeue", "-h", "-j", job).strip())
    table = studies.load(folder)
    assert table["status"].tolist() == ["finished"] * 4, (folder / "slurm").iterdir()
    assert studies.load_curves(folder).groupby("row").size().tolist() == [60] * 4
    # The job file as it stands goes on with nothing, and the numbers are those of a study without a cluster.
    alone = nnmass("study", "run", definition, "--output_dir", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    same = ["row", "val_accuracy_best", "test_accuracy_last", "nn_mass"]
    assert studies.load(tmp_path / "alone")[same].equals(table[same])
