"""MNIST's idx files, made small, for tests."""

from pathlib import Path

import numpy as np


def write_idx(folder: Path, samples: int = 40) -> None:
    """Write random images, half as many to test on as to train on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", samples), ("t10k", samples // 2)):
        head = b"".join(number.to_bytes(4, "big") for number in (0x803, count, 28, 28))
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + rng.bytes(count * 784))
        head = b"".join(number.to_bytes(4, "big") for number in (0x801, count))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(head + bytes(i % 10 for i in range(count)))
