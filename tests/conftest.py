"""Shared fixtures: the command line as a subprocess, and real data where it is at hand."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def nnmass() -> Callable[..., Run]:
    """Run ``python cli.py`` with these arguments, in a process of its own."""

    def run(*arguments: object, cwd: Path = ROOT, **environment: str) -> Run:
        return subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "NNMASS_DATA": "", "COLUMNS": "120", **environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def cifar10_images() -> Path:
    """Folder that holds the CIFAR-10 images as ``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg``."""
    for folder in (os.environ.get("NNMASS_TEST_DATA"), os.environ.get("NNMASS_DATA"), ROOT / "data"):
        if folder and (Path(folder) / "cifar10" / "train").is_dir():
            return Path(folder)
    pytest.skip("needs the CIFAR-10 images: unpack them under data/, or name their folder in NNMASS_TEST_DATA")
