"""Random crops of photographs."""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Generator

from nnmass.zoo.weights.images import converted, open_image, open_photograph

__all__ = ["random_resized_crop"]


def random_resized_crop(image: Path | Image.Image, resolution: int, seed: int, mode: str = "RGB") -> Image.Image:
    """Cut out 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3, resize it, mirror it half of the time.

    Args:
        image: The image file, or an image in memory.
        resolution: Side of the result, in px.
        seed: Decides the crop and the mirroring.
        mode: ``L`` or ``RGB``.

    Source:
        Szegedy et al.: "Going deeper with convolutions", 2015; torchvision's ``RandomResizedCrop``.
    """
    generator = Generator().manual_seed(seed)
    if isinstance(image, Image.Image):
        width, height = image.size
    else:
        with open_image(image) as head:
            width, height = head.size
    left, top, crop_width, crop_height = _crop_box(width, height, generator)
    flip = torch.rand((), generator=generator) < 0.5
    # The photograph is decoded no finer than the crop needs, whose short side must still cover the result.
    least = resolution * min(width, height) / min(crop_width, crop_height)
    whole = converted(image, mode) if isinstance(image, Image.Image) else open_photograph(image, least, mode)
    scale_x, scale_y = whole.width / width, whole.height / height
    box = (left * scale_x, top * scale_y, (left + crop_width) * scale_x, (top + crop_height) * scale_y)
    crop = whole.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else crop


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
