"""Images: opening files of known formats, 8 bits per channel, the centre crop, and messages about broken files."""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

__all__ = ["FORMAT_OF", "centre_crop", "converted", "decoding", "open_image", "open_photograph"]

FORMAT_OF = {
    ".bmp": "BMP",
    ".gif": "GIF",
    **dict.fromkeys((".jfif", ".jpe", ".jpeg", ".jpg"), "JPEG"),
    ".png": "PNG",
    **dict.fromkeys((".pbm", ".pgm", ".pnm", ".ppm"), "PPM"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".webp": "WEBP",
}
"""Pillow's name of the format that an ending stands for, of those that are read here."""

_FORMATS = sorted(set(FORMAT_OF.values()))


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Open an image file; no decoder is tried but those of the formats in :data:`FORMAT_OF`.

    Others start programs, as Pillow's of PostScript does.

    Args:
        path: The file; its content decides the format, whatever its name.

    Raises:
        OSError: If it is no file, or of another format.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for
        raise OSError("it is no file")
    with warnings.catch_warnings():  # of large photographs; what is too large is refused
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=_FORMATS)


@contextmanager
def decoding(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the image file in errors of decoding.

    Args:
        path: The file that is decoded within.

    Raises:
        ValueError: Instead of whatever Pillow raises, of which it keeps no list; the message names the file.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"its content is none of {', '.join(_FORMATS)}"
        elif isinstance(error, Image.DecompressionBombError):
            reason = f"it claims more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} px"
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        raise ValueError(f"Expected an image in {path}, but it cannot be decoded: {reason}.") from error


def converted(image: Image.Image, mode: str) -> Image.Image:
    """An image in 8 bits per channel, grey of 16 bits scaled to them; Pillow alone would cut it off at 255.

    Args:
        image: Of any mode.
        mode: ``L`` or ``RGB``.

    Raises:
        ValueError: If its numbers have another range.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its pixels are from {values.min()} to {values.max()}, not from 0 to 65535")
        image = Image.fromarray((values // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of no certain range")
    return image.convert(mode)


def open_photograph(path: str | os.PathLike[str], least: float, mode: str = "RGB") -> Image.Image:
    """Read an image; a JPEG is decoded at 1/2, 1/4 or 1/8 if its short side stays above ``least`` px.

    Args:
        path: The file.
        least: Px that the short side must keep.
        mode: ``L`` or ``RGB``.
    """
    with open_image(path) as image:
        if image.format == "JPEG":
            shrink = min(image.size) / max(least, 1)
            image.draft(mode, (round(image.width / shrink), round(image.height / shrink)))
        return converted(image, mode)


def centre_crop(image: Image.Image, resolution: int, share: float = 0.875) -> Image.Image:
    """The centre square of a share of the short side, resized to ``resolution`` px.

    Args:
        image: The whole photograph.
        resolution: Side of the result, in px.
        share: Side of the square, as a share of the image's short side.
    """
    side = share * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
