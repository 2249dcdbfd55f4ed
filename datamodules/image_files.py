"""Image files: their suffixes and pixels, what is said of a broken one, folders of them with labels and without."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["IMAGE_SUFFIXES", "ImageFiles", "class_folders", "converted", "decoding", "names_of_classes"]

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


def converted(image: Image.Image, mode: str) -> Image.Image:
    """An image in 8 bits per channel, grey of 16 bits scaled to them; Pillow alone would cut it off at 255.

    Args:
        image: Of any mode.
        mode: ``L`` or ``RGB``.
    """
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return image.convert(mode)


def class_folders(folder: Path, num_classes: int) -> list[Path]:
    """The folders of the classes, in the order of their names.

    Raises:
        ValueError: If there are more or fewer than ``num_classes``.
    """
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if len(found) != num_classes:
        raise ValueError(f"Expected {num_classes} class folders in {folder}, but got {len(found)}.")
    return found


def names_of_classes(first: Path, second: Path, num_classes: int) -> list[str]:
    """The names of the class folders of two splits.

    Raises:
        ValueError: If they are not the same: one number would mean two classes.
    """
    names, others = ([entry.name for entry in class_folders(split, num_classes)] for split in (first, second))
    for name, other in zip(names, others, strict=True):
        if name != other:
            raise ValueError(
                f"Expected the same class folders in {first} and {second}, but got {name!r} and {other!r}."
            )
    return names


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
        self.paths = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        )
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
