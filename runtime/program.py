"""The command line of this product, for processes and job files that start it again."""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["program", "program_version"]

_ROOT = Path(__file__).resolve().parent.parent


def program() -> list[str]:
    """Return the words that start the command line: ``cli.py`` of a clone, or the module of an installation."""
    script = _ROOT / "cli.py"
    module = ["-P", "-m", "nnmass.commands"]  # without the current folder, whose files are somebody else's
    return [sys.executable, *([str(script)] if script.is_file() else module)]


def program_version() -> str:
    """Return the version of the installation, or of the clone that is not installed."""
    try:
        return version("nnmass")
    except PackageNotFoundError:
        project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        return str(project["project"]["version"])
