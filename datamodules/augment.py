"""Augmentation of whole batches of image tensors: one draw per image, one tensor operation per batch.

Images are (N, C, H, W). Every draw comes from the generator that is passed in.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

__all__ = ["normalise", "random_crop", "random_cutout", "random_flip"]


def random_crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """Pad with zeros on all sides, then cut an H x W window at a random place, one per image.

    Args:
        images: (N, C, H, W), any dtype.
        padding: Pixels added to each side; the offset is uniform over the (2 padding + 1)^2 windows.
        generator: Source of the offsets.

    Returns:
        (N, C, H, W), the same dtype.
    """
    count, channels, height, width = images.shape
    padded = pad(images, [padding] * 4)
    offsets = torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    return padded[image, channel, rows.view(count, 1, height, 1), columns.view(count, 1, 1, width)]


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        images: (N, C, H, W), any dtype.
        generator: Source of the choices.

    Returns:
        (N, C, H, W), the same dtype.
    """
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(chosen, images.flip(-1), images)


def random_cutout(images: Tensor, size: int, generator: Generator) -> Tensor:
    """Set a size x size square to zero, its centre uniform over the pixels, clipped at the border.

    Args:
        images: (N, C, H, W), normalised, so that zero is the mean colour.
        size: Side of the square in px.
        generator: Source of the centres.

    Returns:
        (N, C, H, W), the same dtype.

    Source:
        DeVries, Taylor: "Improved regularization of convolutional neural networks with cutout", 2017.
    """
    count, _, height, width = images.shape
    inside = []
    for length in (height, width):
        start = torch.randint(length, (count, 1), generator=generator, device=images.device) - size // 2
        pixels = torch.arange(length, device=images.device)
        inside.append((pixels >= start) & (pixels < start + size))
    square = inside[0].view(count, 1, height, 1) & inside[1].view(count, 1, 1, width)
    return images.masked_fill(square, 0)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn bytes into floats of about zero mean and unit variance: (x / 255 - mean) / std, per channel.

    Args:
        images: (N, C, H, W), uint8.
        mean: One per channel, on the scale 0 to 1.
        std: One per channel, on the scale 0 to 1.

    Returns:
        (N, C, H, W), float32; bit for bit what torchvision's ``ToTensor`` and ``Normalize`` give.
    """
    shape = (1, -1, 1, 1)
    centre = torch.tensor(mean, device=images.device).view(shape)
    scale = torch.tensor(std, device=images.device).view(shape)
    return images.to(torch.float32).div_(255).sub_(centre).div_(scale)
