"""The base of all data modules of small images: what they are, how they are split, augmented and handed out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pytorch_lightning import LightningDataModule
from sklearn.model_selection import train_test_split
from torch import Generator, Tensor

from datamodules.augment import normalise, random_crop, random_cutout, random_flip
from datamodules.loader import ImageLoader, ShardedBatches

__all__ = ["ImageDataModule"]

Split = Literal["train", "test"]


class ImageDataModule(LightningDataModule, ABC):
    """Small labelled images, held in memory as bytes and augmented batch by batch on the training device.

    A validation set is split off the training set, stratified by class; the test set serves only for testing. A
    subclass says what its images are and loads them.

    Args:
        batch_size: Images per batch and process.
        val_size: Images of the training set that are kept for validation.
        split_seed: Decides which.
        crop_padding: Padding in px of a random crop in training; 0 for none.
        flip: Mirror half of the images in training.
        cutout: Side in px of a square that is cut out in training; 0 for none.
        seed: Decides the order and the augmentation of the training images.

    Attributes:
        num_classes: Classes.
        in_chans: Channels of an image.
        image_size: (height, width) in px.
        mean: Mean of each channel, on the scale 0 to 1.
        std: Standard deviation of each channel, on the scale 0 to 1.

    Raises:
        ValueError: If an argument is out of range.
    """

    num_classes: ClassVar[int]
    in_chans: ClassVar[int]
    image_size: ClassVar[tuple[int, int]]
    mean: ClassVar[Sequence[float]]
    std: ClassVar[Sequence[float]]

    def __init__(
        self,
        batch_size: int = 128,
        val_size: int = 5000,
        split_seed: int = 0,
        crop_padding: int = 0,
        flip: bool = False,
        cutout: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("val_size", val_size, self.num_classes),
            ("split_seed", split_seed, 0),
            ("crop_padding", crop_padding, 0),
            ("cutout", cutout, 0),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ValueError(f"Expected data.{name} to be at least {least}, but got {value}.")
        self.batch_size, self.val_size, self.split_seed, self.seed = batch_size, val_size, split_seed, seed
        self.crop_padding, self.flip, self.cutout = crop_padding, flip, cutout
        self._images: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image, in px."""
        return (self.in_chans, *self.image_size)

    @abstractmethod
    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) as uint8 and labels (N,) as int64 of one split."""

    def setup(self, stage: str) -> None:
        """Load what the stage needs and put it on the training device."""
        if stage in ("fit", "validate") and "train" not in self._images:
            images, labels = self._load_checked("train")
            train, val = self._split(labels)
            self._images["train"] = self._place(images[train], labels[train])
            self._images["val"] = self._place(images[val], labels[val])
        if stage in ("test", "predict") and "test" not in self._images:
            self._images["test"] = self._place(*self._load_checked("test"))

    def train_dataloader(self) -> ImageLoader:
        """Shuffled, augmented batches of the training set."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> ImageLoader:
        """The validation set, each image once."""
        return self._loader("val")

    def test_dataloader(self) -> ImageLoader:
        """The test set, each image once."""
        return self._loader("test")

    def predict_dataloader(self) -> ImageLoader:
        """The test set, each image once, in order."""
        return self._loader("test")

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> object:
        """Leave the batch where it is: the loader makes it on the training device."""
        return batch

    def augment(self, images: Tensor, generator: Generator) -> Tensor:
        """Crop, flip, normalise and cut out a batch of bytes (N, C, H, W), as the arguments say."""
        if self.crop_padding:
            images = random_crop(images, self.crop_padding, generator)
        if self.flip:
            images = random_flip(images, generator)
        images = normalise(images, self.mean, self.std)
        return random_cutout(images, self.cutout, generator) if self.cutout else images

    def _loader(self, split: str, shuffle: bool = False) -> ImageLoader:
        images, labels = self._images[split]
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = ShardedBatches(len(labels), self.batch_size, shuffle, self.seed, rank, world_size)
        plain = partial(_normalise_only, mean=self.mean, std=self.std)
        return ImageLoader(images, labels, sampler, self.augment if shuffle else plain)

    def _load_checked(self, split: Split) -> tuple[Tensor, Tensor]:
        images, labels = self.load(split)
        expected = (len(labels), *self.input_size)
        if tuple(images.shape) != expected or images.dtype != torch.uint8:
            raise ValueError(
                f"Expected the {split} images of {type(self).__name__} as uint8 of shape {expected}, "
                f"but got {images.dtype} of shape {tuple(images.shape)}."
            )
        return images, labels

    def _split(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.val_size > len(labels) - self.num_classes:
            raise ValueError(
                f"Expected data.val_size to leave images of every class for training ({len(labels)} in all), "
                f"but got {self.val_size}."
            )
        train, val = train_test_split(
            torch.arange(len(labels)).numpy(),
            test_size=self.val_size,
            stratify=labels.numpy(),
            random_state=self.split_seed,
        )
        return torch.from_numpy(train), torch.from_numpy(val)

    def _place(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return images.to(device), labels.to(device)


def _normalise_only(images: Tensor, _: Generator, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    return normalise(images, mean, std)
