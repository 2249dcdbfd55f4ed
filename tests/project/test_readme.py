"""The README and the documentation against the product: commands run, options exist, links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT

from nnmass.commands import SUBCOMMANDS
from nnmass.runtime.config_names import find_config, find_study

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def test_the_python_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


@pytest.mark.slow
def test_the_commands_of_the_readme_run_as_written_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    lines = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    assert len(lines) > 6
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "NNMASS_DATA")}
    for line in lines:
        python, *words = shlex.split(line)
        assert python == "python"
        done = subprocess.run(
            [sys.executable, *words], cwd=clone, env=clean, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (clone / "network.onnx").is_file()
    assert (clone / "runs" / "study_digits_mlp" / "report.html").is_file()
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout
    assert left == ""


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 130
    assert README.index("![") < README.index("## Two commands") < README.index("## Train") < README.index("## Import")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"(?:python cli\.py|nnmass) ([a-z]+ .*)", text):
        words = re.split(r"[`\s]+", line)
        if words[0] in SUBCOMMANDS:
            for option, value in pairwise(words):
                if option in ("--config", "--like") and "/" not in value and value.endswith(".yaml"):
                    saved = f"as `{value}`" in text  # by the reader, whom the page has told to
                    assert saved or find_config(value)
                if words[0] == "study" and option in ("plan", "run", "report") and re.fullmatch(r"\w+", value):
                    assert find_study(value)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
