"""Seg and Circle: the synthetic two-class problems of the ICLR submission, drawn from a seed."""

import math
from typing import Any

import torch
from torch import Generator, Tensor

from nnmass.datamodules.base import InMemoryDataModule, Split, require_at_least
from nnmass.datamodules.facts import FACTS
from nnmass.datamodules.loader import mixed_seed

__all__ = ["Circle", "Seg"]

_SAMPLES = {"train": FACTS["Seg"].train_samples, "test": 12_000}


class Seg(InMemoryDataModule):
    """Points on a line that is cut into equal segments; neighbouring segments belong to different classes.

    Sample i of N lies in segment k = floor(S i / N), uniformly in [k/S, (k+1)/S); the feature is (x, x), the label is
    k mod 2. 60,000 samples to train on, 12,000 to test on.

    Args:
        segments: S, 20 and 30 in the paper.
        data_seed: Decides the points.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        ICLR 2021 submission, table 4 and appendix F.
    """

    num_classes = FACTS["Seg"].num_classes
    in_chans = FACTS["Seg"].in_chans

    def __init__(self, segments: int = 20, data_seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 2 <= segments <= _SAMPLES["test"]:
            raise ValueError(f"Expected data.segments to lie in 2 to {_SAMPLES['test']}, but got {segments}.")
        require_at_least(0, data_seed=data_seed)
        self.segments, self.data_seed = segments, data_seed

    @property
    def input_size(self) -> tuple[int, ...]:
        """Features of one sample."""
        return FACTS["Seg"].input_size

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Features (N, 2) as float32 and labels (N,) of one split."""
        samples = _SAMPLES[split]
        generator = Generator().manual_seed(mixed_seed(self.data_seed, split == "test"))
        segment = torch.arange(samples) * self.segments // samples
        position = (segment + torch.rand(samples, generator=generator, dtype=torch.float64)) / self.segments
        return self.features(position, generator).float(), segment % 2

    def features(self, position: Tensor, generator: Generator) -> Tensor:
        """Features (N, 2) of samples at these positions (N,) in [0, 1)."""
        return torch.stack([position, position], dim=1)


class Circle(Seg):
    """Points in a disc that is cut into rings of equal breadth; neighbouring rings belong to different classes.

    As in :class:`Seg`, but x is the radius; the angle is uniform and the feature is the Cartesian point.
    """

    def features(self, position: Tensor, generator: Generator) -> Tensor:
        """Cartesian points (N, 2) at these radii (N,) and uniform angles."""
        angle = 2 * math.pi * torch.rand(len(position), generator=generator, dtype=torch.float64)
        return torch.stack([position * angle.cos(), position * angle.sin()], dim=1)
