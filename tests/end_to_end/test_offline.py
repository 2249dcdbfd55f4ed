"""Nothing but a download that was asked for opens a connection."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

# Connections to other machines and to other ports of this one end the program, with a status of their own.
BLOCKED = """
import os, socket, sys
def refuse(self, address, *rest):
    if self.family != socket.AF_UNIX:
        print("a connection to", address, file=sys.stderr); os._exit(99)
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda *address, **rest: (print("a lookup of", address, file=sys.stderr), os._exit(99))
sys.path.insert(0, sys.argv.pop(1))
from nnmass.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


def blocked(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED, str(ROOT), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize(
    "command",
    [
        "fit --config digits_dense --trainer.max_epochs 1",
        "inspect resnet18 dense_digits --csv a.csv",
        "design --like cifar10_dense --count 1",
        "study plan digits_mlp",
        "atlas --pattern resnet18 --workers 1",
        "list models",
    ],
)
def test_no_connection(command: str, tmp_path: Path) -> None:
    done = blocked(tmp_path, *command.split())
    assert done.returncode == 0, done.stderr


def test_a_download_that_was_asked_for_is_seen(tmp_path: Path) -> None:
    options = ["--config", "mnist_mlp", "--data.data_dir", str(tmp_path), "--data.download", "true"]
    done = blocked(tmp_path, "fit", *options)
    assert done.returncode == 99, done.stderr
