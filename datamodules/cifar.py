"""CIFAR-10, from the official batches or from a tree of image folders."""

import os
from pathlib import Path

import torch
from torch import Tensor

from datamodules.base import ImageDataModule, Split
from datamodules.image_tree import load_image_tree

__all__ = ["CIFAR10"]


class CIFAR10(ImageDataModule):
    """60,000 colour photographs of 32 x 32 px in ten classes: 50,000 to train on and 10,000 to test on.

    Two layouts are recognised: the official python batches (``cifar-10-batches-py``), and ``train/CLASS/*.png`` beside
    ``test/CLASS/*.png`` (or jpg), in the folder itself or in ``cifar10`` below it. The images of a tree are decoded
    once and kept in ``.cache`` inside the folder.

    Args:
        data_dir: Folder that holds the data; by default the environment variable ``NNMASS_DATA``, else ``data``.
        download: Fetch the official batches when neither layout is there.
        batch_size: Images per batch and process.
        val_size: Images of the training set that are kept for validation.
        split_seed: Decides which.
        crop_padding: Padding in px of a random crop in training; 0 for none.
        flip: Mirror half of the images in training.
        cutout: Side in px of a square that is cut out in training; 0 for none.
        seed: Decides the order and the augmentation of the training images.

    Source:
        Krizhevsky: "Learning multiple layers of features from tiny images", 2009.
    """

    num_classes = 10
    in_chans = 3
    image_size = (32, 32)
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)

    def __init__(
        self,
        data_dir: str | None = None,
        download: bool = False,
        batch_size: int = 128,
        val_size: int = 5000,
        split_seed: int = 0,
        crop_padding: int = 4,
        flip: bool = True,
        cutout: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_size, split_seed, crop_padding, flip, cutout, seed)
        self.data_dir = Path(data_dir or os.environ.get("NNMASS_DATA") or "data")
        self.download = download

    def prepare_data(self) -> None:
        """Download if need be, and decode the images once, in one process of each machine."""
        tree = self._tree()
        if tree is None and not self._batches().is_dir():
            if not self.download:
                raise FileNotFoundError(self._nothing_found())
            self._torchvision("train", download=True)
        elif tree is not None:
            for split in ("train", "test"):
                self._load_tree(tree, split)

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Images (N, 3, 32, 32) as uint8 and labels (N,) of one split."""
        if not self._batches().is_dir():
            tree = self._tree()
            if tree is None:
                raise FileNotFoundError(self._nothing_found())
            return self._load_tree(tree, split)
        return self._torchvision(split, download=False)

    def _batches(self) -> Path:
        return self.data_dir / "cifar-10-batches-py"

    def _tree(self) -> Path | None:
        """The folder that holds train/ and test/, if there is one."""
        for folder in (self.data_dir, self.data_dir / "cifar10"):
            if (folder / "train").is_dir() and (folder / "test").is_dir():
                return folder
        return None

    def _load_tree(self, tree: Path, split: Split) -> tuple[Tensor, Tensor]:
        return load_image_tree(tree / split, self.num_classes, self.image_size, self.data_dir / ".cache")

    def _torchvision(self, split: Split, download: bool) -> tuple[Tensor, Tensor]:
        # torchvision compares the MD5 sums of the batches before it unpickles them.
        from torchvision import datasets

        try:
            official = datasets.CIFAR10(str(self.data_dir), train=split == "train", download=download)
        except OSError as error:
            raise FileNotFoundError(self._nothing_found(f", and the download failed ({error})")) from error
        except RuntimeError as error:
            raise ValueError(
                f"Expected the official CIFAR-10 batches in {self._batches()}, but a file is missing or its MD5 sum "
                "is wrong; remove the folder and download again."
            ) from error
        images = torch.from_numpy(official.data).permute(0, 3, 1, 2).contiguous()
        return images, torch.tensor(official.targets)

    def _nothing_found(self, download: str = "") -> str:
        return (
            f"Expected CIFAR-10 in data.data_dir ({self.data_dir.absolute()}), but found neither cifar-10-batches-py/ "
            f"nor train/ and test/ there or in cifar10/ below it{download}; name the folder with --data.data_dir or "
            "NNMASS_DATA, or run once with a network and --data.download true."
        )
