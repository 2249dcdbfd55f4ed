"""Smaller photographs in class folders: made once, so that every epoch after that decodes fewer pixels."""

import os
from io import BytesIO
from pathlib import Path

from PIL import Image

from nnmass.datamodules.listing import entries, folders_in, say_left_out
from nnmass.zoo.weights.images import FORMAT_OF, decoding, open_image, open_photograph

__all__ = ["images_of_classes", "shrunk"]


def images_of_classes(folder: Path) -> list[str]:
    """Image files in ``CLASS/*`` and ``SPLIT/CLASS/*``, relative to ``folder``, in the order of their names.

    Raises:
        ValueError: If there are none.
    """
    relative: list[str] = []
    left_out: list[str] = []
    for first in folders_in(folder):
        for inside in (first, *(os.path.join(first, second) for second in folders_in(folder / first))):
            images, others = entries(folder / inside)
            relative += [os.path.join(inside, name) for name in images]
            left_out += [path for name in others if not (folder / (path := os.path.join(inside, name))).is_dir()]
    if not relative:
        raise ValueError(f"Expected images in CLASS/ or SPLIT/CLASS/ below {folder}, but found none.")
    say_left_out(folder, left_out)
    return relative


def shrunk(path: Path, side: int, quality: int) -> bytes:
    """The content of an image file whose short side is at most ``side`` px.

    A file of that size or smaller stays as it is, byte for byte. A larger image becomes 8 bits per channel of RGB, as
    the training reads it; what else the file holds, such as a colour profile or how the camera was turned, is left
    out, because the training does not read it. The name's ending decides the format.

    Args:
        path: The image file.
        side: Most px of the short side.
        quality: Of JPEG and WebP, from 1 to 95. GIF has 256 colours; the others are exact.

    Raises:
        ValueError: If the file cannot be decoded, also if it would stay as it is.
    """
    with decoding(path):
        with open_image(path) as image:
            width, height = image.size
            short = min(width, height)
            if short <= side:
                image.load()
                return path.read_bytes()
        size = (round(width * side / short), round(height * side / short))
        smaller = open_photograph(path, side).resize(size, Image.Resampling.BILINEAR)
        smaller.info = {}
        content = BytesIO()
        kind = FORMAT_OF[path.suffix.lower()]
        smaller.save(content, kind, **({"quality": quality} if kind in ("JPEG", "WEBP") else {}))
        return content.getvalue()
