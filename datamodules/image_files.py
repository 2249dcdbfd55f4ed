"""Batches of image files, decoded ahead of their use."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from nnmass.datamodules.cores import usable_cores
from nnmass.datamodules.listing import images_below, say_left_out
from nnmass.zoo.weights.images import FORMAT_OF

__all__ = ["ImageFiles"]

_Decoded = list[Future[tuple[int, Tensor | str]]]


class ImageFiles:
    """Batches of image files and of the images in folders, by name; those that cannot be decoded are left out.

    The next batch is decoded, by a thread for each core, while the one before it is in use.

    Args:
        sources: Files, and folders that hold images, in folders or not.
        decode: Reads one file as bytes (C, H, W); names a file that it cannot decode.
        batch_size: Images per batch.

    Attributes:
        paths: The files, in order, each once.
        unread: Of the newest pass, a sentence about each file that could not be decoded.

    Raises:
        ValueError: If a source does not exist, or there is no image in a folder.
    """

    def __init__(self, sources: Sequence[Path], decode: Callable[[Path], Tensor], batch_size: int) -> None:
        self.decode, self.batch_size = decode, batch_size
        self.unread: list[str] = []
        self._others: dict[Path, list[str]] = {}
        self.paths = list(dict.fromkeys(path for source in sources for path in self._listed(source)))

    def __len__(self) -> int:
        return -(-len(self.paths) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, list[int]]]:
        """Bytes (N, C, H, W), and the indices of the images among the files.

        Raises:
            ValueError: If no image can be decoded.
        """
        self.unread = []
        found = False
        for folder, others in self._others.items():
            say_left_out(folder, others)
        with ThreadPoolExecutor(usable_cores()) as pool:
            ahead = self._start(pool, 0)
            for number in range(len(self)):
                batch, ahead = ahead, self._start(pool, number + 1)
                decoded = [future.result() for future in batch]
                self.unread += [result for _, result in decoded if isinstance(result, str)]
                images = [(index, result) for index, result in decoded if isinstance(result, Tensor)]
                if images:
                    found = True
                    yield torch.stack([image for _, image in images]), [index for index, _ in images]
        if not found:
            of_all = f"Of {len(self.unread):,} images none can be decoded, of which the first is: "
            raise ValueError(f"{of_all if len(self.unread) > 1 else ''}{self.unread[0]}")

    def _listed(self, source: Path) -> list[Path]:
        if not source.is_dir():
            if not source.exists():
                raise ValueError(f"Expected images to be files or folders, but {source} does not exist.")
            return [source]
        images, self._others[source] = images_below(source)
        if not images:
            known = ", ".join(sorted(FORMAT_OF))
            raise ValueError(f"Expected images ({known}) in the folder, but found none in {source}.")
        return images

    def _start(self, pool: ThreadPoolExecutor, number: int) -> _Decoded:
        first = number * self.batch_size
        chosen = range(first, min(first + self.batch_size, len(self.paths)))
        return [pool.submit(self._decoded, index) for index in chosen]

    def _decoded(self, index: int) -> tuple[int, Tensor | str]:
        try:
            return index, self.decode(self.paths[index])
        except ValueError as error:
            return index, str(error)
