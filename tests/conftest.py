"""Shared fixtures: the command line as a subprocess, and real data where it is at hand."""

import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from cifar_files import write_cifar100
from hypothesis import settings

# A loaded machine is slow, not wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent
SUPPORT = ROOT / "tests" / "support"  # what tests share, also with processes that they start

Run = subprocess.CompletedProcess[str]


def pytest_configure() -> None:
    """Name the day once, so that the processes that share the tests agree on it at midnight too."""
    os.environ.setdefault("NNMASS_TEST_DAY", str(date.today().toordinal()))


def pytest_report_header() -> str:
    """Say which part of the long listings runs, and how to run it again."""
    day = os.environ["NNMASS_TEST_DAY"]
    return f"long listings: NNMASS_TEST_DAY={day}; with NNMASS_TEST_DAY=all, every part of them"


def not_today(items: list[pytest.Item]) -> list[pytest.Item]:
    """The slow tests that another day runs: of a listing with the mark ``parts(n)``, all but every n-th.

    A selection of fewer than n was asked for by name.
    """
    day = os.environ["NNMASS_TEST_DAY"]
    listings = defaultdict(list)
    for item in items:
        if day != "all" and item.get_closest_marker("slow") and item.get_closest_marker("parts"):
            listings[item.nodeid.partition("[")[0]].append(item)
    others = []
    for members in listings.values():
        (parts,) = members[0].get_closest_marker("parts").args
        if len(members) >= parts:
            others += [item for index, item in enumerate(members) if index % parts != int(day) % parts]
    return others


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long listings to their days; skip what needs a GPU where there is none; let warnings pass in slow tests.

    Those go through all that libraries offer, every network of timm and every option of Lightning, each with advice of
    its own.
    """
    if others := set(not_today(items)):
        config.hook.pytest_deselected(items=list(others))
        items[:] = [item for item in items if item not in others]
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.filterwarnings("default"))


def pytest_collectstart() -> None:
    """Seed what a file of tests draws while it is imported: a table of networks has the same weights in every run."""
    seed_everything()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed each test before its fixtures, so that it draws the same whatever has run before it in this process."""
    seed_everything()


def seed_everything() -> None:
    """Seed the generators that a library may draw from when it is given none."""
    seed = int(os.environ.get("NNMASS_TEST_SEED", "0"))  # another one shows which tests pass by a lucky draw
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture
def gpu() -> torch.device:
    """The last GPU, which need not be the current one."""
    return torch.device("cuda", torch.cuda.device_count() - 1)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The processor, and a GPU with the mark ``gpu``."""
    return request.getfixturevalue("gpu") if request.param == "gpu" else torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the process to the next test as it was found.

    Lightning keeps ``LOCAL_RANK`` in the environment once it has started processes, which a command must take for
    another launcher's; a run of W&B that is not finished is told of every package imported later, and fails with that.
    """
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are not folded to the width of whatever terminal the tests run in."""
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture(scope="session")
def nnmass() -> Callable[..., Run]:
    """Run ``python cli.py`` with these arguments, in a process of its own."""

    def run(*arguments: object, cwd: Path = ROOT, seconds: float = 600, **environment: str) -> Run:
        return subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "NNMASS_DATA": "", "COLUMNS": "120", **environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    return run


def real_data(inside: str) -> Path:
    """The folder of real data that holds ``inside``; the test is skipped where there is none."""
    for folder in (os.environ.get("NNMASS_TEST_DATA"), ROOT / "data"):
        if folder and (Path(folder) / inside).is_dir():
            return Path(folder)
    if os.environ.get("NNMASS_REQUIRE_DATA") == "1":
        pytest.fail(f"{inside} is not there, although NNMASS_REQUIRE_DATA says that no test may be skipped")
    pytest.skip(f"needs {inside} under data/, or in the folder that NNMASS_TEST_DATA names")


@pytest.fixture(scope="session")
def cifar10_images() -> Path:
    """Folder that holds the CIFAR-10 images as ``cifar10/{train,test}/CLASS/*.jpg``."""
    return real_data("cifar10/train")


@pytest.fixture(scope="session")
def mnist_files() -> Path:
    """Folder that holds ``MNIST/raw/*-ubyte``."""
    return real_data("MNIST/raw")


@pytest.fixture
def cifar100_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that holds generated images in CIFAR-100's own format: the real ones ship with no dependency."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_cifar100(folder, monkeypatch)
    return folder


@pytest.fixture(scope="session")
def photographs() -> Path:
    """Folder that holds ``imagenet/{train,val}/CLASS/*.JPEG``, a thousand classes."""
    return real_data("imagenet/train")
