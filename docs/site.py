"""What the documentation site takes from the code and from the files above it, made anew at each build."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from commands import SUBCOMMANDS

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}


class PlainMarkup(griffe.Extension):
    """Docstrings name things and write formulas as Sphinx does; here both become Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is None:
            return
        text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", obj.docstring.value)
        text = re.sub(r"^\.\. math:: (.*)$", r"$$\1$$", text, flags=re.MULTILINE)
        obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from something else."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, its_page in PAGES.items():
            text = text.replace(f"]({other})", f"]({its_page})")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    files.append(File.generated(config, "reference/configurations.md", content=_configurations()))
    for package in ("zoo", "datamodules", "callbacks", "studies"):
        files.append(File.generated(config, f"reference/{package}.md", content=_package(package)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Leave the words of links that lead out of the documentation, to files of the repository."""

    def kept(match: re.Match[str]) -> str:
        path = match[2].partition("#")[0]
        target = (Path("/") / page.file.src_uri).parent / path
        known = files.get_file_from_path(str(Path("/", *_resolved(target)).relative_to("/")))
        return match[0] if not path or "://" in path or known else match[1]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", kept, markdown)


def _resolved(path: Path) -> list[str]:
    """Parts of a path without ``..``; those that lead out of everything stay."""
    parts: list[str] = []
    for part in path.parts[1:]:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return parts


def _commands() -> str:
    """What ``--help`` says, of the program and of each subcommand."""
    lines = ["# Commands", "", "`python cli.py` in a clone is `nnmass` after `pip install .`.", ""]
    for name in ("", *SUBCOMMANDS):
        words = [name, "--help"] if name else ["--help"]
        done = subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *words], capture_output=True, text=True, check=True, cwd=ROOT
        )
        lines += [f"## {name or 'nnmass'}", "", "```text", done.stdout.rstrip(), "```", ""]
    return "\n".join(lines)


def _configurations() -> str:
    lines = ["# Configurations", ""]
    for title, folder in (("For `fit`", "configs"), ("For `study`", "configs/studies")):
        lines += [f"## {title}", ""]
        for file in sorted((ROOT / folder).glob("*.yaml")):
            lines += [f"### {file.stem}", "", "```yaml", file.read_text(encoding="utf-8").rstrip(), "```", ""]
    return "\n".join(lines)


def _package(name: str) -> str:
    """A page with what each module of a package offers."""
    lines = [f"# {name}", ""]
    for file in sorted((ROOT / name).rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = next((ast.literal_eval(node.value) for node in tree.body if _is_all(node)), [])
        if module.endswith("__init__") or not names:
            continue
        summary = (ast.get_docstring(tree) or "").partition("\n\n")[0]
        lines += [f"## {module}", "", " ".join(summary.split()), ""]
        lines += [line for one in names for line in (f"::: {module}.{one}", "")]
    return "\n".join(lines)


def _is_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__"
