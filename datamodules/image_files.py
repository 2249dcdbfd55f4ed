"""Image files: decoding, messages about broken files, and batches of all images of a folder."""

import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from nnmass.datamodules.listing import FORMAT_OF, images_below, say_left_out
from nnmass.datamodules.sample import mixed_order

__all__ = ["ImageFiles", "converted", "decoding", "open_image"]

_FORMATS = sorted(set(FORMAT_OF.values()))


def open_image(path: Path) -> Image.Image:
    """Open an image file; no decoder is tried but those of the formats in :data:`datamodules.listing.FORMAT_OF`.

    Others start programs, as Pillow's of PostScript does.

    Args:
        path: The file; its content decides the format, whatever its name.

    Raises:
        OSError: If it is no file, or of another format.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        raise OSError("it is no file")
    with warnings.catch_warnings():  # of large photographs; what is too large is refused
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=_FORMATS)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
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


class ImageFiles:
    """Batches of the images of a folder and of the folders in it, by name; those that cannot be decoded are left out.

    Args:
        folder: Where to look.
        decode: Reads one file as bytes (C, H, W); names a file that it cannot decode.
        batch_size: Images per batch.

    Attributes:
        paths: The files, in order.
        read: Of the newest pass, the indices among the paths of the images that were handed out, in that order.
        unread: Of the newest pass, a sentence about each file that could not be decoded.

    Raises:
        ValueError: If there is no such folder, or no image in it.
    """

    def __init__(self, folder: Path, decode: Callable[[Path], Tensor], batch_size: int) -> None:
        if not folder.is_dir():
            raise ValueError(f"Expected --images to be a folder, but got {folder}.")
        self.folder, self.decode, self.batch_size = folder, decode, batch_size
        self.paths, self._others = images_below(folder)
        if not self.paths:
            known = ", ".join(sorted(FORMAT_OF))
            raise ValueError(f"Expected images ({known}) in the folder of --images, but found none in {folder}.")
        self.read: list[int] = []
        self.unread: list[str] = []
        self._order = torch.arange(len(self.paths))

    def mix(self, seed: int) -> None:
        """Go through the images in an order of which every beginning holds all folders in proportion."""
        folders = {folder: number for number, folder in enumerate(sorted({path.parent for path in self.paths}))}
        self._order = mixed_order(torch.tensor([folders[path.parent] for path in self.paths]), seed)

    def __len__(self) -> int:
        return -(-len(self.paths) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Bytes (N, C, H, W), and the indices of the images among the files (N,).

        Raises:
            ValueError: If no image can be decoded.
        """
        self.read, self.unread = [], []
        for indices in self._order.split(self.batch_size):
            decoded = [pair for index in indices.tolist() if (pair := self._decoded(index)) is not None]
            if decoded:
                say_left_out(self.folder, self._others)
                self.read += [index for _, index in decoded]
                images, read = zip(*decoded, strict=True)
                yield torch.stack(images), torch.tensor(read)
        if not self.read:
            of_all = f"Of {len(self.unread):,} images none can be decoded, of which the first is: "
            raise ValueError(f"{of_all if len(self.unread) > 1 else ''}{self.unread[0]}")

    def _decoded(self, index: int) -> tuple[Tensor, int] | None:
        try:
            return self.decode(self.paths[index]), index
        except ValueError as error:
            self.unread.append(str(error))
            return None
