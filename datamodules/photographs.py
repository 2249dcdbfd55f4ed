"""Data modules of photographs of any size, decoded, cropped and resized by worker processes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nnmass.datamodules.base import DataModule, require_at_least
from nnmass.datamodules.cores import reading_processes
from nnmass.datamodules.crops import random_resized_crop
from nnmass.datamodules.loader import WorkerLoader, mixed_seed
from nnmass.datamodules.sample import Stage
from nnmass.datamodules.sources import ImageSource
from nnmass.datamodules.transfer import Constants, to_device
from nnmass.zoo.weights.images import decoding
from nnmass.zoo.weights.preprocessing import Preprocessing, normalise

__all__ = ["PhotographDataModule", "Photographs"]


class PhotographDataModule(DataModule, ABC):
    """Photographs of any size.

    Training images are cropped at random (8 to 100 % of the area, aspect ratio 3/4 to 4/3), resized and mirrored;
    others are resized so that the centre crop takes 87.5 % of the short side.

    Args:
        num_workers: Processes that decode, per training process; 0 decodes in the training process itself. By default
            its share of the cores: see :func:`datamodules.cores.reading_processes`.
        resolution: Side of the network's input, in px.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, num_workers: int | None = None, resolution: int = 224, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require_at_least(8, resolution=resolution)
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
    def preprocessing(self) -> Preprocessing:
        """The centre crop of 87.5 % of the short side, as in validation and test."""
        mean, std = self.mean_and_std
        return Preprocessing(self.in_chans, (self.resolution,) * 2, tuple(mean), tuple(std), crop=0.875)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move bytes to the device and normalise them there."""
        images, labels = (to_device(tensor, device) for tensor in batch)
        return self.normalised(images) if images.dtype == torch.uint8 else images, labels

    def normalised(self, images: Tensor) -> Tensor:
        """Normalise bytes (N, C, H, W) where they are."""
        return normalise(images, *self._constants.on(images.device))

    def worker_loader(self, images: ImageSource, stage: Stage) -> WorkerLoader:
        """Batches of photographs, in random order and of random crops for the training.

        Args:
            images: The photographs.
            stage: What for.
        """
        photographs = Photographs(images, self.preprocessing, stage == "train", self.seed)
        # CUDA alone has pinned memory, from which batches are copied without waiting for the GPU.
        pinned = self.device.type == "cuda"
        batches = self.batches(images.labels, torch.arange(len(images)), stage)
        loader = WorkerLoader(photographs, batches, self.reading_processes(), pinned)
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
    """Photographs as bytes of the network's size, one by one; random crops depend on seed, epoch and file alone.

    Args:
        images: The photographs.
        preparation: How a photograph becomes the network's input where nothing is random.
        training: Give random crops.
        seed: Decides them.
    """

    def __init__(self, images: ImageSource, preparation: Preprocessing, training: bool, seed: int) -> None:
        self.images, self.preparation, self.training, self.seed = images, preparation, training, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        image, label = self.images[index], self.images.labels[index]
        if not self.training:
            return self.preparation.decode(image), label
        side, channels = self.preparation.size[0], self.preparation.channels
        with decoding(image):
            crop = random_resized_crop(
                image, side, mixed_seed(self.seed, epoch, index), "L" if channels == 1 else "RGB"
            )
        return torch.from_numpy(np.array(crop).reshape(side, side, channels)).permute(2, 0, 1), label
