"""Batches of all images of a folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from nnmass.datamodules.listing import images_below, say_left_out
from nnmass.datamodules.sample import mixed_order
from nnmass.zoo.weights.images import FORMAT_OF

__all__ = ["ImageFiles"]


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
