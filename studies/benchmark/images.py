"""Batches of images for networks that take images of unlike sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Protocol

import torch

from nnmass.datamodules.imagenet import ImageNet
from nnmass.zoo.measures import Batch
from nnmass.zoo.seeding import seeded
from nnmass.zoo.weights.images import FORMAT_OF
from nnmass.zoo.weights.preprocessing import Preprocessing

__all__ = ["FolderImages", "Images", "Noise", "images_of"]


class Images(Protocol):
    """A way to make a batch for a network; processes pass it on."""

    def __call__(self, input_size: tuple[int, ...], num_classes: int) -> Batch:
        """Make the batch, the same for each call.

        Args:
            input_size: Shape of one image, (channels, height, width) in px.
            num_classes: Labels lie below it.
        """


@dataclass(frozen=True)
class Noise:
    """Normally distributed values and random labels, for whoever has no images.

    Attributes:
        number: Images of a batch.
        seed: Decides values and labels.
    """

    number: int
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.number} images of noise with random labels, seed {self.seed}"

    def __call__(self, input_size: tuple[int, ...], num_classes: int) -> Batch:
        """Draw the batch."""
        with seeded(self.seed):
            return Batch(torch.randn(self.number, *input_size), torch.randint(num_classes, (self.number,)))


@dataclass(frozen=True)
class FolderImages:
    """Images of a folder that has a folder for each class; as many classes as there are images, if there are.

    Attributes:
        folder: The folder.
        number: Images of a batch.
        seed: Decides which are taken.
    """

    folder: Path
    number: int
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.number} images of {self.folder}, seed {self.seed}"

    def __call__(self, input_size: tuple[int, ...], num_classes: int) -> Batch:
        """Read the batch; whole images are resized to the network's size and normalised as for ImageNet.

        Raises:
            ValueError: If there are too few images, or images of more classes than the network has.
        """
        return _read(self, tuple(input_size), num_classes)


def images_of(folders: Sequence[Path], number: int, num_classes: int) -> Images:
    """Choose the folder of images for networks of some number of classes.

    Args:
        folders: Each holds a folder of images for each class.
        number: Images of a batch.
        num_classes: Of the networks.

    Returns:
        The folder of the most classes that the networks have outputs for; noise where there is none.
    """
    classes = {folder: sum(path.is_dir() for path in folder.iterdir()) for folder in folders}
    fitting = [folder for folder in folders if 1 <= classes[folder] <= num_classes]
    return FolderImages(max(fitting, key=classes.__getitem__), number) if fitting else Noise(number)


@lru_cache(maxsize=4)
def _read(images: FolderImages, input_size: tuple[int, ...], num_classes: int) -> Batch:
    classes = sorted(path for path in images.folder.iterdir() if path.is_dir())
    if not 1 <= len(classes) <= num_classes:
        rule = f"hold a folder of images for each class, {num_classes:,} at most"
        raise ValueError(f"Expected {images.folder} to {rule}, but it holds {len(classes):,} folders.")
    draw = Random(images.seed)
    by_class = [[path for path in sorted(folder.iterdir()) if path.suffix.lower() in FORMAT_OF] for folder in classes]
    # One image of each class before the second of any, the classes in random order.
    ranked = [
        (turn, draw.random(), path, label)
        for label, paths in enumerate(by_class)
        for turn, path in enumerate(draw.sample(paths, len(paths)))
    ]
    chosen = [(path, label) for *_, path, label in sorted(ranked)[: images.number]]
    if len(chosen) < images.number:
        raise ValueError(f"Expected {images.folder} to hold {images.number} images, but it holds {len(chosen)}.")
    channels, height, width = input_size
    prepare = Preprocessing(channels, (height, width), ImageNet.mean, ImageNet.std)
    return Batch(torch.stack([prepare(path) for path, _ in chosen]), torch.tensor([label for _, label in chosen]))
