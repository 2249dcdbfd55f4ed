"""Sources of labelled images: files, and whatever else gives one image after the other."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nnmass.datamodules.cache import fingerprint

__all__ = ["ChosenImages", "ImageFilesOfClasses", "ImageSource"]


class ImageSource(ABC):
    """Labelled images, each opened when it is asked for, also in other processes.

    Attributes:
        labels: (N,), int64.
    """

    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def __getitem__(self, index: int) -> Path | Image.Image:
        """The file of an image, or the image in memory."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Text that changes whenever an image does."""


class ImageFilesOfClasses(ImageSource):
    """Image files with labels.

    Args:
        folder: Where they lie.
        names: Their paths, relative to it.
        labels: As many, from 0.
    """

    def __init__(self, folder: Path, names: Sequence[str], labels: Sequence[int] | Tensor) -> None:
        self.folder = folder
        # One array of bytes, of which processes that are forked need no copies.
        self._names = np.array([os.fsencode(name) for name in names])
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def __getitem__(self, index: int) -> Path:
        return self.folder / os.fsdecode(self._names[index])

    def fingerprint(self) -> str:
        """Fingerprint of the files by path, size and times of change."""
        return fingerprint(map(self.__getitem__, range(len(self))))


class ChosenImages(ImageSource):
    """Some of the images of a source.

    Args:
        source: The source.
        chosen: (N,), which of its images.
    """

    def __init__(self, source: ImageSource, chosen: Tensor) -> None:
        self.source, self.chosen = source, chosen
        self.labels = source.labels[chosen]

    def __getitem__(self, index: int) -> Path | Image.Image:
        return self.source[int(self.chosen[index])]

    def fingerprint(self) -> str:
        """Fingerprint of the whole source and of the choice."""
        content = self.source.fingerprint().encode() + self.chosen.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:16]
