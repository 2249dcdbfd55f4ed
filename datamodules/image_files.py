"""Image files: their suffixes, what is said of a broken one, and a folder of them without labels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["IMAGE_SUFFIXES", "ImageFiles", "decoding"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Say which image file cannot be decoded.

    Args:
        path: The file that is decoded within.

    Raises:
        ValueError: Instead of whatever Pillow raises, of which it keeps no list; the message names the file.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected an image in {path}, but it cannot be decoded: {reason}.") from error


class ImageFiles:
    """Batches of the images of a folder and of the folders in it, by name.

    Args:
        folder: Where to look.
        decode: Reads one file as bytes (C, H, W); names a file that it cannot decode.
        batch_size: Images per batch.

    Attributes:
        paths: The files, in order.

    Raises:
        ValueError: If there is no such folder, or no image in it.
    """

    def __init__(self, folder: Path, decode: Callable[[Path], Tensor], batch_size: int) -> None:
        if not folder.is_dir():
            raise ValueError(f"Expected --images to be a folder, but got {folder}.")
        self.decode, self.batch_size = decode, batch_size
        self.paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self.paths:
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise ValueError(f"Expected images ({known}) in the folder of --images, but found none in {folder}.")

    def __len__(self) -> int:
        return -(-len(self.paths) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Bytes (N, C, H, W), and the places of the images among the files (N,).

        Raises:
            ValueError: If an image cannot be decoded.
        """
        for places in torch.arange(len(self.paths)).split(self.batch_size):
            yield torch.stack([self.decode(self.paths[place]) for place in places]), places
