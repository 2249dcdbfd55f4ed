"""MNIST and Fashion-MNIST, from their original idx files."""

from math import prod
from pathlib import Path

from nnmass.datamodules.facts import FACTS
from nnmass.datamodules.official import OfficialImages

__all__ = ["MNIST", "FashionMNIST"]

# The first four bytes of an idx file: unsigned bytes in three dimensions (images) or one (labels).
_IMAGES, _LABELS = 0x803, 0x801


class MNIST(OfficialImages):
    """70,000 handwritten digits of 28 x 28 px: 60,000 to train on and 10,000 to test on.

    Source:
        LeCun, Bottou, Bengio, Haffner: "Gradient-based learning applied to document recognition", 1998.
    """

    num_classes = FACTS["MNIST"].num_classes
    in_chans = FACTS["MNIST"].in_chans
    image_size = FACTS["MNIST"].image_size
    mean = (0.1307,)
    std = (0.3081,)
    official = "MNIST"
    folder = "MNIST/raw"

    def files(self) -> list[str]:
        """Names of the four idx files."""
        return [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]

    def check(self, path: Path) -> None:
        """Refuse an idx file whose head and size do not agree, or whose labels are none of the classes.

        Raises:
            ValueError: It names the file.
        """
        content = path.read_bytes()
        expected = _IMAGES if "images" in path.name else _LABELS
        magic = int.from_bytes(content[:4], "big")
        if magic != expected:
            raise ValueError(f"Expected the idx magic number {expected} in {path}, but got {magic}.")
        dimensions = magic & 0xFF
        sizes = [int.from_bytes(content[4 * i : 4 * i + 4], "big") for i in range(1, dimensions + 1)]
        whole = 4 + 4 * dimensions + prod(sizes)
        if len(content) != whole:
            raise ValueError(f"Expected {whole} bytes in {path}, as its head says, but got {len(content)}.")
        if expected == _LABELS and max(content[8:], default=0) >= self.num_classes:
            raise ValueError(f"Expected labels below {self.num_classes} in {path}, but got {max(content[8:])}.")


class FashionMNIST(MNIST):
    """70,000 photographs of clothes of 28 x 28 px: 60,000 to train on and 10,000 to test on.

    Source:
        Xiao, Rasul, Vollgraf: "Fashion-MNIST: a novel image dataset for benchmarking machine learning", 2017.
    """

    mean = (0.2860,)
    std = (0.3530,)
    official = "FashionMNIST"
    folder = "FashionMNIST/raw"

    @property
    def class_names(self) -> list[str]:
        """Kinds of clothes."""
        from torchvision.datasets import FashionMNIST as Torchvision  # which takes a second to load

        return list(Torchvision.classes)
