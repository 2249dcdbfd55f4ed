"""How-to guides: named after a task, one screen long, and every command is executed or it is said why not.

A page that is new is found by the navigation of the site: its commands are executed here, in their order, in an empty
folder, unless a test of its own does that. ``python tests/project/test_howto_pages.py`` lists what nothing executes.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnmass.commands.main import main

ROOT = Path(__file__).resolve().parents[2]
SCREEN = 75  # lines, with headings and blank ones
# Grown before the rule.
LONG = {"cluster.md", "data.md", "studies.md", "topology.md", "training.md"}
VERBS = {"Build", "Choose", "Classify", "Compare", "Continue", "Design", "Export", "Find", "Fine-tune", "Load", "Log"}
VERBS |= {"Make", "Measure", "Publish", "Record", "Resume", "Run", "Save", "Search", "Serve", "Share", "Train", "Use"}
COMMAND = re.compile(r"^(?:    )?(?:[A-Z_]+=\S+ )*(?:python cli\.py|nnmass) ([^#\n]*)", re.MULTILINE)
# Pages whose commands a test of their own executes, as they are or with data that it makes.
BY_ANOTHER_TEST = {
    "evaluation.md": "tests/end_to_end/test_checkpoint_pages.py",
    "export.md": "tests/end_to_end/test_checkpoint_pages.py",
    "fine_tuning.md": "tests/end_to_end/test_howtos.py",
    "named_networks.md": "tests/commands/test_network_names.py",
    "optuna.md": "tests/end_to_end/test_optuna.py",
    "own_data.md": "tests/end_to_end/test_howtos.py",
    "own_network.md": "tests/end_to_end/test_howtos.py",
    "photographs.md": "tests/end_to_end/test_photographs.py",
    "pretrained.md": "tests/end_to_end/test_howtos.py",
    "sweep.md": "tests/studies/test_grid.py",
}
# What a command holds that nothing executes, and why.
NOT_EXECUTED = {
    r"submit ": "it hands jobs to a cluster; tests/commands/test_submit.py and the tests marked slurm do that",
    r"^fit .*cifar10|^test .*cifar10|^predict .*cifar10|study status cifar10": "CIFAR-10, and hours without a GPU",
    r"imagenet": "ImageNet",
    r"--data\.data_dir pets": "photographs of the user's own; tests/datamodules/test_own_images.py makes some",
    r"mnist_mlp\.yaml|gradients (mlp|cnn) ": "MNIST or CIFAR-10; tests/studies/test_gradients.py measures small ones",
    r"study (run|status|report|compare) .*mnist_mlp": "375 trainings; tests/studies/test_study.py runs a small study",
    r"--max-latency": "a slow machine may not reach it; tests/commands/test_design.py asks for others",
    r"WandbLogger|MLFlowLogger": "extras; tests/callbacks/test_loggers.py logs to both",
}


def guides() -> dict[str, str]:
    """Title of each how-to guide, by its file."""
    text = (ROOT / "mkdocs.yml").read_text()
    part = text.split("- How-to guides:\n", 1)[1].split("\n  - ", 1)[0]
    return {file: title for title, file in re.findall(r"- (.*): (\w+\.md)$", part, re.MULTILINE)}


def commands(page: str) -> list[str]:
    """Words behind the program's name, of every command of a page that stands on a line of its own."""
    return [line.strip() for line in COMMAND.findall((ROOT / "docs" / page).read_text())]


def reason(command: str) -> str | None:
    """Why nothing executes a command; None if something does."""
    return next((why for pattern, why in NOT_EXECUTED.items() if re.search(pattern, command)), None)


def to_be_executed() -> Iterator[str]:
    """Pages with a command that is executed here."""
    for page in guides():
        if page not in BY_ANOTHER_TEST and not all(map(reason, commands(page))):
            yield page


@pytest.mark.parametrize("page", guides())
def test_a_guide_is_a_task_on_one_screen(page: str) -> None:
    assert guides()[page].split()[0] in VERBS, "an imperative; add it to VERBS if it is one"
    assert page in LONG or len((ROOT / "docs" / page).read_text().splitlines()) <= SCREEN


def test_the_tests_that_are_said_to_execute_commands_are_there() -> None:
    for page, test in BY_ANOTHER_TEST.items():
        assert page in (ROOT / test).read_text()
    named = set(re.findall(r"tests/\w+/\w+\.py", " ".join(NOT_EXECUTED.values())))
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", to_be_executed())
def test_the_commands_of_a_guide_run_as_written(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in commands(page):
        if reason(command) is None:
            assert main(shlex.split(command)) == 0, f"{command}\n{capsys.readouterr().err}"


if __name__ == "__main__":
    for page in guides():
        for command in commands(page):
            if page not in BY_ANOTHER_TEST and (why := reason(command)):
                print(f"docs/{page}: {command}\n    not executed: {why}")
