"""Build the pages of the documentation site that come from the code and from files outside docs/."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

from package_links import link_package
from site_reference import commands_page, configurations_page, keys_page, package_page

# Files of the repository that are pages of the site too.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "LICENSE": "licence.md",
    "CITATION.cff": "citation.md",
    **{f"examples/{name}.py": f"examples/{name}.md" for name in ("lightning_project", "own_network", "plain_loop")},
    "examples/topology.ipynb": "examples/topology.md",
    **{f"zoo/weights/released/{card.name}": f"models/{card.name}" for card in ROOT.glob("zoo/weights/released/*.md")},
}
LANGUAGES = {".py": "python", ".cff": "yaml", "": "text"}


class PlainMarkup(griffe.Extension):
    """Turn the roles and formulas of docstrings, written as in Sphinx, into Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is None:
            return
        text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", obj.docstring.value)
        text = re.sub(r"^\.\. math:: (.*)$", r"$$\1$$", text, flags=re.MULTILINE)
        obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)


def on_startup(command: str, dirty: bool) -> None:
    """Make the links by which mkdocstrings finds the package, before it looks for them."""
    link_package()


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=_page(ROOT / source)))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    files.append(File.generated(config, "reference/configurations.md", content=configurations_page()))
    files.append(File.generated(config, "reference/keys.md", content=keys_page()))
    for package in ("zoo", "datamodules", "callbacks", "studies"):
        files.append(File.generated(config, f"reference/{package}.md", content=package_page(f"nnmass.{package}")))
    return files


def _page(source: Path) -> str:
    """Return a file of the repository as Markdown."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".md":
        return text
    if source.suffix == ".ipynb":
        return "\n\n".join(part for cell in json.loads(text)["cells"] for part in _cell(cell))
    return f"# {source.name}\n\n```{LANGUAGES[source.suffix]}\n{text}\n```\n"


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    """Yield the source of a notebook cell and its outputs, as Markdown."""
    text = "".join(cell["source"])
    yield text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
    for output in cell.get("outputs", []):
        shown = output.get("data", {})
        if "image/png" in shown:
            yield f"![what the cell draws](data:image/png;base64,{''.join(shown['image/png']).strip()})"
        elif text := "".join(output.get("text") or shown.get("text/plain") or []):
            yield f"```text\n{text.rstrip()}\n```"


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Point links to files of the repository at their pages; replace a link to a file that is no page by its text.

    A link to a file that does not exist stays as it is, and breaks the build.
    """
    sources = {its_page: source for source, its_page in PAGES.items()}
    here = page.file.src_uri
    folder = ((ROOT / sources[here]) if here in sources else (DOCS / here)).parent

    def led(match: re.Match[str]) -> str:
        picture, words, target, anchor = match[1], match[2], *match[3].partition("#")[::2]
        file = (folder / target).resolve()
        if not target or ":" in target or not file.is_relative_to(ROOT):
            return match[0]
        inside = file.relative_to(ROOT).as_posix()
        known = PAGES.get(inside, inside.removeprefix("docs/") if inside.startswith("docs/") else "")
        if known and files.get_file_from_path(known):
            return f"{picture}[{words}]({'../' * here.count('/')}{known}{'#' + anchor if anchor else ''})"
        return words if file.exists() else match[0]

    return re.sub(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)", led, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Convert formulas to MathML, which browsers render without a script."""
    html = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda found: convert(_plain(found[1])), html)
    return re.sub(
        r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>',
        lambda found: convert(_plain(found[1]), display="block"),
        html,
        flags=re.DOTALL,
    )


def _plain(formula: str) -> str:
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        formula = formula.replace(entity, character)
    return formula
