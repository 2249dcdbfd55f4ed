"""Several processes train the network that one process would train with their batches as one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from commands.config_names import CONFIG_FOLDER, list_configs
from commands.named_networks import instantiate
from commands.processes import Launch, launched

ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}


def config(folder: Path, batch_size: int, lr: float) -> Path:
    """Digits in double precision, without batch normalisation; no batch size divides the 1,187 samples."""
    network = {"class_path": "zoo.RandomSkipMLP", "init_args": {"depth": 4, "width": 8, "tc": 3}}
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": lr, "momentum": 0.9}}
    model = {"network": network, "optimizer": optimizer, "lr_scaling": "linear", "interval": "step"}
    data = {"class_path": "datamodules.Digits", "init_args": {"batch_size": batch_size, "val_size": 250}}
    trainer = {"max_epochs": 2, "accelerator": "cpu", "precision": "64-true", "logger": False}
    path = folder / f"batch_of_{batch_size}.yaml"
    path.write_text(yaml.safe_dump({"model": model, "data": data, "trainer": trainer}))
    return path


def weights(output_dir: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = output_dir.glob("2*/checkpoints/last.ckpt")
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def test_gradients_are_those_of_one_process_with_the_whole_batch(tmp_path: Path, nnmass: Callable) -> None:
    """Float64 through two whole epochs, each of which ends with 18 samples on one process and 17 on the other."""
    record = ["--trainer.callbacks+=interruptions.Fingerprint", f"--trainer.callbacks.folder={tmp_path}"]
    for processes, batch_size, lr in ((1, 64, 0.02), (2, 32, 0.01)):
        words = ["fit", "--config", config(tmp_path, batch_size, lr), "--output_dir", tmp_path / str(processes)]
        done = nnmass(*words, "--trainer.devices", processes, *record, **ENVIRONMENT)
        assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-10, atol=1e-12)
    # Every process had built the same network, links and weights, before anything was exchanged.
    prints = [path.read_text() for path in tmp_path.glob("fingerprint.*.*")]
    assert len(prints) == 3
    assert len(set(prints)) == 1


@pytest.mark.parametrize("name", list_configs())
def test_every_parameter_is_used(name: str) -> None:
    """Else several processes would wait for its gradient."""
    model, data = instantiate(yaml.safe_load((CONFIG_FOLDER / name).read_text()), name)
    size = (3, 64, 64) if data.input_size[-1] == 224 else data.input_size
    model(torch.rand(2, *size)).sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


def test_torchrun_starts_the_processes_and_starts_them_again(tmp_path: Path) -> None:
    """One of the two dies by SIGKILL in its first life; the second goes on from the last checkpoint."""
    program = Path(__file__).resolve().parent.parent / "cli.py"
    words = ["fit", "--config", config(tmp_path, 32, 0.01), "--output_dir", tmp_path / "runs"]
    words += ["--trainer.devices", 2, "--checkpoint_minutes", 0]
    words += ["--trainer.callbacks+=interruptions.KillRank", f"--trainer.callbacks.folder={tmp_path}"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
    done = subprocess.run(
        [*launcher, "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", str(program), *map(str, words)],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "killed").exists()
    (run,) = (tmp_path / "runs").glob("2*/run.json")
    record = json.loads(run.read_text())
    assert record["status"] == "finished"
    assert (record["world_size"], record["batch_size_per_process"], len(record["starts"])) == (2, 32, 2)
    assert record["starts"][1] >= 20


def test_processes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched() == Launch()
    slurm = {"JOB_ID": "7", "NTASKS": "4", "JOB_NAME": "fit", "PROCID": "3", "RESTART_COUNT": "1"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(ValueError, match="Expected srun before the command, for a job of 4 tasks"):
        launched()
    for name, value in {"ID": "0", "NUM_TASKS": "4", "NUM_NODES": "2", "TASKS_PER_NODE": "2(x2)"}.items():
        monkeypatch.setenv(f"SLURM_STEP_{name}", value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    assert launched() == Launch("SLURM", 2, 2, 3, "SLURM 7", True)
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "3,1")
    with pytest.raises(ValueError, match="the same number of tasks on every node, but SLURM has started 3,1"):
        launched()
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    with pytest.raises(ValueError, match="a --job-name other than bash and interactive"):
        launched()
