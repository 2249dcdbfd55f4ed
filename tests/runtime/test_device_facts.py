"""A device is told by its name and, of a GPU, the versions that its results depend on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nnmass.runtime import device_facts as facts_of
from nnmass.runtime.device_facts import DEVICE_FACTS, device_facts

GPU = torch.device("cuda", 1)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The calls of a program that stands for NVIDIA's on a machine with two GPUs."""
    program, log = tmp_path / "nvidia-smi", tmp_path / "calls"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\necho 580.65.06\necho 580.65.06\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: ["H100", "H200"][device.index])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    facts_of._driver.cache_clear()
    yield log
    facts_of._driver.cache_clear()


@pytest.mark.skipif(os.name == "nt", reason="the program is a shell's")
def test_a_gpu_is_told_with_its_driver_which_is_asked_for_once(calls: Path) -> None:
    """A study asks for every row, and the program may take a second."""
    expected = {"device": "H200", "driver": "580.65.06", "cuda": "13.0", "cudnn": "91300"}
    assert device_facts(GPU) == device_facts(GPU) == expected
    assert calls.read_text().splitlines() == ["--query-gpu=driver_version --format=csv,noheader"]


def test_of_a_processor_there_is_the_name_alone() -> None:
    facts = device_facts(torch.device("cpu"))
    assert tuple(facts) == DEVICE_FACTS
    name = facts["device"] or ""
    assert name.startswith("cpu ")
    assert len(name) > 5
    assert facts["driver"] is facts["cuda"] is facts["cudnn"] is None
