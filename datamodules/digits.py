"""Handwritten digits that ship inside scikit-learn: real images without a download."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from nnmass.datamodules.base import Split
from nnmass.datamodules.facts import FACTS
from nnmass.datamodules.images import ImageDataModule

__all__ = ["Digits"]


class Digits(ImageDataModule):
    """1,797 handwritten digits of 8 x 8 px: 1,437 to train on and 360 to test on, the same ones always.

    Source:
        Alpaydin, Kaynak: "Optical recognition of handwritten digits", UCI machine learning repository, 1998.
    """

    num_classes = FACTS["Digits"].num_classes
    in_chans = FACTS["Digits"].in_chans
    image_size = FACTS["Digits"].image_size
    mean = (0.3053,)
    std = (0.3760,)

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Images (N, 1, 8, 8) as uint8 and labels (N,) of one split."""
        bunch = load_digits()
        images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(bunch.target).long()
        chosen = train_test_split(range(len(labels)), test_size=360, stratify=bunch.target, random_state=0)
        indices = torch.tensor(chosen[0 if split == "train" else 1])
        return images[indices], labels[indices]
