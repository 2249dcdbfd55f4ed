"""Data sets that torchvision downloads and reads, and the trees of image folders that people share instead."""

import os
from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from nnmass.datamodules.base import Split, require_at_least
from nnmass.datamodules.cache import cached, fingerprint
from nnmass.datamodules.image_tree import load_image_tree
from nnmass.datamodules.images import ImageDataModule
from nnmass.datamodules.listing import files_of_classes, names_of_classes, say_left_out
from nnmass.datamodules.pixels import shown

__all__ = ["OfficialImages", "data_folder"]


def data_folder(data_dir: str | None) -> Path:
    """The folder meant by an argument, else by the environment variable ``NNMASS_DATA``, else ``data``."""
    return Path(data_dir or os.environ.get("NNMASS_DATA") or "data").expanduser()


class OfficialImages(ImageDataModule, ABC):
    """A data set in its official files, checked by torchvision, or as a tree of image folders.

    Whatever the layout, the images are decoded once, kept in ``.cache`` inside the folder and memory-mapped from there.

    Args:
        data_dir: Folder that holds the data; by default the environment variable ``NNMASS_DATA``, else ``data``.
        download: Fetch the official files when they are not there, or not whole.
        resolution: Side in px to which the images are resized, as the image files of a prediction are; by default
            they stay as they are.

    Attributes:
        official: The data set's class in ``torchvision.datasets``.
        folder: Where that class keeps its files, below the data folder.
        tree: Folder of ``train/CLASS/*.png`` and ``test/CLASS/*.png`` below the data folder, if such trees are shared.
        names: What the classes of the official files are called, if they have names.
    """

    official: ClassVar[str]
    folder: ClassVar[str]
    tree: ClassVar[str | None] = None
    names: ClassVar[Sequence[str]] = ()

    def __init__(
        self, data_dir: str | None = None, download: bool = False, resolution: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if resolution is not None:
            require_at_least(1, resolution=resolution)
            self.image_size = (resolution, resolution)
        self.data_dir = data_folder(data_dir)
        self.download = download

    def prepare_data(self) -> None:
        """Download if need be, then load and so decode both splits once, in one process of each machine."""
        if self._loaded:
            return
        if self.download and self._tree() is None:
            self._fetch()
        tree = self._tree()
        if tree is not None:
            names_of_classes(tree / "train", tree / "test", self.num_classes)
            for split in ("train", "test"):
                say_left_out(tree / split, files_of_classes(tree / split, self.num_classes).others)
        super().prepare_data()

    @property
    def class_names(self) -> list[str]:
        """Names of a tree's folders, else those of the official data set."""
        tree = self._tree()
        if tree is not None:
            return names_of_classes(tree / "train", tree / "test", self.num_classes)
        return list(self.names) or super().class_names

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) as uint8 and labels (N,) of one split."""
        images, labels = self._load_whole(split)
        return (images if self.image_size == type(self).image_size else self._resized(images)), labels

    def _load_whole(self, split: Split) -> tuple[Tensor, Tensor]:
        files = self.data_dir / self.folder
        if files.is_dir():
            key = f"{self.official}-{split}-{fingerprint(sorted(files.iterdir()))}"
            tensors = cached(self.data_dir / ".cache", key, lambda: self._read(split))
            return tensors["images"], tensors["labels"]
        tree = self._tree()
        if tree is None:
            raise FileNotFoundError(self._nothing_found())
        return load_image_tree(tree / split, self.num_classes, type(self).image_size, self.data_dir / ".cache")

    def files(self) -> list[str]:
        """Names of the official files, as torchvision knows them."""
        official = self._official()
        return [name for name, _ in official.train_list + official.test_list] + [official.meta["filename"]]

    def check(self, path: Path) -> None:
        """Refuse an official file that is not what it should be: a wrong MD5 sum.

        Raises:
            ValueError: It names the file.
        """
        from torchvision.datasets.utils import check_integrity

        official = self._official()
        sums = dict([*official.train_list, *official.test_list, (official.meta["filename"], official.meta["md5"])])
        if not check_integrity(str(path), sums[path.name]):
            raise ValueError(f"Expected the official {path.name} in {path.parent}, but the MD5 sum of {path} is wrong.")

    def _check_all(self) -> None:
        for name in self.files():
            path = self.data_dir / self.folder / name
            if not path.is_file():
                raise FileNotFoundError(
                    f"Expected {path}, but there is no such file; run once with a network and --data.download true."
                )
            self.check(path)

    def _fetch(self) -> None:
        """Download what is missing or damaged, one process at a time; a damaged file is put aside, not trusted."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(self.data_dir / f".{self.official}.lock"):
            whole = True
            for path in (self.data_dir / self.folder / name for name in self.files()):
                try:
                    self.check(path)
                except (FileNotFoundError, ValueError):
                    whole = False
                    if path.exists():
                        path.rename(path.with_name(f"{path.name}.damaged"))
            if whole:
                return
            try:
                self._official()(str(self.data_dir), download=True)
            except (OSError, RuntimeError) as error:
                raise FileNotFoundError(self._nothing_found(f", and the download failed ({error})")) from error

    def _official(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, self.official)

    def _tree(self) -> Path | None:
        """The folder that holds train/ and test/, if there is one and no official files are beside it."""
        if self.tree is None or (self.data_dir / self.folder).is_dir():
            return None
        for folder in (self.data_dir / self.tree, self.data_dir):
            there = [split for split in ("train", "test") if (folder / split).is_dir()]
            if len(there) == 2:
                return folder
            if there and folder.name == self.tree:
                raise FileNotFoundError(f"Expected train/ and test/ in {folder}, but got only {there[0]}/.")
        return None

    def _read(self, split: Split) -> dict[str, Tensor]:
        self._check_all()  # before anything is unpickled
        official = self._official()(str(self.data_dir), train=split == "train", download=False)
        images = torch.as_tensor(official.data)
        images = images.unsqueeze(1) if self.in_chans == 1 else images.permute(0, 3, 1, 2)
        return {"images": images.contiguous(), "labels": torch.as_tensor(official.targets)}

    def _resized(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) of the size that the network takes, each as a file of it is decoded for a prediction."""
        preparation = self.preprocessing
        assert preparation is not None  # the official data are grey or in colour
        smaller = torch.empty(len(images), *self.input_size, dtype=torch.uint8)
        pixels = images.permute(0, 2, 3, 1).squeeze(3).numpy()
        for index in shown(range(len(images)), len(images), "Resizing images"):
            smaller[index] = preparation.decode(Image.fromarray(np.ascontiguousarray(pixels[index])))
        return smaller

    def _nothing_found(self, download: str = "") -> str:
        tree = f" nor train/ and test/ there or in {self.tree}/ below it" if self.tree else ""
        start = "neither" if self.tree else "no"
        return (
            f"Expected {self.official} in data.data_dir ({self.data_dir.absolute()}), but found {start} {self.folder}/"
            f"{tree}{download}; name the folder with --data.data_dir or NNMASS_DATA, or run once with a "
            "network and --data.download true."
        )
