"""Batches by index: sharded over processes, drawn per batch, continued in the middle of an epoch."""

import hashlib
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from threading import Timer
from types import FrameType
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from nnmass.datamodules.sample import balanced_order, repeated_order
from nnmass.datamodules.transfer import to_device

__all__ = ["MemoryLoader", "ResumableLoader", "ShardedBatches", "WorkerLoader", "mixed_seed"]


_GRACE_S = 60  # that workers outlive a SIGTERM


class ShardedBatches:
    """Indices of the batches of one epoch, for one of several processes.

    The order depends on seed and epoch alone. Every process takes every ``world_size``-th sample of each global batch,
    so that no sample is repeated and none is left out. In training the processes must take the same number of steps: a
    last global batch of fewer samples than processes is joined to the one before.

    Args:
        num_samples: Samples in the data set.
        batch_size: Samples per batch and process.
        shuffle: Draw an order, a new one for each epoch, for training.
        seed: Decides the orders.
        rank: This process, from 0.
        world_size: Number of processes.

    Attributes:
        epoch: The epoch whose batches come next.
        order: (num_samples,), in place of the order of the samples, or of the drawn ones, in every epoch.
        classes: (num_samples,); with them an epoch draws all classes equally often, and as many samples as there are.
            The k-th repetition of sample i in an epoch is called k num_samples + i.
        repeats: Times that a sample of a drawn order comes in succession; the epoch ends after as many samples as ever.

    Example:
        >>> [batch.tolist() for batch in ShardedBatches(5, batch_size=2, shuffle=False)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.num_samples, self.batch_size, self.shuffle, self.seed = num_samples, batch_size, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.order: Tensor | None = None
        self.classes: Tensor | None = None
        self.repeats = 1
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.num_samples, self.batch_size * self.world_size)
        if self.shuffle:
            return whole + (rest >= self.world_size or (rest > 0 and not whole))
        return whole + (rest > self.rank)

    def __iter__(self) -> Iterator[Tensor]:
        return self.batches_from(0)

    def batches_from(self, first: int) -> Iterator[Tensor]:
        """The epoch's batches from the ``first`` on: an interrupted epoch passes over those that were used."""
        order, size, steps = self._order(), self.batch_size * self.world_size, len(self)
        for step in range(first, steps):
            last = self.shuffle and step == steps - 1
            yield order[step * size : None if last else (step + 1) * size][self.rank :: self.world_size]

    def _order(self) -> Tensor:
        if self.order is not None:
            return self.order
        if self.shuffle:
            generator = Generator().manual_seed(mixed_seed(self.seed, self.epoch))
            if self.classes is not None:
                order = balanced_order(self.classes, generator)
            else:
                order = torch.randperm(self.num_samples, generator=generator)
            return order if self.repeats == 1 else repeated_order(order, self.repeats)
        return torch.arange(self.num_samples)

    def seed_of(self, step: int) -> int:
        """Seed of what is random about this process's batch at a step of the epoch."""
        return mixed_seed(self.seed, self.epoch, self.rank, step)

    def seen(self, limit: int | float) -> int:
        """Samples that all processes together take of an evaluation, if each ends after part of its batches.

        Args:
            limit: That many batches of each process; a float is their share, rounded down.

        Example:
            >>> batches = ShardedBatches(21, batch_size=5, shuffle=False, world_size=2)
            >>> [batches.seen(limit) for limit in (1, 2, 3, 0.5, 1.0)]
            [10, 20, 21, 10, 21]
        """
        whole, rest = divmod(self.num_samples, self.batch_size * self.world_size)
        seen = 0
        for rank in range(self.world_size):
            last = len(range(rank, rest, self.world_size))  # samples in its last batch, if that is not a whole one
            batches = whole + (last > 0)
            taken = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
            seen += min(taken, whole) * self.batch_size + (taken > whole) * last
        return seen


class ResumableLoader(ABC):
    """A loader that knows how many batches of which epoch it has handed out, and can go on from there.

    Args:
        sampler: Chooses the batches.

    Attributes:
        waited_s: Seconds for which this epoch's batches were waited for.
    """

    # Lightning looks for a DataLoader's pair and calls the sampler's set_epoch.
    batch_sampler = None

    def __init__(self, sampler: ShardedBatches) -> None:
        self.sampler = sampler
        self._position: dict[str, int] | None = None
        self._handed_out = 0
        self.waited_s = 0.0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple]:
        position, self._position = self._position, None
        first = position["start"] if position and position["epoch"] == self.sampler.epoch else 0
        self._handed_out, self.waited_s = first, 0.0
        began = time.perf_counter()
        for step, batch in enumerate(self._make(first), start=first):
            self._handed_out = step + 1
            self.waited_s += time.perf_counter() - began
            yield batch
            began = time.perf_counter()

    @abstractmethod
    def _make(self, first: int) -> Iterator[tuple]:
        """The finished batches from the ``first`` on."""

    @property
    def position(self) -> dict[str, int]:
        """The epoch, and the index in it of the next batch; 0 at an epoch's end."""
        return {"epoch": self.sampler.epoch, "start": self._handed_out % len(self)}

    def go_to(self, position: dict[str, int]) -> None:
        """Begin with the batch at this position; another epoch than its begins at the first batch."""
        self.sampler.epoch, self._position = position["epoch"], position


class MemoryLoader(ResumableLoader):
    """Batches of samples that live on the training device: chosen by index, augmented together.

    The augmentation of a batch is a function of seed, epoch, process and step alone.

    Args:
        samples: (N, ...), on the device that the batches are wanted on.
        labels: (N,), int64, on the same device.
        chosen: (M,), indices of the samples that belong to this loader.
        sampler: Chooses the batches among the M.
        prepare: Maps samples, labels and a generator to what the network is given.
    """

    def __init__(
        self,
        samples: Tensor,
        labels: Tensor,
        chosen: Tensor,
        sampler: ShardedBatches,
        prepare: Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]],
    ) -> None:
        super().__init__(sampler)
        self.samples, self.labels, self.chosen, self.prepare = samples, labels, chosen, prepare

    def _make(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        device, sampler = self.samples.device, self.sampler
        generator = Generator(device)
        for step, positions in enumerate(sampler.batches_from(first), start=first):
            generator.manual_seed(sampler.seed_of(step))
            indices = to_device(self.chosen[positions % sampler.num_samples], device)
            yield self.prepare(self.samples.index_select(0, indices), self.labels.index_select(0, indices), generator)


class WorkerLoader(ResumableLoader):
    """Batches that worker processes read, one sample per call of ``dataset[epoch, index]``.

    Args:
        dataset: Gives one sample and its label for (epoch, index).
        sampler: Chooses the batches.
        num_workers: Processes that read; 0 reads in this one.
        pin_memory: Hand the batches out in memory from which a GPU takes them over without being waited for. This
            starts CUDA.
        with_seeds: Hand a seed out as the third part of each batch, for what is random about the batch as a whole.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: ShardedBatches,
        num_workers: int,
        pin_memory: bool = False,
        with_seeds: bool = False,
    ) -> None:
        super().__init__(sampler)
        self._with_seeds = with_seeds
        self._keys = _Keys(sampler)
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._keys,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            worker_init_fn=_outlast_signals,
            # A DataLoader without a generator of its own draws from the global one in each epoch.
            generator=Generator().manual_seed(sampler.seed),
        )

    def _make(self, first: int) -> Iterator[tuple]:
        self._keys.first = first
        batches = iter(self._loader)
        if not self._with_seeds:
            return batches
        return ((*batch, self.sampler.seed_of(step)) for step, batch in enumerate(batches, start=first))

    def close(self) -> None:
        """End the worker processes; they would else live as long as anything refers to the loader."""
        iterator: Any = self._loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()  # as Lightning does with a DataLoader
            self._loader._iterator = None


def _outlast_signals(worker: int) -> None:
    """Ignore the signals that a cluster sends to every process of a job; the training process decides on them."""
    for name in ("SIGINT", "SIGUSR1"):  # Ctrl-C too reaches every process
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: FrameType | None) -> None:
    """Delay the end of a worker, so that the training process, which may have been signalled too, has time to save."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = Timer(_GRACE_S, os._exit, (0,))
    end.daemon = True
    end.start()


class _Keys:
    """The (epoch, index) pairs of each batch: a worker process learns the epoch from its keys."""

    def __init__(self, sampler: ShardedBatches) -> None:
        self.sampler = sampler
        self.first = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, number = self.sampler.epoch, self.sampler.num_samples
        # A repetition is drawn as if in an epoch that never comes, so that its augmentation is another.
        return (
            [(epoch + (index // number << 32), index % number) for index in batch.tolist()]
            for batch in self.sampler.batches_from(self.first)
        )


def mixed_seed(*parts: int) -> int:
    """Mix several integers into one seed; two different rows of them give unrelated seeds.

    Example:
        >>> mixed_seed(1, 2) == mixed_seed(1, 2), mixed_seed(1, 2) == mixed_seed(1, 2, 0)
        (True, False)
    """
    digest = hashlib.sha256(repr([int(part) for part in parts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
