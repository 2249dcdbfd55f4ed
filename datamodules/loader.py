"""Batches of images that live as bytes in memory: chosen by index, augmented together, on the device."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["ImageLoader", "ShardedBatches"]


class ShardedBatches:
    """Indices of the batches of one epoch, for one of several processes.

    The order depends on seed and epoch alone. Every process takes every ``world_size``-th sample of each global batch,
    so that no sample is repeated and none is left out.

    Args:
        num_samples: Samples in the data set.
        batch_size: Samples per batch and process.
        shuffle: Draw a new order each epoch, and keep all processes at the same number of steps.
        seed: Decides the orders.
        rank: This process, from 0.
        world_size: Number of processes.

    Example:
        >>> [batch.tolist() for batch in ShardedBatches(5, batch_size=2, shuffle=False)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, num_samples: int, batch_size: int, shuffle: bool, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_samples, self.batch_size, self.shuffle, self.seed = num_samples, batch_size, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.num_samples, self.batch_size * self.world_size)
        # Processes that train together must take the same number of steps; those that evaluate need not.
        return whole + (rest >= self.world_size if self.shuffle else rest > self.rank)

    def __iter__(self) -> Iterator[Tensor]:
        if self.shuffle:
            generator = Generator().manual_seed(mixed_seed(self.seed, self.epoch))
            order = torch.randperm(self.num_samples, generator=generator)
        else:
            order = torch.arange(self.num_samples)
        for batch in order.split(self.batch_size * self.world_size)[: len(self)]:
            yield batch[self.rank :: self.world_size]


class ImageLoader:
    """Iterates over the batches (images, labels) of an epoch, ready for the network.

    The augmentation of a batch is a function of seed, epoch, process and step alone: it is the same after a resume.

    Args:
        images: (N, C, H, W), uint8, on the device that the batches are wanted on.
        labels: (N,), int64, on the same device.
        sampler: Chooses the indices of each batch.
        transform: Maps a batch of bytes and a generator to the network's input.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, sampler: ShardedBatches, transform: Callable[[Tensor, Generator], Tensor]
    ) -> None:
        self.images, self.labels, self.sampler, self.transform = images, labels, sampler, transform
        self.batch_sampler = None  # Lightning expects a DataLoader's pair: it calls the sampler's set_epoch

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        sampler = self.sampler
        generator = Generator(self.images.device)
        for step, indices in enumerate(sampler):
            generator.manual_seed(mixed_seed(sampler.seed, sampler.epoch, sampler.rank, step))
            indices = indices.to(self.images.device, non_blocking=True)
            images = self.images.index_select(0, indices)
            yield self.transform(images, generator), self.labels.index_select(0, indices)


def mixed_seed(*parts: int) -> int:
    """One seed out of several integers; any two different rows of parts give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
