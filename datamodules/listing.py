"""Folders of image files: images by their names, folders of classes, and other files.

Names are the truth, and read anew each time: a folder's time of change can be set, as archives do.
"""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from nnmass.zoo.weights.images import FORMAT_OF

__all__ = [
    "LabelledFiles",
    "as_text",
    "entries",
    "files_of_classes",
    "folders_in",
    "images_below",
    "names_of_classes",
    "say_left_out",
]

log = logging.getLogger(__name__)

_NAMED = 5  # names that a message lists before it counts the rest

_said: set[str] = set()


class LabelledFiles(NamedTuple):
    """The images in class folders.

    Attributes:
        names: ``CLASS/NAME`` of each, class by class, in the order of their names.
        labels: The class of each, from 0.
        others: ``CLASS/NAME`` of what lies beside them and is no image by its name.
    """

    names: list[str]
    labels: list[int]
    others: list[str]


def as_text(name: str | Path) -> str:
    r"""A file's name as UTF-8 can write it: bytes that are none become ``\xNN``, and a backslash two of them.

    So no two files have one text. On Windows, where names have no such bytes, backslashes stay as they are.

    Example:
        >>> print(as_text(os.fsdecode(b"caf\xe9.png")), as_text("a\\b"))
        caf\xe9.png a\\b
    """
    text = str(name) if os.sep == "\\" else str(name).replace("\\", "\\\\")
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images in a folder and of all else, in order; what is hidden is neither."""
    images: list[str] = []
    others: list[str] = []
    for name in sorted(os.listdir(folder)):
        if not name.startswith("."):
            (images if os.path.splitext(name)[1].lower() in FORMAT_OF else others).append(name)
    return images, others


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, in order; hidden ones, such as ``.ipynb_checkpoints``, are passed over."""
    with os.scandir(folder) as content:
        return sorted(entry.name for entry in content if not entry.name.startswith(".") and entry.is_dir())


def files_of_classes(folder: Path, num_classes: int) -> LabelledFiles:
    """The images in ``folder/CLASS/*``; the classes are numbered in the order of their names.

    Raises:
        ValueError: If there are more or fewer classes than ``num_classes``, or one has no image.
    """
    labelled = LabelledFiles([], [], [])
    for label, name in enumerate(_classes(folder, num_classes)):
        images, others = entries(folder / name)
        if not images:
            beside = f" but {_listed(others)}" if others else ""
            raise ValueError(f"Expected images in the class folder {folder / name}, but found none{beside}.")
        labelled.names.extend(f"{name}/{image}" for image in images)
        labelled.labels.extend([label] * len(images))
        labelled.others.extend(f"{name}/{other}" for other in others)
    return labelled


def names_of_classes(first: Path, second: Path, num_classes: int) -> list[str]:
    """The names of the class folders of two splits.

    Raises:
        ValueError: If they are not the same, or not ``num_classes``; it names those that one of the splits lacks.
    """
    names, others = folders_in(first), folders_in(second)
    lacking = [
        f"{split} lacks {_listed(missing)}"
        for split, missing in ((second, sorted({*names} - {*others})), (first, sorted({*others} - {*names})))
        if missing
    ]
    if lacking:
        looks = [sorted(unicodedata.normalize("NFC", name) for name in one) for one in (names, others)]
        hint = "; they look alike, but their letters are put together differently in Unicode" * (looks[0] == looks[1])
        what = f"Expected the same class folders in {first} and {second}, but {' and '.join(lacking)}"
        raise ValueError(f"{what}{hint}.")
    return [as_text(name) for name in _classes(first, num_classes)]


def _classes(folder: Path, num_classes: int) -> list[str]:
    names = folders_in(folder)
    if len(names) != num_classes:
        which = f": {_listed(names)}" if names else ""
        raise ValueError(f"Expected {num_classes} class folders in {folder}, but got {len(names)}{which}.")
    return names


def images_below(folder: Path) -> tuple[list[Path], list[str]]:
    """The images in a folder and in all folders in it, by name, and what else is there, relative to the folder.

    Links to folders are followed, none of which is entered twice.
    """
    images: list[Path] = []
    others: list[str] = []
    entered: set[tuple[int, int]] = set()

    def enter(current: Path) -> None:
        state = current.stat()
        if (state.st_dev, state.st_ino) in entered:
            return
        entered.add((state.st_dev, state.st_ino))
        files, rest = entries(current)
        for names, is_image in ((files, True), (rest, False)):
            for path in (current / name for name in names):
                if path.is_dir():
                    enter(path)
                elif is_image:
                    images.append(path)
                else:
                    others.append(str(path.relative_to(folder)))

    enter(folder)
    return sorted(images), others


def say_left_out(folder: Path, others: Sequence[str]) -> None:
    """Print in one line, once, the files that are left out because their names are not those of images.

    Args:
        folder: Where they lie.
        others: Their names, relative to it.
    """
    if not others:
        return
    kinds = Counter(os.path.splitext(name)[1].lower() or "no ending" for name in others)
    counts = ", ".join(f"{as_text(kind)} {number:,}" for kind, number in kinds.most_common(_NAMED))
    line = (
        f"Left out of {folder}, as no images by their names: {len(others):,} ({counts}), such as {as_text(others[0])}."
    )
    if line not in _said:
        _said.add(line)
        log.warning(line)


def _listed(names: Iterable[str]) -> str:
    """Some names, and how many more there are."""
    known = [as_text(name) for name in names]
    more = f" and {len(known) - _NAMED:,} others" if len(known) > _NAMED else ""
    return ", ".join(known[:_NAMED]) + more
