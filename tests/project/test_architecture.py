"""docs/architecture.md is true: who imports whom, without cycles; the walks through the code; every file once."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

from conftest import ROOT

PACKAGES = ("zoo", "datamodules", "runtime", "callbacks", "studies", "commands", "configs")
# A file in a walk, and the functions and classes of it that follow.
NAMED = re.compile(r"`([\w/]+\.py)`((?:(?:,| and)?\s+`\w+`)*)")
DOCUMENTATION = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    files = [ROOT / "cli.py", *(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))]
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files)
    return {name if name == "cli" else f"nnmass.{name}": file for name, file in zip(names, files, strict=True)}


def imported(file: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the product that a module imports anywhere, but for the sake of type checkers."""
    found: set[str] = set()
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(inner for part in node.body for inner in ast.walk(part))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # What is imported from a package may be one of its modules.
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(inner & known.keys() or {node.module})
    return {name for name in found if name in known}


def package(name: str) -> str:
    return name.removeprefix("nnmass.").partition(".")[0]


def test_the_import_graph_is_acyclic_and_drawn() -> None:
    known = modules()
    graph = {name: imported(file, known) for name, file in known.items()}
    # A package's __init__ lists what its modules offer; that it and they know each other is no cycle.
    plain = {
        name: {other for other in others if package(other) != package(name) or other.count(".") > 1}
        for name, others in graph.items()
        if name.count(".") > 1 or name == "cli"
    }
    TopologicalSorter(plain).prepare()  # raises CycleError
    edges = {(package(name), package(other)) for name, others in graph.items() for other in others}
    edges = {(ours, theirs) for ours, theirs in edges if ours != theirs}
    assert not [theirs for ours, theirs in edges if ours == "zoo"]
    drawn = set(re.findall(r"^ +(\w+) --> (\w+)$", DOCUMENTATION, re.MULTILINE))
    assert drawn == edges


def test_the_walks_name_files_and_functions_that_exist() -> None:
    walks = DOCUMENTATION.partition("## Five walks through the code\n")[2].partition("\n## ")[0]
    assert walks.count("\n### ") == 5
    named = [(file, name) for file, names in NAMED.findall(walks) for name in re.findall(r"`(\w+)`", names)]
    assert len(named) > 60
    for file, name in named:
        assert re.search(rf"^(?:def |class )?{name}\b", (ROOT / file).read_text(), re.MULTILINE), (file, name)


def test_every_file_is_in_the_tables_once() -> None:
    files = DOCUMENTATION.partition("## The files\n")[2]
    listed = [
        folder + name
        for folder, table in re.findall(r"^### `([\w/]+/)`\n(.*?)(?=^### |\Z)", files, re.MULTILINE | re.DOTALL)
        for name in re.findall(r"^\| `(\w+\.py)` \| .+ \|$", table, re.MULTILINE)
    ]
    assert sorted(listed) == sorted(
        str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    )
