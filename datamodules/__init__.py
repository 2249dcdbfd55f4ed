"""Data sets as Lightning data modules that hand out finished batches: augmented, normalised, on the device.

Importing the package is cheap: the data sets, and with them Lightning, are loaded when the first of them is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.augment import Augmentation
    from datamodules.base import DataModule, InMemoryDataModule
    from datamodules.cifar import CIFAR10, CIFAR100
    from datamodules.digits import Digits
    from datamodules.imagenet import ImageNet
    from datamodules.images import ImageDataModule
    from datamodules.mnist import MNIST, FashionMNIST
    from datamodules.synthetic import Circle, Seg

_HOME = {
    "Augmentation": "augment",
    "CIFAR10": "cifar",
    "CIFAR100": "cifar",
    "Circle": "synthetic",
    "DataModule": "base",
    "Digits": "digits",
    "FashionMNIST": "mnist",
    "ImageDataModule": "images",
    "ImageNet": "imagenet",
    "InMemoryDataModule": "base",
    "MNIST": "mnist",
    "Seg": "synthetic",
}

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "Augmentation",
    "Circle",
    "DataModule",
    "Digits",
    "FashionMNIST",
    "ImageDataModule",
    "ImageNet",
    "InMemoryDataModule",
    "Seg",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'datamodules' has no attribute {name!r}")
    # All of them: a configuration may name a data set by its class alone, which is found among those that are loaded.
    for one, home in _HOME.items():
        globals()[one] = getattr(import_module(f"datamodules.{home}"), one)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
