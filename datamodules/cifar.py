"""CIFAR-10 and CIFAR-100, from the official batches or from a tree of image folders."""

from typing import Any

from datamodules.augment import Augmentation
from datamodules.official import OfficialImages

__all__ = ["CIFAR10", "CIFAR100"]

# The papers' protocol: random crops and mirroring as usual, and cutout.
PAPERS = Augmentation(crop_padding=4, flip=True, cutout=16)


class CIFAR10(OfficialImages):
    """60,000 colour photographs of 32 x 32 px in ten classes: 50,000 to train on and 10,000 to test on.

    The official python batches (``cifar-10-batches-py``) are recognised, and ``train/CLASS/*.png`` beside
    ``test/CLASS/*.png`` (or jpg) in the folder itself or in ``cifar10`` below it.

    Source:
        Krizhevsky: "Learning multiple layers of features from tiny images", 2009.
    """

    num_classes = 10
    in_chans = 3
    image_size = (32, 32)
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    official = "CIFAR10"
    folder = "cifar-10-batches-py"
    tree = "cifar10"

    def __init__(self, augmentation: Augmentation = PAPERS, **kwargs: Any) -> None:
        super().__init__(augmentation=augmentation, **kwargs)


class CIFAR100(CIFAR10):
    """60,000 colour photographs of 32 x 32 px in a hundred classes; layouts and split as in :class:`CIFAR10`."""

    num_classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    official = "CIFAR100"
    folder = "cifar-100-python"
    tree = "cifar100"
