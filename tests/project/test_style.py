"""Rules of style that ruff does not know: short files and functions, and docstrings that say what they do or name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

FOLDERS = ("zoo", "datamodules", "runtime", "callbacks", "studies", "commands")
FILES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 300, 60
# A docstring begins with an imperative or with a noun phrase of the field.
NO_BEGINNINGS = ("How", "So many", "What", "When", "Where", "Whether", "Which", "Who", "Why")


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """Every docstring of a file, with the name of what it describes."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "name", str(path)), ast.get_docstring(node) or ""


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_A_FILE
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > LINES_OF_A_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("folder", ["zoo", "datamodules", "runtime", "callbacks"])
def test_a_docstring_begins_with_an_imperative_or_a_noun_phrase(folder: str) -> None:
    wrong = [
        f"{path}: {name}: {text.splitlines()[0]}"
        for path in FILES
        if path.parts[0] == folder
        for name, text in documented(path)
        if text.startswith(tuple(f"{word} " for word in NO_BEGINNINGS))
    ]
    assert not wrong
