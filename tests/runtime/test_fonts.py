"""Figures with names of any script: a font that has the characters, boxes where none has, and no warnings."""

from pathlib import Path

import pytest
import torch
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text

from nnmass.callbacks.confusion_matrix import draw_confusion_matrix
from nnmass.runtime.files import write_figure

NOWHERE = "\U000f0000"  # for private use, in no font


def characters_of(family: str) -> set[int]:
    return set(get_font(findfont(family)).get_charmap())


def families_of(name: str, tmp_path: Path) -> list[str]:
    figure = draw_confusion_matrix(torch.eye(2), [name, "cat"])
    write_figure(tmp_path / "matrix.png", figure)
    assert (tmp_path / "matrix.png").stat().st_size > 1000
    (found,) = {tuple(text.get_fontfamily()) for text in figure.findobj(Text) if text.get_text() == name}
    return list(found)


def test_a_character_that_the_usual_font_lacks_is_taken_from_a_font_that_has_it(tmp_path: Path) -> None:
    only = characters_of("STIXNonUnicode") - characters_of("DejaVu Sans")  # both come with matplotlib
    families = families_of(f"é{chr(min(only))}", tmp_path)
    assert families[0] == "DejaVu Sans"
    assert min(only) in characters_of(families[-1])
    assert {entry.name for entry in fontManager.ttflist} >= set(families)


@pytest.mark.parametrize("name", ["é", "a b", "_", "$x^$", f"é{NOWHERE}", "狗", "long " * 40], ids=ascii)
def test_a_matrix_of_classes_of_any_name_is_drawn_without_a_warning(name: str, tmp_path: Path) -> None:
    figure = draw_confusion_matrix(torch.eye(2), [name, "cat"])
    write_figure(tmp_path / "matrix.png", figure)
    shown = name if len(name) <= 30 else f"{name[:27]}..."
    assert shown in {text.get_text() for text in figure.findobj(Text)}
