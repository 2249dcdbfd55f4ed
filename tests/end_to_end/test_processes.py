"""Several processes train the network that one process would train with their batches as one."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, SUPPORT

from nnmass.callbacks.start_ups import StartUps
from nnmass.commands.main import main
from nnmass.runtime.config_names import CONFIG_FOLDER, list_configs
from nnmass.runtime.configuration import instantiate
from nnmass.runtime.launch import Launch, launched, require_launcher

ENVIRONMENT = {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}


def config(folder: Path, batch_size: int, lr: float) -> Path:
    """Digits in double precision, without batch normalisation; no batch size divides the 1,187 samples."""
    network = {"class_path": "nnmass.zoo.RandomSkipMLP", "init_args": {"depth": 4, "width": 8, "tc": 3}}
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": lr, "momentum": 0.9}}
    model = {"network": network, "optimizer": optimizer, "lr_scaling": "linear", "interval": "step"}
    data = {"class_path": "nnmass.datamodules.Digits", "init_args": {"batch_size": batch_size, "val_size": 250}}
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
        words += ["--trainer.devices", processes, *record]
        if processes == 1:
            assert main(list(map(str, words))) == 0
            continue
        done = nnmass(*words, **ENVIRONMENT)
        assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-10, atol=1e-12)
    # Every process had built the same network, links and weights, before anything was exchanged.
    prints = [path.read_text() for path in tmp_path.glob("fingerprint.*.*")]
    assert len(prints) == 3
    assert len(set(prints)) == 1


@pytest.mark.slow
def test_gradients_of_parts_that_are_set_free_are_those_of_one_process_too(tmp_path: Path, nnmass: Callable) -> None:
    """DistributedDataParallel knows of the parameters that took gradients when it was made."""
    for processes, batch_size, lr in ((1, 64, 0.02), (2, 32, 0.01)):
        words = ["fit", "--config", config(tmp_path, batch_size, lr), "--output_dir", tmp_path / str(processes)]
        words += ["--trainer.devices", processes, "--model.freeze", "[layers.0, layers.1]", "--model.unfreeze_epoch", 1]
        done = nnmass(*words, **ENVIRONMENT)
        assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    begun = instantiate(yaml.safe_load(config(tmp_path, 64, 0.02).read_text()), "x")[0].state_dict()
    assert not torch.equal(one["network.layers.0.linear.weight"], begun["network.layers.0.linear.weight"].double())
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", list_configs())
def test_every_parameter_is_used(name: str) -> None:
    """Else several processes would wait for its gradient."""
    model, data = instantiate(yaml.safe_load((CONFIG_FOLDER / name).read_text()), name)
    size = (3, 64, 64) if data.input_size[-1] == 224 else data.input_size
    model(torch.rand(2, *size)).sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.slow
def test_torchrun_starts_the_processes_and_starts_them_again(tmp_path: Path) -> None:
    """One of the two dies by SIGKILL in its first life; the second goes on from the last checkpoint."""
    program = ROOT / "cli.py"
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


JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "fit"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}
STEP |= {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}
TASK = {**JOB, **STEP, "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN |= {"MASTER_ADDR": "host", "MASTER_PORT": "29500"}


def without(environment: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key != name}


def test_processes_are_counted() -> None:
    assert launched({}) == Launch()
    assert launched({**TASK, "SLURM_RESTART_COUNT": "2"}) == Launch("SLURM", 2, 2, 3, "SLURM 7", 2)
    assert launched(TORCHRUN) == Launch("torchrun", 2, 2, 1, "torchrun a", 0)
    for alone in (
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},  # as containers have it
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"},
        {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "interactive"},  # a shell that salloc has started
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},  # a job's script, without srun
        {**TASK, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"},  # srun --pty bash
        {"NNMASS_PLACE": "[]", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},  # started by the training's first process
    ):
        assert launched(alone) == Launch(), alone


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RANK": "0"}, "Expected WORLD_SIZE beside RANK=0, but it is not set"),
        ({"WORLD_SIZE": "2"}, "Expected RANK beside WORLD_SIZE=2, but it is not set"),
        ({"RANK": "3", "WORLD_SIZE": "2"}, "Expected RANK to be less than WORLD_SIZE, which is 2, but got 3."),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "Expected torchrun or srun to start the 2 processes of WORLD_SIZE"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "Expected RANK to be a whole number of at least 0, but got '-1'."),
        ({"LOCAL_RANK": "1"}, "Expected LOCAL_RANK to be unset or 0"),
        ({"LOCAL_RANK": "one"}, "Expected LOCAL_RANK to be a whole number of at least 0, but got 'one'."),
        ({"NODE_RANK": "1"}, "Expected NODE_RANK to be unset or 0"),
        ({"MASTER_PORT": "99999"}, "Expected MASTER_PORT to be a port from 1 to 65535, but got 99999."),
        ({"MASTER_PORT": "http"}, "Expected MASTER_PORT to be a whole number of at least 0, but got 'http'."),
        (without(TORCHRUN, "MASTER_ADDR"), "Expected MASTER_ADDR to be set beside TORCHELASTIC_RUN_ID"),
        (without(TORCHRUN, "LOCAL_WORLD_SIZE"), "Expected LOCAL_WORLD_SIZE to be set beside TORCHELASTIC_RUN_ID"),
        ({**TORCHRUN, "LOCAL_RANK": "2"}, "Expected LOCAL_RANK to be less than LOCAL_WORLD_SIZE, which is 2"),
        ({**TORCHRUN, "WORLD_SIZE": "3"}, "Expected WORLD_SIZE to be a multiple of LOCAL_WORLD_SIZE"),
        ({"SLURM_NTASKS": "2"}, "Expected SLURM_JOB_ID beside SLURM_NTASKS=2, as SLURM sets it, but it is not set"),
        ({"SLURM_PROCID": "3"}, "Expected SLURM_JOB_ID beside SLURM_PROCID=3, as SLURM sets it, but it is not set"),
        ({**JOB, "SLURM_NTASKS": "abc"}, "Expected SLURM_NTASKS to be a whole number of at least 1, but got 'abc'."),
        ({**TASK, "SLURM_JOB_ID": "x"}, "Expected SLURM_JOB_ID to be a whole number of at least 0, but got 'x'."),
        (JOB, "Expected srun before the command, for a job of 4 tasks, but it was started without"),
        ({**TASK, "SLURM_JOB_NAME": "bash"}, "Expected a --job-name other than bash and interactive"),
        (without(TASK, "SLURM_PROCID"), "Expected SLURM_PROCID to be set beside SLURM_STEP_ID, as srun does"),
        (without(TASK, "SLURM_LOCALID"), "Expected SLURM_LOCALID to be set beside SLURM_STEP_ID, as srun does"),
        ({**TASK, "SLURM_PROCID": "4"}, "Expected SLURM_PROCID to be less than SLURM_NTASKS, which is 4, but got 4."),
        ({**TASK, "SLURM_LOCALID": "2"}, "Expected SLURM_LOCALID to be less than the tasks on each node, which is 2"),
        ({**TASK, "SLURM_STEP_TASKS_PER_NODE": "3,1"}, "same number of tasks on every node, but SLURM has started 3,1"),
        ({**TASK, "SLURM_STEP_NUM_NODES": "3"}, "Expected SLURM_NTASKS to be the 2 tasks on each of 3 nodes"),
        ({**TASK, "SLURM_RESTART_COUNT": "many"}, "Expected SLURM_RESTART_COUNT to be a whole number"),
    ],
)
def test_a_senseless_environment_is_told_in_a_sentence(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        launched(environment)


def test_processes_that_nobody_starts_are_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["fit", "--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--output_dir", str(tmp_path)]
    assert main([*words, "--trainer.num_nodes", "2"]) == 2
    assert "Expected trainer.num_nodes to be 1 without torchrun or srun" in capsys.readouterr().err
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("Expected SLURM_JOB_ID beside SLURM_NTASKS=2")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="Expected LOCAL_RANK to be unset, so that the 2 processes"):
        require_launcher(1, 2, {"LOCAL_RANK": "0"})
    with pytest.raises(ValueError, match="Expected MASTER_ADDR to be unset or this machine"):
        require_launcher(1, 2, {"MASTER_ADDR": "192.0.2.1"})
    require_launcher(1, 1, {"MASTER_ADDR": "192.0.2.1", "LOCAL_RANK": "0"})
    require_launcher(1, 2, {"MASTER_ADDR": "localhost"})


def test_three_starts_that_come_to_no_first_step_end_the_requeueing(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason does not matter: here nothing can be built, which comes before the data and the run folder."""
    words = ["fit", "--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--output_dir", str(tmp_path)]
    task = {**TASK, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1"}
    for name, value in {**task, "SLURM_STEP_NUM_NODES": "1"}.items():
        monkeypatch.setenv(name, value)

    def dies(*_: object, **__: object) -> None:
        raise MemoryError("Expected more memory.")

    monkeypatch.setattr("nnmass.commands.training.lightning_cli.TrainingCLI.build", dies)
    for restarts in range(4):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        assert main(words) == 2
        said = capsys.readouterr().err
        assert ("its last 3 starts have ended before the first step" in said) == (restarts == 3), said
    assert [path.suffix for path in tmp_path.iterdir()] == [".starts"]


def test_starts_are_forgotten_by_the_training_and_by_another_job(tmp_path: Path) -> None:
    def start(restarts: int, rank: int = 0) -> StartUps:
        return StartUps(tmp_path, Launch("SLURM", 1, 2, rank, "SLURM 7", restarts), "ab")

    for restarts in range(3):
        start(restarts).note()
        start(restarts, rank=1).note()  # which adds nothing, whoever comes first
    with pytest.raises(ValueError, match="Expected SLURM 7 to begin its training"):
        start(3, rank=1).note()
    with pytest.raises(ValueError, match="submit it anew"):
        start(3).note()
    start(0).note()  # another job of the same number, or the same one begun anew
    start(1).forget()
    assert list(tmp_path.iterdir()) == []
    StartUps(tmp_path, Launch(), "ab").note()
    assert list(tmp_path.iterdir()) == []
