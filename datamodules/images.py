"""Data modules of small images, held as bytes on the training device and augmented batch by batch."""

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from nnmass.datamodules.augment import Augmentation
from nnmass.datamodules.base import InMemoryDataModule, Split
from nnmass.datamodules.transfer import Constants, to_device
from nnmass.zoo.weights.preprocessing import Preprocessing, normalise

__all__ = ["ImageDataModule"]


class ImageDataModule(InMemoryDataModule, ABC):
    """Small labelled images as bytes. A subclass says what they are, in class attributes, and loads them.

    Args:
        augmentation: What happens to a training batch.
        standardise: Give pixels zero mean and unit variance; without, they lie in [0, 1].

    Attributes:
        num_classes: Classes.
        in_chans: Channels of an image.
        image_size: (height, width) in px.
        mean: Mean of each channel, on the scale 0 to 1.
        std: Standard deviation of each channel, on the scale 0 to 1.
    """

    image_size: tuple[int, int]
    mean: ClassVar[Sequence[float]]
    std: ClassVar[Sequence[float]]

    def __init__(
        self,
        augmentation: Augmentation = Augmentation(),  # noqa: B008, frozen
        standardise: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.augmentation = augmentation
        channels = self.in_chans
        self._mean_and_std = Constants((self.mean, self.std) if standardise else ([0.0] * channels, [1.0] * channels))

    @property
    def input_size(self) -> tuple[int, ...]:
        """(channels, height, width) of one image, in px."""
        return (self.in_chans, *self.image_size)

    @property
    def preprocessing(self) -> Preprocessing | None:
        """Whole images, grey where the data are, resized to their size; None for channels that no file has."""
        if self.in_chans not in (1, 3):
            return None
        mean, std = self._mean_and_std.rows
        return Preprocessing(self.in_chans, self.image_size, tuple(map(float, mean)), tuple(map(float, std)))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Normalise image files on the device; the loader of the data set itself makes its batches there."""
        samples, targets = batch
        return batch if samples.dtype != torch.uint8 else (self.prepare_eval(to_device(samples, device)), targets)

    def prepare_train(self, samples: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Augment and normalise a batch of bytes (N, C, H, W)."""
        mean, std = self._mean_and_std.on(samples.device)
        return self.augmentation(samples, labels, generator, mean, std, self.num_classes)

    def prepare_eval(self, samples: Tensor) -> Tensor:
        """Normalise a batch of bytes (N, C, H, W)."""
        return normalise(samples, *self._mean_and_std.on(samples.device))

    def load_checked(self, split: Split) -> tuple[Tensor, Tensor]:
        """Load a split, and refuse what is not uint8 images of the data set's size."""
        images, labels = self.load(split)
        expected = (len(labels), *self.input_size)
        if tuple(images.shape) != expected or images.dtype != torch.uint8:
            raise ValueError(
                f"Expected as many {split} images of {type(self).__name__} as labels, uint8 of shape {expected}, "
                f"but got {images.dtype} of shape {tuple(images.shape)}."
            )
        lowest, highest = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
        if labels.dtype != torch.int64 or lowest < 0 or highest >= self.num_classes:
            raise ValueError(
                f"Expected the {split} labels of {type(self).__name__} to be int64 from 0 to {self.num_classes - 1}, "
                f"but got {labels.dtype} from {lowest} to {highest}."
            )
        return images, labels
