"""Data modules of photographs of any size, decoded, cropped and resized by worker processes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from nnmass.datamodules.base import DataModule, require_at_least
from nnmass.datamodules.cores import reading_processes
from nnmass.datamodules.crops import random_resized_crop
from nnmass.datamodules.loader import WorkerLoader, mixed_seed
from nnmass.datamodules.photograph_augment import PhotographAugmentation, PhotographSteps
from nnmass.datamodules.sample import Stage
from nnmass.datamodules.sources import ImageSource
from nnmass.datamodules.transfer import Constants, to_device
from nnmass.zoo.weights.images import decoding
from nnmass.zoo.weights.preprocessing import Preprocessing, normalise

__all__ = ["PhotographDataModule", "Photographs"]


class PhotographDataModule(DataModule, ABC):
    """Photographs of any size.

    Training images are cropped at random (8 to 100 % of the area, aspect ratio 3/4 to 4/3), resized, mirrored and
    augmented; of others the centre is taken. Topology and MACs are those at the resolution of the test.

    Args:
        num_workers: Processes that decode, per training process; 0 decodes in the training process itself. By default
            its share of the cores: see :func:`datamodules.cores.reading_processes`.
        resolution: Side of the network's input in validation, test and prediction, in px.
        train_resolution: Side in training, in px; by default the same.
        test_crop: Side of the centre square that is taken where nothing is random, as a share of the short side.
        augmentation: What else happens to a training photograph, and to a training batch.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        resolution: int = 224,
        train_resolution: int | None = None,
        test_crop: float = 0.875,
        augmentation: PhotographAugmentation = PhotographAugmentation(),  # noqa: B008, frozen
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.photograph_augmentation = augmentation
        self.train_resolution = resolution if train_resolution is None else train_resolution
        require_at_least(8, resolution=resolution, train_resolution=self.train_resolution)
        if not 0 < test_crop <= 1:
            raise ValueError(f"Expected data.test_crop to lie above 0 and up to 1, but got {test_crop}.")
        self.test_crop = test_crop
        if num_workers is not None:
            require_at_least(0, num_workers=num_workers)
        self.num_workers, self.resolution = num_workers, resolution
        self._loaders: list[WorkerLoader] = []

    @property
    @abstractmethod
    def mean_and_std(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation of each channel, on the scale 0 to 1."""

    @property
    def input_size(self) -> tuple[int, ...]:
        """(channels, height, width) of the network's input, in px."""
        return (self.in_chans, self.resolution, self.resolution)

    @property
    def train_input_size(self) -> tuple[int, ...]:
        """(channels, height, width) of a training photograph, in px."""
        return (self.in_chans, self.train_resolution, self.train_resolution)

    @property
    def preprocessing(self) -> Preprocessing:
        """The centre crop of validation and test."""
        mean, std = self.mean_and_std
        return Preprocessing(self.in_chans, (self.resolution,) * 2, tuple(mean), tuple(std), crop=self.test_crop)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move bytes to the device, normalise them there, and mix those of a training batch, which has a seed."""
        images, labels, *seed = batch
        images, labels = to_device(images, device), to_device(labels, device)
        images = self.normalised(images) if images.dtype == torch.uint8 else images
        if not seed:
            return images, labels
        return self.photograph_augmentation.mix(images, labels, self.num_classes, *seed)

    def normalised(self, images: Tensor) -> Tensor:
        """Normalise bytes (N, C, H, W) where they are."""
        return normalise(images, *self._constants.on(images.device))

    def worker_loader(self, images: ImageSource, stage: Stage) -> WorkerLoader:
        """Batches of photographs, in random order and of random crops for the training.

        Args:
            images: The photographs.
            stage: What for.
        """
        augmentation, mean = self.photograph_augmentation, self.mean_and_std[0]
        steps = PhotographSteps(augmentation, mean, self.train_resolution) if stage == "train" else None
        photographs = Photographs(images, self.preprocessing, steps, self.seed)
        # CUDA alone has pinned memory, from which batches are copied without waiting for the GPU.
        pinned = self.device.type == "cuda"
        batches = self.batches(images.labels, torch.arange(len(images)), stage)
        batches.repeats = augmentation.repeats  # an evaluation has no drawn order
        mixes = augmentation.mixes and stage == "train"
        loader = WorkerLoader(photographs, batches, self.reading_processes(), pinned, with_seeds=mixes)
        self._loaders.append(loader)
        return loader

    def reading_processes(self) -> int:
        """Processes that decode for this one."""
        if self.num_workers is not None:
            return self.num_workers
        return reading_processes(self.trainer.num_devices if self.trainer else 1)

    def teardown(self, stage: str) -> None:
        """End the processes that read."""
        while self._loaders:
            self._loaders.pop().close()

    def on_exception(self, exception: BaseException) -> None:
        """End the processes that read."""
        self.teardown("exception")

    @cached_property
    def _constants(self) -> Constants:
        return Constants(self.mean_and_std)


class Photographs(Dataset):
    """Photographs as bytes of the network's size, one by one; what is random depends on seed, epoch and file alone.

    Args:
        images: The photographs.
        preparation: How a photograph becomes the network's input where nothing is random.
        steps: What happens to a training photograph after its random crop; None where nothing is random.
        seed: Decides the crop and the steps.
    """

    def __init__(
        self, images: ImageSource, preparation: Preprocessing, steps: PhotographSteps | None, seed: int
    ) -> None:
        self.images, self.preparation, self.steps, self.seed = images, preparation, steps, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        image, label = self.images[index], self.images.labels[index]
        if self.steps is None:
            return self.preparation.decode(image), label
        mode = "L" if self.preparation.channels == 1 else "RGB"
        with nullcontext() if isinstance(image, Image.Image) else decoding(image):
            crop = random_resized_crop(image, self.steps.resolution, mixed_seed(self.seed, epoch, index), mode)
        # Of the crop's own seed the steps would draw the numbers that have decided the crop.
        return self.steps(crop, mixed_seed(self.seed, epoch, index, 1)), label
