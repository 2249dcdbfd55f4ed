"""Labelled images of the user's own: base class that finds classes, parts, mean and standard deviation."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from nnmass.datamodules.augment import Augmentation
from nnmass.datamodules.base import require_at_least
from nnmass.datamodules.division import Part, Split, divided
from nnmass.datamodules.loader import MemoryLoader, ResumableLoader
from nnmass.datamodules.official import data_folder
from nnmass.datamodules.own_augment import OwnAugmentation
from nnmass.datamodules.photograph_augment import PhotographAugmentation
from nnmass.datamodules.photographs import PhotographDataModule
from nnmass.datamodules.pixels import decoded, mean_and_std
from nnmass.datamodules.sample import Stage
from nnmass.datamodules.sources import ChosenImages, ImageSource
from nnmass.zoo.weights.preprocessing import Preprocessing

__all__ = ["Found", "LabelledImages", "classes_that_occur", "in_order"]


class Found(NamedTuple):
    """A data set as it is found.

    Attributes:
        name: For messages.
        classes: Names of the classes, in the order of the labels.
        sources: ``train``, perhaps ``val`` and ``test``.
    """

    name: str
    classes: list[str]
    sources: Mapping[str, ImageSource]


class LabelledImages(PhotographDataModule, ABC):
    """Labelled images of which the data themselves say how many classes there are.

    Photographs of any size are read by worker processes, cropped at random in the training. Small images are held in
    memory and augmented on the training device with ``in_memory``.

    Args:
        data_dir: Folder that holds the data; by default the environment variable ``NNMASS_DATA``, else ``data``.
        val_size: Images for validation where the data have none, as a number or as a share; by default a tenth.
        test_size: Images for the test where the data have none, likewise.
        in_memory: Resize whole images to ``resolution`` and hold them in memory.
        grey: Read the images as grey.
        augmentation: What else happens to training images.
        mean: Mean of each channel, on the scale 0 to 1; by default measured over the training images.
        std: Standard deviation of each channel, likewise.

    Attributes:
        found: Classes and images.

    Raises:
        ValueError: If an argument is out of range, or the data are not as they must be.
        FileNotFoundError: If there are none.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        val_size: int | float | None = None,
        test_size: int | float | None = None,
        in_memory: bool = False,
        grey: bool = False,
        augmentation: OwnAugmentation = OwnAugmentation(),  # noqa: B008, frozen
        mean: list[float] | None = None,
        std: list[float] | None = None,
        **kwargs: Any,
    ) -> None:
        where, photographs, small = f"data.in_memory {str(in_memory).lower()}", PhotographAugmentation(), Augmentation()
        if in_memory:
            small = augmentation.of(Augmentation, where)
        else:
            photographs = augmentation.of(PhotographAugmentation, where)
        super().__init__(val_size=None, augmentation=photographs, **kwargs)
        for name, size in (("val_size", val_size), ("test_size", test_size)):
            if size is not None and not isinstance(size, float):
                require_at_least(1, **{name: size})
        self.in_chans = 1 if grey else 3
        for name, values in (("mean", mean), ("std", std)):
            if (mean is None) != (std is None) or (values is not None and len(values) != self.in_chans):
                rule = f"be {self.in_chans} numbers, and mean and std to be given together"
                raise ValueError(f"Expected data.{name} to {rule}, but got {values}.")
        self.data_dir = data_folder(data_dir)
        for name, usual in (("train_resolution", self.resolution), ("test_crop", 0.875)):
            if in_memory and getattr(self, name) != usual:
                raise ValueError(f"Expected no data.{name} with {where}, but got {getattr(self, name)}.")
        self.split_sizes = Split(val_size, test_size, self.val_on_test, self.split_seed)
        self.in_memory, self.augmentation = in_memory, small
        self._given = None if mean is None or std is None else (tuple(mean), tuple(std))
        self.found = self.find()
        self.num_classes = len(self.found.classes)
        require_every_class(self.found)
        self._samples: dict[tuple[str, torch.device], tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def find(self) -> Found:
        """Find classes and images; no image is opened.

        Raises:
            ValueError: If the data are not as they must be.
            FileNotFoundError: If there are none.
        """

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, as the data have them."""
        return self.found.classes

    @property
    def mean_and_std(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation, as given or over the training images, measured when first asked for."""
        return self._given or self._measured

    @property
    def preprocessing(self) -> Preprocessing:
        """The centre crop of photographs, as in validation and test; images in memory are resized as a whole."""
        mean, std = self.mean_and_std
        return self._preparation(tuple(mean), tuple(std))

    @cached_property
    def parts(self) -> dict[str, Part]:
        """Images for training, validation and test: of which source, and which of it."""
        labels = {name: source.labels for name, source in self.found.sources.items()}
        return divided(labels, self.split_sizes, self.found.classes, self.found.name)

    def prepare_data(self) -> None:
        """Divide, decode and measure once, in one process of each machine: what is wrong shows before all else."""
        for part in self.parts.values():
            if self.in_memory:
                self._in_memory(part.source)
        _ = self.mean_and_std

    def training_labels(self) -> Tensor:
        """Labels (N,) of the images that are trained on."""
        return self._images("train").labels

    def training_batches(self) -> ResumableLoader:
        """Shuffled, augmented batches of the training set."""
        return self._loader("train", "train")

    def val_dataloader(self) -> ResumableLoader:
        """The validation set, each image once."""
        return self._loader("val", "val")

    def test_dataloader(self) -> ResumableLoader:
        """The test set, each image once."""
        return self._loader("test", "test")

    def _loader(self, name: str, stage: Stage) -> ResumableLoader:
        if not self.in_memory:
            return self.worker_loader(self._images(name), stage)
        part = self.parts[name]
        images, labels = self._on_device(part.source)
        batches = self.batches(labels, part.chosen, stage)
        return MemoryLoader(images, labels, part.chosen, batches, self._augmented if stage == "train" else self._plain)

    def _augmented(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        mean, std = self._constants.on(images.device)
        return self.augmentation(images, labels, generator, mean, std, self.num_classes)

    def _plain(self, images: Tensor, labels: Tensor, _: Generator) -> tuple[Tensor, Tensor]:
        return self.normalised(images), labels

    def _images(self, name: str) -> ChosenImages:
        part = self.parts[name]
        return ChosenImages(self.found.sources[part.source], part.chosen)

    def _in_memory(self, source: str) -> Tensor:
        """All images of a source, memory-mapped where they are kept."""
        return decoded(self.found.sources[source], self._preparation(), self.data_dir / ".cache")

    def _on_device(self, source: str) -> tuple[Tensor, Tensor]:
        key = source, self.device
        if key not in self._samples:
            labels = self.found.sources[source].labels
            self._samples[key] = self._in_memory(source).to(self.device), labels.to(self.device)
        return self._samples[key]

    @cached_property
    def _measured(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        cache, name = self.data_dir / ".cache", self.found.name
        return mean_and_std(self._images("train"), self._preparation(), cache, self.reading_processes(), name)

    def _preparation(self, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> Preprocessing:
        """Preparation of an image; without mean and standard deviation, all but its normalisation."""
        channels, size = self.in_chans, (self.resolution, self.resolution)
        crop = None if self.in_memory else self.test_crop
        return Preprocessing(channels, size, mean or (0.0,) * channels, std or (1.0,) * channels, crop)


def require_every_class(found: Found) -> None:
    """Refuse data of one class, and parts that lack a class.

    Args:
        found: The data.

    Raises:
        ValueError: It names what is missing.
    """
    if len(found.classes) < 2:
        raise ValueError(
            f"Expected at least two classes in {found.name}, but got {', '.join(found.classes) or 'none'}."
        )
    for part, source in found.sources.items():
        counts = source.labels.bincount(minlength=len(found.classes))
        missing = [name for name, count in zip(found.classes, counts.tolist(), strict=True) if not count]
        if missing:
            more = f" and {len(missing) - 5:,} others" if len(missing) > 5 else ""
            raise ValueError(
                f"Expected images of every class in each part of {found.name}, but the {part} set lacks "
                f"{', '.join(missing[:5])}{more}."
            )


def classes_that_occur(sources: Mapping[str, ImageSource], names: Sequence[str]) -> list[str]:
    """Number the labels of some sources anew, so that each class has samples.

    Args:
        sources: The sources, whose labels are replaced.
        names: What the labels are called; their numbers, where they have no names.

    Returns:
        Names of the classes that occur.
    """
    occurring = torch.cat([source.labels for source in sources.values()]).unique()
    for source in sources.values():
        source.labels = torch.searchsorted(occurring, source.labels)
    return [names[label] if 0 <= label < len(names) else str(label) for label in occurring.tolist()]


def in_order(labels: set[str]) -> list[str]:
    """Labels in order, by their value where all are whole numbers.

    Example:
        >>> in_order({"10", "9"}), in_order({"10", "9", "b"}), in_order({"1", "01", "-2"})
        (['9', '10'], ['10', '9', 'b'], ['-2', '01', '1'])
    """
    numbers = all(re.fullmatch(r"[+-]?\d+", label) for label in labels)
    # Texts decide between equal numbers such as 1 and 01, or the order would be another in each process.
    return sorted(labels, key=(lambda label: (int(label), label)) if numbers else None)
