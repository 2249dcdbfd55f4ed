"""ImageNet: photographs in a thousand class folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from nnmass.datamodules.listing import files_of_classes, names_of_classes, say_left_out
from nnmass.datamodules.loader import WorkerLoader
from nnmass.datamodules.official import data_folder
from nnmass.datamodules.photographs import PhotographDataModule
from nnmass.datamodules.sources import ChosenImages, ImageFilesOfClasses, ImageSource

__all__ = ["ImageNet"]


class ImageNet(PhotographDataModule):
    """Photographs in ``train/CLASS/*`` and ``val/CLASS/*``, in the folder itself or in ``imagenet`` below it.

    ``val`` serves as the test set, since the labels of ImageNet's own test set are not public; the validation set is
    split off ``train``.

    Args:
        data_dir: Folder that holds the data; by default the environment variable ``NNMASS_DATA``, else ``data``.
        val_size: Photographs of ``train`` that are kept for validation.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Russakovsky et al.: "ImageNet large scale visual recognition challenge", 2015.
    """

    num_classes = 1000
    in_chans = 3
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(self, data_dir: str | None = None, val_size: int | None = 10_000, **kwargs: Any) -> None:
        super().__init__(val_size=val_size, **kwargs)
        self.data_dir = data_folder(data_dir)
        self._files: dict[str, ImageFilesOfClasses] = {}

    @property
    def mean_and_std(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation of each channel, on the scale 0 to 1."""
        return self.mean, self.std

    @property
    def class_names(self) -> list[str]:
        """Names of the class folders; without them WordNet's numbers, or plain ones for other than 1,000 classes."""
        try:
            folder = self._folder()
        except FileNotFoundError:
            pass
        else:
            return names_of_classes(folder / "train", folder / "val", self.num_classes)
        from timm.data import ImageNetInfo  # which takes a second to load

        info = ImageNetInfo()
        names = [info.index_to_label_name(label) for label in range(info.num_classes())]
        return names if len(names) == self.num_classes else super().class_names

    def prepare_data(self) -> None:
        """List the files, in one process of each machine, and say what is wrong with them."""
        self._files = {}
        names_of_classes(self._folder() / "train", self._folder() / "val", self.num_classes)
        for split in ("train", "val"):
            say_left_out(self._folder() / split, self._listed(split))
        if not self.val_on_test:
            self.split(self._images("train").labels)

    def training_labels(self) -> Tensor:
        """Labels (N,) of the photographs that are trained on."""
        return self._training_images().labels

    def training_batches(self) -> WorkerLoader:
        """Shuffled batches of random crops."""
        return self.worker_loader(self._training_images(), "train")

    def val_dataloader(self) -> WorkerLoader:
        """Centre crops of the validation photographs, each once."""
        if self.val_on_test:
            return self.worker_loader(self._images("val"), "val")
        images = self._images("train")
        return self.worker_loader(ChosenImages(images, self.split(images.labels)[1]), "val")

    def test_dataloader(self) -> WorkerLoader:
        """Centre crops of the photographs in ``val``, each once."""
        return self.worker_loader(self._images("val"), "test")

    def _training_images(self) -> ImageSource:
        images = self._images("train")
        return images if self.val_on_test else ChosenImages(images, self.split(images.labels)[0])

    def _images(self, split: str) -> ImageFilesOfClasses:
        """The photographs of a split, as they were when first asked for."""
        if split not in self._files:
            self._listed(split)
        return self._files[split]

    def _listed(self, split: str) -> list[str]:
        """List a split's files, and give what else is there."""
        folder = self._folder() / split
        names, labels, others = files_of_classes(folder, self.num_classes)
        self._files[split] = ImageFilesOfClasses(folder, names, labels)
        return others

    def _folder(self) -> Path:
        for folder in (self.data_dir / "imagenet", self.data_dir):
            there = [split for split in ("train", "val") if (folder / split).is_dir()]
            if len(there) == 2:
                return folder
            if there:
                raise FileNotFoundError(f"Expected train/ and val/ in {folder}, but got only {there[0]}/.")
        raise FileNotFoundError(
            f"Expected ImageNet in data.data_dir ({self.data_dir.absolute()}), but found no train/ and val/ there or "
            "in imagenet/ below it; name the folder with --data.data_dir or NNMASS_DATA."
        )
