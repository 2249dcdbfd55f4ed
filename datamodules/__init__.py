"""Data sets as Lightning data modules that hand out finished batches: augmented, normalised, on the device."""

from datamodules.augment import Augmentation
from datamodules.base import DataModule, InMemoryDataModule
from datamodules.cifar import CIFAR10, CIFAR100
from datamodules.digits import Digits
from datamodules.imagenet import ImageNet
from datamodules.images import ImageDataModule
from datamodules.mnist import MNIST, FashionMNIST
from datamodules.synthetic import Circle, Seg

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
