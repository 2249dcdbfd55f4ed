"""A folder of class folders of small images, decoded into one tensor."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from nnmass.datamodules.cache import cached, fingerprint
from nnmass.datamodules.listing import files_of_classes
from nnmass.zoo.weights.images import converted, decoding, open_image

__all__ = ["load_image_tree"]


def load_image_tree(
    folder: Path, num_classes: int, image_size: tuple[int, int], cache_folder: Path
) -> tuple[Tensor, Tensor]:
    """Read ``folder/CLASS/*.jpg``, or images of other endings; the classes are numbered in the order of their names.

    The images are decoded once and kept in ``cache_folder``; a changed, added or removed file is noticed.

    Args:
        folder: Holds one folder per class.
        num_classes: Class folders that must be there.
        image_size: (height, width) in px that every image must have.
        cache_folder: Where the decoded images are kept.

    Returns:
        Images (N, 3, H, W) as uint8 and labels (N,) as int64.

    Raises:
        ValueError: If the number of classes is another, a class is empty, or an image is broken or of another size;
            the message names the file or folder.
    """
    names, labels, _ = files_of_classes(folder, num_classes)
    files = [folder / name for name in names]
    tensors = cached(
        cache_folder,
        f"{folder.name}-{fingerprint(files)}",
        lambda: {"images": _decode(files, image_size), "labels": torch.tensor(labels)},
    )
    return tensors["images"], tensors["labels"]


def _decode(files: Sequence[Path], image_size: tuple[int, int]) -> Tensor:
    height, width = image_size
    images = np.empty((len(files), 3, height, width), dtype=np.uint8)
    console = Console(stderr=True)
    progress = track(files, "Decoding images", console=console, transient=True, disable=not console.is_terminal)
    for index, file in enumerate(progress):
        with decoding(file), open_image(file) as image:
            pixels = np.asarray(converted(image, "RGB"))
        if pixels.shape[:2] != image_size:
            size = " x ".join(map(str, pixels.shape[:2]))
            raise ValueError(f"Expected an image of {height} x {width} px in {file}, but got {size} px.")
        images[index] = pixels.transpose(2, 0, 1)
    return torch.from_numpy(images)
