"""The documentation builds as a site without a warning: links and anchors lead somewhere, the API pages are filled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from commands import SUBCOMMANDS

pytestmark = pytest.mark.slow


def test_the_site_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr
    zoo = (tmp_path / "reference" / "zoo" / "index.html").read_text()
    assert 'id="zoo.mass.nn_mass"' in zoo
    assert ":func:" not in zoo
    assert ".. math::" not in zoo
    commands = (tmp_path / "reference" / "commands" / "index.html").read_text()
    assert all(f'id="{name}"' in commands for name in SUBCOMMANDS)
    assert "cifar10_dense_fast" in (tmp_path / "reference" / "configurations" / "index.html").read_text()
