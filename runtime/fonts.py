"""Fonts of figures, in whose texts users' own names may be of any script."""

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["choose_fonts"]


def choose_fonts(figure: "Figure") -> None:
    """Let texts with characters that the usual font lacks take them from other installed fonts that have them.

    A character that no font has is drawn as a box.

    Args:
        figure: What is to be written.
    """
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if not text.get_text().isascii()]
    lacking = {ord(character) for text in texts for character in text.get_text()}
    if not lacking:
        return
    families: list[str] = []
    for name, characters in _installed():
        if lacking & characters or not families:
            families.append(name)
            lacking -= characters
        if not lacking:
            break
    for text in texts:
        text.set_fontfamily(families)


def _installed() -> Iterator[tuple[str, Set[int]]]:
    """Yield the fonts that there are, the usual one first, with the numbers of their characters."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    usual = findfont(FontProperties())
    yield get_font(usual).family_name, get_font(usual).get_charmap().keys()
    for entry in fontManager.ttflist:
        if entry.fname != usual:
            yield entry.name, get_font(entry.fname).get_charmap().keys()
