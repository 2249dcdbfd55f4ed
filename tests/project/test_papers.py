"""docs/papers.md has one row for everything that the papers print, and its numbers are those of tables and formulas."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from conftest import ROOT
from paper_numbers import NUMBERS
from paper_tables import row

from nnmass import zoo
from nnmass.commands import SUBCOMMANDS

PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
# Everything that the papers number, with its panels or parts; of CVPR's supplement what the paper refers to.
PARTS: dict[str, Sequence[str]] = {
    **{f"CVPR-{label}": () for label in ("D1", "D2", "D3", "D4", "P1", "R1", "R2", "F2")},
    **{f"CVPR-{label}": () for label in ("F7", "F16", "F17", "F19", "T3", "T4", "T5")},
    **{"CVPR-F1": "abc", "CVPR-F3": "abcd", "CVPR-F4": "abc", "CVPR-F5": "ab", "CVPR-F6": "abcd"},
    **{"CVPR-P2": ("bounds", "depth"), "CVPR-T1": ("sizes", "accuracies")},
    "CVPR-T2": ("mass", "parameters", "MACs", "top-1"),
    **{f"ICLR-{label}": () for label in ("D1", "D2", "D3", "D4", "P1", "P2", "R1", "T1", "T2", "T3", "T4")},
    **{f"ICLR-F{number}": () for number in (3, 7, 8, 9, 14)},
    **{"ICLR-F1": "abc", "ICLR-F2": "abcd", "ICLR-F4": "ab", "ICLR-F5": "abcd", "ICLR-F6": "ab", "ICLR-F10": "abcd"},
    **{"ICLR-F11": "ab", "ICLR-F12": "abcdef", "ICLR-F13": "ab", "ICLR-F15": "abcd", "ICLR-F16": "abc"},
    **{"ICLR-F17": "abcd", "ICLR-F18": "abc", "ICLR-F19": "abcd", "ICLR-T5": ("sizes", "accuracies")},
    **{f"ICLR appendix {letter}": () for letter in "ABCD"},
    # Numbers of the text that stand in no figure or table.
    **{f"{paper}-N{number}": () for paper in ("CVPR", "ICLR") for number in range(1, 7)},
}
VERDICTS = (
    "reproduced",
    "differs, because ",
    "not measured: needs a GPU",
    "not legible",
    "a drawing: nothing to reproduce",
)
LABEL = r"(?:CVPR|ICLR)-[A-Z]\d+(?: \([^)]+\))?|ICLR appendix [A-D]"


class Line(NamedTuple):
    """A row of the tables."""

    label: str
    printed: str
    by: str
    came_out: str
    verdict: str


ROWS = re.findall(r"^\| (?:CVPR|ICLR).*", PAGE, re.MULTILINE)
LINES = [Line(*(cell.strip() for cell in text.split("|")[1:-1])) for text in ROWS]
BY_LABEL = {label: line for line in LINES for label in re.findall(LABEL, line.label)}


def parts(label: str) -> list[str]:
    """Split a label into the panels or parts that it names, or the whole."""
    whole, _, inside = label.rstrip(")").partition(" (")
    return [f"{whole} ({part})" for part in inside.split(", ")] if inside else [whole]


def test_every_figure_table_proposition_and_number_has_exactly_one_row() -> None:
    labels = (f"{whole} ({', '.join(named)})" if named else whole for whole, named in PARTS.items())
    expected = [part for label in labels for part in parts(label)]
    found = [part for line in LINES for label in re.findall(LABEL, line.label) for part in parts(label)]
    assert sorted(found) == sorted(expected)


def test_every_row_has_a_verdict_and_the_same_one_where_it_refers_to_another() -> None:
    for line in LINES:
        assert line.verdict.startswith(VERDICTS), line
        assert line.printed, line
        if line.by.startswith("as ") and line.verdict != "not legible: in the supplement":
            assert line.verdict == BY_LABEL[line.by.removeprefix("as ")].verdict, line
            assert not line.came_out


def test_what_gives_a_row_exists() -> None:
    by = "\n".join(line.by for line in LINES)
    assert [test for test in re.findall(r"tests/[\w/]+\.py", by) if not (ROOT / test).is_file()] == []
    assert {words.split()[0] for words in re.findall(r"`nnmass ([^`]+)`", by)} <= set(SUBCOMMANDS)
    assert [name for name in re.findall(r"`zoo\.(\w+)`", by) if not hasattr(zoo, name)] == []
    assert set(re.findall(LABEL, by)) | set(NUMBERS) <= set(BY_LABEL)


@pytest.mark.parametrize("file", sorted((ROOT / "configs" / "studies").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_rows_of_a_study_print_the_published_numbers_that_it_holds(file: Path) -> None:
    published = yaml.safe_load(file.read_text(encoding="utf-8")).get("report", {}).get("published", {})
    by = re.compile(rf"(run|report) {file.stem}`|gradients mlp`")
    printed = " ".join(line.printed for line in LINES if by.search(line.by))
    for number in (number for numbers in published.values() for number in numbers.values()):
        assert re.search(rf"\b{number}0?\b", printed), number


@pytest.mark.parametrize("label", BY_LABEL)
def test_the_numbers_of_a_row_come_out_again(label: str) -> None:
    cell = re.sub(rf"\]\([^)]*\)|{LABEL}", "", BY_LABEL[label].came_out)
    # 1/8 and 8,310 are one number; those in names such as Circle20, and the formula log(1 + NN-Mass), are none.
    numbers = re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+|/\d+)?(?!\w)", cell.replace("log(1 + NN-Mass)", ""))
    assert numbers == (NUMBERS[label]() if label in NUMBERS else [])


def test_the_ceiling_that_a_verdict_names_is_that_of_the_fits() -> None:
    about = {"explained": "test accuracy", "epoch": "last epoch", "averaging": "mean over seeds", "networks": "all"}
    line = row("synthetic_mlp/fits.csv", group="seg20_mlp", explaining="log parameters", **about)
    assert f"no more than {line['explainable']:.2f} can be explained" in BY_LABEL["ICLR-F12 (d)"].verdict
