"""ImageNet: photographs of any size in class folders, decoded, cropped and resized by worker processes."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.utils.data import Dataset

from nnmass.datamodules.base import DataModule, require_at_least
from nnmass.datamodules.cores import reading_processes
from nnmass.datamodules.listing import files_of_classes, names_of_classes, say_left_out
from nnmass.datamodules.loader import WorkerLoader, mixed_seed
from nnmass.datamodules.official import data_folder
from nnmass.datamodules.sample import Stage
from nnmass.datamodules.transfer import Constants, to_device
from nnmass.zoo.weights.images import decoding, open_image, open_photograph
from nnmass.zoo.weights.preprocessing import Preprocessing, normalise

__all__ = ["ImageNet", "random_resized_crop"]


class ImageNet(DataModule):
    """Photographs in ``train/CLASS/*`` and ``val/CLASS/*``, in the folder itself or in ``imagenet`` below it.

    Training images are cropped at random (8 to 100 % of the area, aspect ratio 3/4 to 4/3), resized and mirrored;
    others are resized so that the centre crop takes 87.5 % of the short side. ``val`` serves as the test set, since the
    labels of ImageNet's own test set are not public; the validation set is split off ``train``.

    Args:
        data_dir: Folder that holds the data; by default the environment variable ``NNMASS_DATA``, else ``data``.
        num_workers: Processes that decode, per training process; 0 decodes in the training process itself. By default
            its share of the cores: see :func:`datamodules.cores.reading_processes`.
        resolution: Side of the network's input, in px.
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

    def __init__(
        self,
        data_dir: str | None = None,
        num_workers: int | None = None,
        resolution: int = 224,
        val_size: int | None = 10_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(val_size=val_size, **kwargs)
        require_at_least(8, resolution=resolution)
        if num_workers is not None:
            require_at_least(0, num_workers=num_workers)
        self.data_dir = data_folder(data_dir)
        self.num_workers = num_workers
        self.resolution = resolution
        self._mean_and_std = Constants((self.mean, self.std))
        self._loaders: list[WorkerLoader] = []
        self._files: dict[str, tuple[np.ndarray, Tensor]] = {}

    @property
    def input_size(self) -> tuple[int, ...]:
        """(channels, height, width) of the network's input, in px."""
        return (self.in_chans, self.resolution, self.resolution)

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

    @property
    def preprocessing(self) -> Preprocessing:
        """The centre crop of 87.5 % of the short side, as in validation and test."""
        return Preprocessing(self.in_chans, (self.resolution,) * 2, self.mean, self.std, crop=0.875)

    def prepare_data(self) -> None:
        """List the files, in one process of each machine, and say what is wrong with them."""
        self._files = {}
        names_of_classes(self._folder() / "train", self._folder() / "val", self.num_classes)
        for split in ("train", "val"):
            say_left_out(self._folder() / split, self._listed(split))
        if not self.val_on_test:
            self.split(self._index("train")[1])

    def training_labels(self) -> Tensor:
        """Labels (N,) of the photographs that are trained on."""
        labels = self._index("train")[1]
        return labels if self.val_on_test else labels[self.split(labels)[0]]

    def training_batches(self) -> WorkerLoader:
        """Shuffled batches of random crops."""
        labels = self._index("train")[1]
        return self._loader("train", "train", None if self.val_on_test else self.split(labels)[0])

    def val_dataloader(self) -> WorkerLoader:
        """Centre crops of the validation photographs, each once."""
        if self.val_on_test:
            return self._loader("val", "val")
        return self._loader("train", "val", self.split(self._index("train")[1])[1])

    def test_dataloader(self) -> WorkerLoader:
        """Centre crops of the photographs in ``val``, each once."""
        return self._loader("val", "test")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the bytes to the device and normalise them there."""
        images, labels = (to_device(tensor, device) for tensor in batch)
        return normalise(images, *self._mean_and_std.on(images.device)), labels

    def _loader(self, split: str, stage: Stage, chosen: Tensor | None = None) -> WorkerLoader:
        paths, labels = self._index(split)
        if chosen is not None:
            paths, labels = paths[chosen.numpy()], labels[chosen]
        folder = self._folder() / split
        photographs = Photographs(folder, paths, labels, self.preprocessing, stage == "train", self.seed)
        num_workers = self.num_workers
        if num_workers is None:
            num_workers = reading_processes(self.trainer.num_devices if self.trainer else 1)
        # CUDA alone has pinned memory, from which batches are copied without waiting for the GPU.
        pinned = self.device.type == "cuda"
        loader = WorkerLoader(photographs, self.batches(labels, torch.arange(len(labels)), stage), num_workers, pinned)
        self._loaders.append(loader)
        return loader

    def teardown(self, stage: str) -> None:
        """End the processes that read."""
        while self._loaders:
            self._loaders.pop().close()

    def on_exception(self, exception: BaseException) -> None:
        """End the processes that read."""
        self.teardown("exception")

    def _index(self, split: str) -> tuple[np.ndarray, Tensor]:
        """Paths below a split's folder, as bytes, and labels, as they were when first asked for."""
        if split not in self._files:
            self._listed(split)
        return self._files[split]

    def _listed(self, split: str) -> list[str]:
        """List a split's files, and give what else is there."""
        names, labels, others = files_of_classes(self._folder() / split, self.num_classes)
        self._files[split] = np.array([os.fsencode(name) for name in names]), torch.tensor(labels)
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


class Photographs(Dataset):
    """Photographs as bytes of the network's size, one by one; random crops depend on seed, epoch and file alone."""

    def __init__(
        self, folder: Path, paths: np.ndarray, labels: Tensor, preparation: Preprocessing, training: bool, seed: int
    ) -> None:
        self.folder, self.paths, self.labels = folder, paths, labels
        self.preparation, self.training, self.seed = preparation, training, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        path = self.folder / os.fsdecode(self.paths[index])
        if not self.training:
            return self.preparation.decode(path), self.labels[index]
        with decoding(path):
            image = random_resized_crop(path, self.preparation.size[0], mixed_seed(self.seed, epoch, index))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), self.labels[index]


def random_resized_crop(path: Path, resolution: int, seed: int) -> Image.Image:
    """Cut out 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3, resize it, mirror it half of the time.

    Args:
        path: The image file.
        resolution: Side of the result, in px.
        seed: Decides the crop and the mirroring.

    Source:
        Szegedy et al.: "Going deeper with convolutions", 2015; torchvision's ``RandomResizedCrop``.
    """
    generator = Generator().manual_seed(seed)
    with open_image(path) as head:
        width, height = head.size
    left, top, crop_width, crop_height = _crop_box(width, height, generator)
    flip = torch.rand((), generator=generator) < 0.5
    # The photograph is decoded no finer than the crop needs, whose short side must still cover the result.
    image = open_photograph(path, resolution * min(width, height) / min(crop_width, crop_height))
    scale_x, scale_y = image.width / width, image.height / height
    box = (left * scale_x, top * scale_y, (left + crop_width) * scale_x, (top + crop_height) * scale_y)
    image = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def _crop_box(width: int, height: int, generator: Generator) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a random crop; after ten misses the largest crop of an allowed shape."""
    for _ in range(10):
        area, shape, x, y = torch.rand(4, generator=generator).tolist()
        ratio = math.exp(math.log(3 / 4) + shape * (math.log(4 / 3) - math.log(3 / 4)))
        target = width * height * (0.08 + 0.92 * area)
        crop_width, crop_height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            return int(x * (width - crop_width + 1)), int(y * (height - crop_height + 1)), crop_width, crop_height
    crop_width = min(width, round(height * 4 / 3))
    crop_height = min(height, round(width * 4 / 3))
    return (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height
