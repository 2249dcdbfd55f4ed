"""Trainings and studies on a real SLURM cluster, of which jobs are taken away in the middle and come back."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, SUPPORT
from interruptions import write_photographs

from nnmass import studies

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
        "changes": {"data": {"class_path": "nnmass.datamodules.Digits"}, "trainer": {"max_epochs": 60}},
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


class Case(NamedTuple):
    """A configuration of three epochs with dropout, how many processes train it, and what an unbroken run leaves."""

    config: Path
    nodes: int
    per_node: int
    weights: dict[str, torch.Tensor]
    history: pd.DataFrame
    diary: list[str]


ENVIRONMENT = {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}


def only_run(output_dir: Path) -> Path:
    (folder,) = (path for path in output_dir.glob("2*") if path.is_dir())
    return folder


def outcome(output_dir: Path) -> tuple[dict[str, torch.Tensor], pd.DataFrame, list[str]]:
    folder = only_run(output_dir)
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    history = pd.read_csv(folder / "metrics.csv").drop(columns="train/data_wait_s")
    return state, history, (output_dir / "diary.0").read_text().splitlines()


def diary(output_dir: Path, pause_s: float) -> list[str]:
    """Options that note every step, and make it last."""
    output_dir.mkdir(exist_ok=True)
    options = {"path": str(output_dir / "diary"), "pause_s": pause_s}
    words = ["--trainer.callbacks+=interruptions.Diary"]
    return words + [f"--trainer.callbacks.{name}={value}" for name, value in options.items()]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, nnmass: Callable) -> Callable[..., Case]:
    """Cases by kind of data, nodes and tasks per node; each is trained once without SLURM, by as many processes."""
    made: dict[tuple, Case] = {}

    def case(kind: str, nodes: int, per_node: int) -> Case:
        if (kind, nodes, per_node) not in made:
            folder = tmp_path_factory.mktemp("case")
            network: dict[str, Any] = {"class_path": "interruptions.DropoutNetwork"}
            if kind == "memory":
                data: dict[str, Any] = {"class_path": "nnmass.datamodules.Digits", "init_args": {"val_size": 250}}
                data["init_args"] |= {"batch_size": 24, "augmentation": {"crop_padding": 1, "cutout": 2}}
                network["init_args"] = {"features": 64, "num_classes": 10}
            else:
                write_photographs(folder, train=50)
                data = {"class_path": "interruptions.ThreeClasses", "init_args": {"resolution": 16}}
                data["init_args"] |= {"data_dir": str(folder), "num_workers": 2, "val_on_test": True, "batch_size": 3}
                network["init_args"] = {"features": 3 * 16 * 16, "num_classes": 3}
            trainer = {"max_epochs": 3, "accelerator": "cpu", "logger": False}
            config = folder / "three_epochs.yaml"
            config.write_text(yaml.safe_dump({"model": {"network": network}, "data": data, "trainer": trainer}))
            runs, processes = folder / "runs", ["--trainer.devices", nodes * per_node]
            words = ["fit", "--config", config, "--output_dir", runs, *processes, *diary(runs, 0.0)]
            done = nnmass(*words, **ENVIRONMENT)
            assert done.returncode == 0, done.stderr
            made[kind, nodes, per_node] = Case(config, nodes, per_node, *outcome(runs))
        return made[kind, nodes, per_node]

    return case


@pytest.fixture
def submit(tmp_path: Path, nnmass: Callable) -> Callable[..., tuple[str, Path]]:
    """Submit a case by ``nnmass submit fit``; gives the job's number and the folder of its runs."""

    def submit(case: Case, *options: object, pause_s: float = 0.15, name: str = "runs") -> tuple[str, Path]:
        runs = tmp_path / name
        words = ["submit", "fit", "--config", case.config, "--output_dir", runs, *diary(runs, pause_s)]
        words += ["--nodes", case.nodes, "--ntasks-per-node", case.per_node, "--time", "20:00", *options]
        done = nnmass(*words, cwd=tmp_path, **ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1], runs

    return submit


def steps(runs: Path) -> int:
    path = runs / "diary.0"
    return len(path.read_text().splitlines()) if path.exists() else 0


def log_of(runs: Path) -> str:
    return "\n".join(path.read_text() for path in (runs / "jobs").glob("*.txt"))


def is_over(job: str) -> bool:
    return not slurm("squeue", "-h", "-j", job).strip()


def signal(job: str, name: str) -> None:
    # For a task of an array, while others are pending, scancel repeats the signal until it is stopped.
    subprocess.run(["timeout", "3", "scancel", f"--signal={name}", job], check=False, timeout=30)


def assert_unbroken(case: Case, runs: Path, starts: int) -> None:
    folder = only_run(runs)
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished", log_of(runs)
    assert (len(record["starts"]), record["world_size"]) == (starts, case.nodes * case.per_node), log_of(runs)
    assert "test" in record
    state, history, lines = outcome(runs)
    assert lines == case.diary
    for name, value in case.weights.items():
        assert torch.equal(value, state[name]), name
    pd.testing.assert_frame_equal(history, case.history, check_exact=True)


def test_two_nodes_of_two_tasks_are_signalled_and_come_back(cases: Callable, submit: Callable) -> None:
    case = cases("memory", 2, 2)
    job, runs = submit(case)
    until(lambda: steps(runs) >= 20)
    signal(job, "USR1")
    until(lambda: is_over(job))
    assert_unbroken(case, runs, starts=2)
    log = log_of(runs)
    assert log.count("Stopped at step") == 1
    assert "by SIGUSR1; continue the run" in log
    assert "Traceback" not in log


@pytest.mark.slurm_long
def test_the_end_of_the_jobs_time_loses_nothing(cases: Callable, submit: Callable) -> None:
    """SLURM may send the signal up to a minute early, so no time is shorter than two minutes."""
    case = cases("memory", 2, 1)
    pause_s = 130 / len(case.diary)
    job, runs = submit(case, "--time=2:00", "--signal=SIGUSR1@30", pause_s=pause_s)
    until(lambda: is_over(job), 600)
    record = json.loads((only_run(runs) / "run.json").read_text())
    assert len(record["starts"]) >= 2
    assert_unbroken(case, runs, starts=len(record["starts"]))


@pytest.mark.slurm_long
def test_three_preemptions_in_a_row_with_workers(cases: Callable, submit: Callable) -> None:
    case = cases("workers", 2, 1)
    job, runs = submit(case, pause_s=0.3)
    for number in range(3):
        begun = steps(runs)
        until(lambda begun=begun: steps(runs) >= begun + 4)
        options = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--job-name=urgent"]
        urgent = slurm("sbatch", "--parsable", *options, "--wrap=sleep 2").strip()
        until(lambda urgent=urgent: is_over(urgent))
        assert not is_over(job), number
    until(lambda: is_over(job))
    assert_unbroken(case, runs, starts=4)


@pytest.mark.slurm_long
def test_a_process_that_is_killed_brings_the_job_back(cases: Callable, submit: Callable) -> None:
    case = cases("memory", 2, 2)
    job, runs = submit(case, "--checkpoint_minutes", "0.02")
    until(lambda: steps(runs) >= 20)
    victims = subprocess.run(["pgrep", "-f", f"cli.py fit.*{runs}"], capture_output=True, text=True, check=True)
    tasks = [pid for pid in victims.stdout.split() if b"SLURM_PROCID=3" in Path(f"/proc/{pid}/environ").read_bytes()]
    subprocess.run(["kill", "-9", *tasks], check=True)
    until(lambda: is_over(job))
    record = json.loads((only_run(runs) / "run.json").read_text())
    assert (record["status"], len(record["starts"])) == ("finished", 2), log_of(runs)
    assert record["starts"][1] > 0
    state, history, _ = outcome(runs)  # the diary repeats what came after the last checkpoint
    assert all(torch.equal(value, state[name]) for name, value in case.weights.items())
    pd.testing.assert_frame_equal(history, case.history, check_exact=True)
    assert "has lost the connection to another" in log_of(runs)
    assert "Traceback" not in log_of(runs)


@pytest.mark.slurm_long
def test_tasks_of_an_array_keep_to_their_own_runs(cases: Callable, submit: Callable) -> None:
    case = cases("memory", 1, 1)
    job, runs = submit(case, "--array=0-3%2", pause_s=0.1)
    until(lambda: steps(runs) >= 20)
    signal(f"{job}_1", "USR1")
    until(lambda: is_over(job))
    folders = [path for path in runs.glob("2*") if path.is_dir()]
    records = [json.loads((folder / "run.json").read_text()) for folder in folders]
    assert sorted(len(record["starts"]) for record in records) == [1, 1, 1, 2], log_of(runs)
    assert len({record["job"] for record in records}) == 4
    for folder in folders:
        state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert all(torch.equal(value, state[name]) for name, value in case.weights.items())


@pytest.mark.slurm_long
def test_an_allocation_that_does_not_fit_is_refused_before_anything_trains(cases: Callable, tmp_path: Path) -> None:
    case = cases("memory", 2, 1)
    program = ROOT / "cli.py"
    command = f"{sys.executable} {program} fit --config {case.config} --output_dir {tmp_path / 'none'}"
    for options, words, sentence in (
        (
            ["--nodes=2"],
            "--trainer.devices 1",
            "Expected --trainer.num_nodes to be 2, because SLURM has started 2 nodes",
        ),
        (["--nodes=1", "--ntasks-per-node=2"], "--trainer.devices 3", "Expected --trainer.devices to be 2"),
    ):
        done = subprocess.run(
            ["srun", "--time=2:00", "--job-name=fit", *options, *f"{command} {words}".split()],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **ENVIRONMENT},
        )
        assert done.returncode != 0
        assert sentence in done.stderr
        assert not (tmp_path / "none").exists()
