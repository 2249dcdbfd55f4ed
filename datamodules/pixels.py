"""Pixels of all images of a source, and their mean and standard deviation: computed once and kept."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nnmass.datamodules.cache import cached
from nnmass.datamodules.sources import ImageSource
from nnmass.zoo.weights.preprocessing import Preprocessing

__all__ = ["decoded", "mean_and_std", "shown"]

Item = TypeVar("Item")


def decoded(images: ImageSource, preparation: Preprocessing, folder: Path) -> Tensor:
    """All images as bytes (N, C, H, W), decoded once and kept in a folder.

    Args:
        images: The images.
        preparation: How each is prepared; it is not normalised here.
        folder: Where the bytes are kept.
    """

    def decode() -> dict[str, Tensor]:
        pixels = torch.empty(len(images), preparation.channels, *preparation.size, dtype=torch.uint8)
        for index in shown(range(len(images)), len(images), "Decoding images"):
            pixels[index] = preparation.decode(images[index])
        return {"images": pixels}

    return cached(folder, f"images-{_key(images, preparation)}", decode)["images"]


def mean_and_std(
    images: ImageSource, preparation: Preprocessing, folder: Path, num_workers: int, name: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of the images, on the scale 0 to 1.

    They are measured once, on the images as the network sees them without augmentation, and kept in a folder.

    Args:
        images: The images.
        preparation: How each is prepared; it is not normalised here.
        folder: Where the numbers are kept.
        num_workers: Processes that decode.
        name: Of the data set, for messages.

    Raises:
        ValueError: If all pixels of a channel are the same.
    """

    def measure() -> dict[str, Tensor]:
        loader = DataLoader(_Sums(images, preparation), batch_size=16, num_workers=num_workers)
        batches = shown(loader, len(loader), "Measuring mean and standard deviation")
        return {"sums": torch.stack([batch.sum(0) for batch in batches]).sum(0)}

    sums, squares = cached(folder, f"sums-{_key(images, preparation)}", measure)["sums"].tolist()
    pixels = len(images) * math.prod(preparation.size)
    means = [total / pixels for total in sums]
    # Whole numbers, so that nothing is lost where the deviation is small.
    stds = [math.sqrt(pixels * square - total**2) / pixels for total, square in zip(sums, squares, strict=True)]
    if min(stds) == 0:
        value = means[stds.index(0)]
        raise ValueError(f"Expected training images of {name} that differ, but all their pixels are {value:.0f}.")
    return _on_scale(means), _on_scale(stds)


class _Sums(Dataset):
    """Sums and sums of squares (2, C) of the bytes of each image."""

    def __init__(self, images: ImageSource, preparation: Preprocessing) -> None:
        self.images, self.preparation = images, preparation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        pixels = self.preparation.decode(self.images[index]).flatten(1).long()
        return torch.stack([pixels.sum(1), (pixels * pixels).sum(1)])


def _on_scale(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value / 255, 6) for value in values)


def _key(images: ImageSource, preparation: Preprocessing) -> str:
    """Text that changes with the images and with how they are prepared."""
    height, width = preparation.size
    content = f"{images.fingerprint()} {preparation.channels} {height} {width} {preparation.crop}"
    return f"{height}x{width}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def shown(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
    """Go through items, with a bar where there is a terminal.

    Args:
        items: The items.
        total: How many there are.
        what: What is done with them.
    """
    console = Console(stderr=True)
    return track(items, what, total=total, console=console, transient=True, disable=not console.is_terminal)
