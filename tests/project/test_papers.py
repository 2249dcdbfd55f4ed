"""docs/papers.md has one row for everything that the papers print, and its numbers are those of tables and formulas."""

import re
from collections import Counter
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
# Everything that the papers number, with its panels; of CVPR's supplement what the paper refers to.
PANELS = {
    **{f"CVPR-{label}": "" for label in ("D1", "D2", "D3", "D4", "P1", "P2", "R1", "R2", "F2", "T1", "T2")},
    **{f"CVPR-{label}": "" for label in ("F7", "F16", "F17", "F19", "T3", "T4", "T5")},
    **{"CVPR-F1": "abc", "CVPR-F3": "abcd", "CVPR-F4": "abc", "CVPR-F5": "ab", "CVPR-F6": "abcd"},
    **{f"ICLR-{label}": "" for label in ("D1", "D2", "D3", "D4", "P1", "P2", "R1", "T1", "T2", "T3", "T4", "T5")},
    **{f"ICLR-F{number}": "" for number in (3, 7, 8, 9, 14)},
    **{"ICLR-F1": "abc", "ICLR-F2": "abcd", "ICLR-F4": "ab", "ICLR-F5": "abcd", "ICLR-F6": "ab", "ICLR-F10": "abcd"},
    **{"ICLR-F11": "ab", "ICLR-F12": "abcdef", "ICLR-F13": "ab", "ICLR-F15": "abcd", "ICLR-F16": "abc"},
    **{"ICLR-F17": "abcd", "ICLR-F18": "abc", "ICLR-F19": "abcd"},
    **{f"ICLR appendix {letter}": "" for letter in "ABCD"},
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
    """What a label stands for: each panel, each part that a table or proposition is divided into, or the whole."""
    whole, _, inside = label.rstrip(")").partition(" (")
    return [f"{whole} ({part})" for part in inside.split(", ")] if PANELS.get(whole) and inside else [whole]


def test_every_figure_table_and_proposition_has_exactly_one_row() -> None:
    expected = {f"{whole} ({panel})" for whole, panels in PANELS.items() for panel in panels}
    expected |= {whole for whole, panels in PANELS.items() if not panels}
    found = [part for line in LINES for label in re.findall(LABEL, line.label) for part in parts(label)]
    numbers = {part for part in found if re.fullmatch(r"(CVPR|ICLR)-N\d+", part)}
    assert set(found) - numbers == expected
    divided = {label for label in BY_LABEL if " (" in label and not PANELS[label.partition(" (")[0]]}
    repeated = {part for part, times in Counter(found).items() if times > 1}
    assert repeated == {label.partition(" (")[0] for label in divided}, "only sizes and accuracies are told apart"
    assert len(BY_LABEL) == sum(len(re.findall(LABEL, line.label)) for line in LINES)
    for paper in ("CVPR", "ICLR"):  # headline numbers are counted from 1 without a gap
        count = sum(number.startswith(paper) for number in numbers)
        assert numbers >= {f"{paper}-N{number}" for number in range(1, count + 1)}


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
