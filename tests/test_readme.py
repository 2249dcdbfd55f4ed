"""What the README shows is what there is: its Python runs, its commands and files exist."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from commands import SUBCOMMANDS
from commands.config_names import find_config, find_study

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def test_the_python_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for line in re.findall(r"(?:python cli\.py|nnmass) ([a-z]+ .*)", text):
        words = re.split(r"[`\s]+", line)
        if words[0] in SUBCOMMANDS:
            for option, value in pairwise(words):
                if option in ("--config", "--like") and "/" not in value and value.endswith(".yaml"):
                    assert find_config(value)
                if words[0] == "study" and option in ("plan", "run", "report") and re.fullmatch(r"\w+", value):
                    assert find_study(value)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
