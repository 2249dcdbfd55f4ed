"""A clone in use: what commands leave there is none of git's business, and the first of them says what it is at."""

import re
import subprocess

import pytest
from conftest import ROOT

# Folders and files that a subcommand writes where no option names another.
DEFAULT = re.compile(r'Path\("([\w.]+)"\)')
# Files that a line of the documentation has a command write into the current folder.
WRITTEN = re.compile(r"(?<= )[\w-]+\.(?:onnx|pt2|csv|json|html)\b")
LOGGERS = ("lightning_logs/a", "mlflow.db", "mlruns/a", "mlartifacts/a", "wandb/a", "network.onnx.data")


def left_behind() -> set[str]:
    code = "\n".join(path.read_text() for path in (ROOT / "commands").rglob("*.py"))
    pages = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    commands = "\n".join(re.findall(r"^(?:    )?(?:python cli\.py|nnmass) [^#\n]*", pages, re.MULTILINE))
    return (
        {name if "." in name else f"{name}/a" for name in DEFAULT.findall(code)}
        | set(WRITTEN.findall(commands))
        | {*LOGGERS}
    )


def test_the_search_finds_what_is_known_to_be_written() -> None:
    assert left_behind() >= {
        "atlas/a",
        "designs/a",
        "gradients/a",
        "inspected/a",
        "runs/a",
        "network.onnx",
        "blocks.csv",
    }


@pytest.mark.parametrize("path", sorted(left_behind()))
def test_git_ignores_what_commands_leave(path: str) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert done.returncode == 0, f"{path} would be committed"


def test_what_takes_minutes_at_first_says_what_it_is_at() -> None:
    """Before the first command of all, a user sees nothing but pip."""
    words = ["make", "--no-print-directory", "--dry-run", "--always-make", "demo"]  # these tests are run by make, too
    steps = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert steps[0].startswith('echo "Installing')
    (install,) = [step for step in steps if "pip install" in step]
    assert "--quiet" not in install
