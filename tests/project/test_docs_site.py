"""The documentation builds as a site without a warning: links and anchors lead somewhere, the API pages are filled."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT

from nnmass.commands import SUBCOMMANDS

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def hook(name: str) -> Any:
    """A module of the documentation, under a name that is nobody else's."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project as it is before anything has been built in it."""
    built = shutil.ignore_patterns(".*", "__pycache__", "build", "data", "runs", "site", "*.egg-info")
    return shutil.copytree(ROOT, tmp_path / "clone", ignore=built, symlinks=True)


def test_the_site_builds(clone: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(
        command, cwd=clone, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr
    assert not [path for path in site.rglob("*") if path.name == "__pycache__" or path.suffix in (".py", ".pyc")]

    def page(name: str) -> str:
        return (site / name / "index.html").read_text()

    zoo = page("reference/zoo")
    assert 'id="nnmass.zoo.mass.nn_mass"' in zoo
    assert 'id="nnmass.zoo.fast' not in zoo
    assert ":func:" not in zoo
    assert ".. math::" not in zoo
    assert all(f'id="{name}"' in page("reference/commands") for name in SUBCOMMANDS)
    assert 'id="study-run"' in page("reference/commands")
    assert "cifar10_dense_fast" in page("reference/configurations")
    assert "The most long-range channels that a layer may take" in page("reference/keys")
    assert "Samples per batch and process." in page("reference/keys")
    assert "MIT License" in page("licence")
    assert "data:image/png" in page("examples/topology")
    assert page("concepts").count("<math") > 20
    for file in site.rglob("*.html"):
        text = file.read_text()
        assert "arithmatex" not in text, file  # a formula that was not set
        assert not re.search(r'(src|href)="https?://[^"]*\.(js|css)', text), file  # it is read without a network


def test_the_picture_can_be_drawn_again() -> None:
    picture = hook("picture")
    assert picture.cell().width > picture.cell().height
    assert picture.scatters().width > picture.scatters().height


@pytest.mark.parametrize(
    ("link", "led"),
    [
        ("[a](data.md)", "[a](data.md)"),
        ("[a](../README.md#train)", "[a](index.md#train)"),
        ("[a](../LICENSE)", "[a](licence.md)"),
        ("[a](../zoo/mass.py)", "a"),
        ("[a](nowhere.md)", "[a](nowhere.md)"),
        ("[a](../zoo/nowhere.py)", "[a](../zoo/nowhere.py)"),
        ("[a](https://example.org/a.md)", "[a](https://example.org/a.md)"),
    ],
)
def test_links_lead_to_pages_or_break_the_build(link: str, led: str) -> None:
    known = {"data.md", "index.md", "licence.md"}
    files = SimpleNamespace(get_file_from_path=lambda path: path if path in known else None)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="concepts.md"))
    assert hook("site").on_page_markdown(link, page, files) == led


def test_the_glossary_is_short_and_in_order() -> None:
    glossary = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8").partition("## Glossary\n")[2]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", glossary.partition("\n## ")[0], re.MULTILINE)
    terms = [re.sub(r"[^a-z ]", "", term.lower()) for term in rows[1:]]
    assert 20 <= len(terms) <= 30
    assert terms == sorted(terms)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_row_of_a_table_has_as_many_cells_as_its_heading(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        heading, *rows = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert rows
        assert set(rows) == {heading}, table
