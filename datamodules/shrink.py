"""Smaller photographs in class folders: made once, so that every epoch after that decodes fewer pixels."""

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from datamodules.image_files import IMAGE_SUFFIXES, decoding
from datamodules.imagenet import open_photograph

__all__ = ["images_of_classes", "shrunk"]


def images_of_classes(folder: Path) -> list[str]:
    """Image files in ``CLASS/*`` and ``SPLIT/CLASS/*``, relative to ``folder``, in the order of their names.

    Raises:
        ValueError: If there are none.
    """
    found = [
        image
        for first in _inside(folder, "", folders=True)
        for place in (first, *_inside(folder, first, folders=True))
        for image in _inside(folder, place, folders=False)
    ]
    if not found:
        raise ValueError(f"Expected images in CLASS/ or SPLIT/CLASS/ below {folder}, but found none.")
    return found


def shrunk(path: Path, side: int, quality: int) -> bytes:
    """The content of an image file whose short side is at most ``side`` px.

    A file of that size or smaller stays as it is, byte for byte. A larger image becomes 8 bits per channel of RGB, as
    the training reads it; what else the file holds, such as a colour profile or how the camera was turned, is left
    out, because the training does not read it. The name's ending decides the format.

    Args:
        path: The image file.
        side: Most px of the short side.
        quality: Of JPEG and WebP, from 1 to 95. PNG and BMP are exact.

    Raises:
        ValueError: If the file cannot be decoded, also if it would stay as it is.
    """
    with decoding(path):
        with Image.open(path) as image:
            width, height = image.size
            short = min(width, height)
            if short <= side:
                image.load()
                return path.read_bytes()
        size = (round(width * side / short), round(height * side / short))
        smaller = open_photograph(path, side).resize(size, Image.Resampling.BILINEAR)
        smaller.info = {}
        content = BytesIO()
        smaller.save(content, Image.registered_extensions()[path.suffix.lower()], quality=quality)
        return content.getvalue()


def _inside(folder: Path, place: str, folders: bool) -> Iterator[str]:
    """The folders, or else the images, that lie in a place of ``folder``, relative to it."""
    with os.scandir(folder / place) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir() if folders else os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                yield os.path.join(place, entry.name)
