"""Data sets as Lightning data modules that hand out finished batches: cropped, flipped, cut out and normalised."""

from datamodules.base import ImageDataModule
from datamodules.cifar import CIFAR10
from datamodules.digits import Digits

__all__ = ["CIFAR10", "Digits", "ImageDataModule"]
