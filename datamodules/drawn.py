"""A few training samples, the same in every process, whatever else is drawn."""

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor

__all__ = ["first_samples"]

# Options of an augmentation that make one sample of several, or several of one.
_ALONE = {"mixup": 0.0, "cutmix": 0.0, "repeats": 1}


def first_samples(data: Any, count: int, seed: int, or_all: bool = False) -> tuple[Tensor, Tensor]:
    """Take the first samples that a seed would train on alone, augmented but not mixed.

    They depend on neither batch size, number of processes nor device, and leave no trace in the data module or in any
    random state.

    Args:
        data: A :class:`datamodules.DataModule` that has prepared its data.
        count: Samples, N.
        seed: Decides which, and their augmentation.
        or_all: Take all training samples where there are fewer.

    Returns:
        Inputs of the network (N, ...), of the size of the test, and labels (N,), both on the processor.

    Raises:
        ValueError: If there are not so many training samples, and not ``or_all``.
    """
    alone = copy.copy(data)
    alone.trainer, alone.seed, alone.batch_size = None, seed, count
    for name in ("augmentation", "photograph_augmentation"):
        steps = getattr(alone, name, None)
        if dataclasses.is_dataclass(steps) and not isinstance(steps, type):
            known = {field.name for field in dataclasses.fields(steps)}
            plain = {option: value for option, value in _ALONE.items() if option in known}
            setattr(alone, name, dataclasses.replace(steps, **plain))
    if hasattr(alone, "train_resolution"):  # photographs, which are read here rather than by processes
        alone.train_resolution, alone.num_workers, alone._loaders = alone.resolution, 0, []
    batches = alone.training_batches()
    if batches.sampler.num_samples < count and not or_all:
        known_as = f"the training samples of {type(data).__name__} ({batches.sampler.num_samples:,})"
        raise ValueError(f"Expected images to be at most {known_as}, but got {count:,}.")
    device = torch.device("cpu")
    images, labels = alone.transfer_batch_to_device(next(iter(batches)), device, 0)
    return images[:count], labels[:count]
