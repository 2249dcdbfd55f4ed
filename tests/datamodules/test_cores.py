"""Processes that read: in proportion to the cores that are really there for each training process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from pytorch_lightning import Trainer

from nnmass.datamodules import ImageNet, cores
from nnmass.datamodules.cores import reading_processes, usable_cores
from nnmass.runtime.config_names import CONFIG_FOLDER, list_configs


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine of 64 cores, outside of SLURM."""
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    monkeypatch.setattr(cores, "cpu_count", lambda: 64)
    return monkeypatch


@pytest.mark.parametrize(
    ("available", "processes", "expected"),
    [(64, 8, 8), (64, 1, 32), (64, 3, 21), (10, 4, 2), (2, 1, 2), (2, 2, 1), (2, 5, 1), (1, 1, 0), (1, 2, 0)],
)
def test_readers_are_a_training_processs_share_of_the_cores(
    available: int, processes: int, expected: int, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(cores, "cpu_count", lambda: available)
    assert reading_processes(processes) == expected


@pytest.mark.parametrize(
    ("bound", "allotted", "processes", "expected"),
    [
        (8, 64, 8, 8),  # every task is bound to cores of its own
        (64, 64, 8, 8),  # all tasks share the cores of the job
        (128, 16, 2, 8),  # nothing is bound: the job has 16 of 128 cores
        (128, 1, 1, 0),
        (1, 4, 4, 0),
        (7, 56, 8, 7),
    ],
)
def test_slurms_allotment_is_divided_once(
    bound: int, allotted: int, processes: int, expected: int, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(cores, "cpu_count", lambda: bound)
    machine.setenv("SLURM_CPUS_ON_NODE", str(allotted))
    assert reading_processes(processes) == expected
    assert usable_cores() == min(bound, allotted)


@pytest.mark.parametrize("taken_by", ["affinity", "variable"])
def test_cores_that_were_taken_away_do_not_count(taken_by: str) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "if sys.argv[2] == 'affinity': os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "else: os.environ['LOKY_MAX_CPU_COUNT'] = '1'\n"
        "from nnmass.datamodules.cores import reading_processes, usable_cores\n"
        "from nnmass.studies.cores import available_cores\n"
        "print(usable_cores(), reading_processes(1), available_cores())"
    )
    if taken_by == "affinity" and not hasattr(os, "sched_setaffinity"):
        pytest.skip("cores cannot be taken away on this system")
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), taken_by], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["1", "0", "1"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("given", "expected"), [(None, 16), (0, 0), (3, 3)])
def test_imagenet_reads_with_its_share_unless_it_is_told_how(
    given: int | None, expected: int, machine: pytest.MonkeyPatch, photographs: Path
) -> None:
    data = ImageNet(data_dir=str(photographs), num_workers=given, val_on_test=True)
    data.trainer = Trainer(accelerator="cpu", devices=4, logger=False, enable_checkpointing=False)
    assert data.test_dataloader()._loader.num_workers == expected


def test_the_imagenet_configurations_train_in_bfloat16_with_the_machines_readers() -> None:
    names = [name for name in list_configs() if name.startswith("imagenet_")]
    assert len(names) >= 5
    for name in names:
        content = yaml.safe_load((CONFIG_FOLDER / name).read_text())
        assert content["trainer"]["precision"] == "bf16-mixed"
        assert "num_workers" not in content["data"]["init_args"]
