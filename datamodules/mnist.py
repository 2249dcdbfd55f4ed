"""MNIST and Fashion-MNIST, from their original idx files."""

from math import prod
from pathlib import Path

from datamodules.official import OfficialImages

__all__ = ["MNIST", "FashionMNIST"]

# The first four bytes of an idx file: unsigned bytes in three dimensions (images) or one (labels).
_IMAGES, _LABELS = 0x803, 0x801


class MNIST(OfficialImages):
    """70,000 handwritten digits of 28 x 28 px: 60,000 to train on and 10,000 to test on.

    Source:
        LeCun, Bottou, Bengio, Haffner: "Gradient-based learning applied to document recognition", 1998.
    """

    num_classes = 10
    in_chans = 1
    image_size = (28, 28)
    mean = (0.1307,)
    std = (0.3081,)
    official = "MNIST"
    folder = "MNIST/raw"

    def check(self, folder: Path) -> None:
        """Refuse an idx file whose head and size do not agree.

        Raises:
            ValueError: It names the file.
        """
        for path in sorted(folder.glob("*-ubyte")):
            expected = _IMAGES if "images" in path.name else _LABELS
            with open(path, "rb") as file:
                head = file.read(16)
            magic = int.from_bytes(head[:4], "big")
            if magic != expected:
                raise ValueError(f"Expected the idx magic number {expected} in {path}, but got {magic}.")
            dimensions = magic & 0xFF
            sizes = [int.from_bytes(head[4 * i : 4 * i + 4], "big") for i in range(1, dimensions + 1)]
            whole = 4 + 4 * dimensions + prod(sizes)
            if path.stat().st_size != whole:
                raise ValueError(f"Expected {whole} bytes in {path}, as its head says, but got {path.stat().st_size}.")


class FashionMNIST(MNIST):
    """70,000 photographs of clothes of 28 x 28 px: 60,000 to train on and 10,000 to test on.

    Source:
        Xiao, Rasul, Vollgraf: "Fashion-MNIST: a novel image dataset for benchmarking machine learning", 2017.
    """

    mean = (0.2860,)
    std = (0.3530,)
    official = "FashionMNIST"
    folder = "FashionMNIST/raw"
