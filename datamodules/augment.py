"""Augmentation of whole batches of image tensors: one draw per image, one tensor operation per batch.

Images are (N, C, H, W). Every draw comes from the generator that is passed in. Nothing here waits for the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot, pad

from nnmass.datamodules.transfer import host_generator, to_device
from nnmass.zoo.weights.preprocessing import normalise

__all__ = [
    "Augmentation",
    "adjust_colours",
    "cutmix",
    "mix",
    "mixup",
    "random_crop",
    "random_cutout",
    "random_flip",
]


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of a training batch, in this order.

    Args:
        crop_padding: Padding in px of a random crop; 0 for none.
        flip: Mirror half of the images.
        policy: ``trivial`` (TrivialAugment) or ``rand`` (RandAugment), with torchvision's operations.
        colour_jitter: Brightness, contrast and saturation each vary by up to this share; 0 for none.
        cutout: Side in px of a square that is cut out; 0 for none.
        mixup: Parameter of the Beta distribution of MixUp's shares; 0 for none.
        cutmix: Parameter of the Beta distribution of CutMix's shares; 0 for none. With both, each image gets one of
            the two by the toss of a coin.

    Raises:
        ValueError: If a number is out of range or the policy unknown.
    """

    crop_padding: int = 0
    flip: bool = False
    policy: Literal["none", "trivial", "rand"] = "none"
    colour_jitter: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop_padding", "cutout", "mixup", "cutmix", "colour_jitter"):
            value = getattr(self, name)
            if value < 0 or (name == "colour_jitter" and value > 1):
                rule = "to lie in [0, 1]" if name == "colour_jitter" else "to be at least 0"
                raise ValueError(f"Expected data.augmentation.{name} {rule}, but got {value}.")
        if self.policy not in ("none", "trivial", "rand"):
            raise ValueError(f"Expected data.augmentation.policy to be none, trivial or rand, but got {self.policy!r}.")

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        generator: Generator,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        num_classes: int,
    ) -> tuple[Tensor, Tensor]:
        """Augment bytes (N, C, H, W) and normalise them; with MixUp or CutMix labels become shares (N, classes)."""
        if self.crop_padding:
            images = random_crop(images, self.crop_padding, generator)
        if self.flip:
            images = random_flip(images, generator)
        if self.policy != "none":
            from nnmass.datamodules.policy import random_policy  # and torchvision, which takes a second to load

            images = random_policy(images, self.policy, generator)
        if self.colour_jitter:
            factors = 1 + self.colour_jitter * (
                2 * torch.rand(3, len(images), generator=generator, device=images.device) - 1
            )
            images = adjust_colours(images, *factors)
        images = normalise(images, mean, std)
        if self.cutout:
            images.mul_(_outside_square(images, self.cutout, generator))  # our own copy by now
        if not (self.mixup or self.cutmix):
            return images, labels
        return mix(images, one_hot(labels, num_classes).to(images.dtype), self.mixup, self.cutmix, generator)


def random_crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """Pad with zeros on all sides, then cut an H x W window at a random position, one per image.

    Args:
        images: (N, C, H, W), any dtype.
        padding: Pixels added to each side; the offset is uniform over the (2 padding + 1)^2 windows.
        generator: Source of the offsets.

    Returns:
        (N, C, H, W), the same dtype.
    """
    count, channels, height, width = images.shape
    padded = pad(images, [padding] * 4).contiguous()
    offsets = torch.randint(2 * padding + 1, (2, count, 1, 1), generator=generator, device=images.device)
    # Each row of a window lies in one piece: a view of all pieces of that length, and one copy per row, not per pixel.
    pieces = padded.view(-1).as_strided((padded.numel() - width + 1, width), (1, 1))
    plane, row = (height + 2 * padding) * (width + 2 * padding), width + 2 * padding
    first = torch.arange(count * channels, device=images.device).view(count, channels, 1) * plane
    rows = (offsets[0] + torch.arange(height, device=images.device)) * row
    return pieces.index_select(0, (first + rows + offsets[1]).view(-1)).view_as(images)


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        images: (N, C, H, W), any dtype.
        generator: Source of the choices.

    Returns:
        (N, C, H, W), the same dtype.
    """
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    # Copying whole images out of both versions is several times faster on a processor than choosing pixel by pixel.
    both = torch.cat([images, images.flip(-1)])
    return both.index_select(0, torch.arange(len(images), device=images.device) + len(images) * chosen)


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
    return images * _outside_square(images, size, generator)


def _outside_square(images: Tensor, size: int, generator: Generator) -> Tensor:
    """(N, 1, H, W), 0 inside a random square of each image and 1 outside."""
    count, _, height, width = images.shape
    inside = []
    for length in (height, width):
        start = torch.randint(length, (count, 1), generator=generator, device=images.device) - size // 2
        pixels = torch.arange(length, device=images.device)
        inside.append(((pixels >= start) & (pixels < start + size)).to(images.dtype))
    return 1 - inside[0].view(count, 1, height, 1) * inside[1].view(count, 1, 1, width)


def adjust_colours(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Change brightness, then contrast, then saturation, each image by its own factors.

    Args:
        images: (N, C, H, W), uint8; one or three channels.
        brightness: (N,), 1 changes nothing.
        contrast: (N,), 0 gives the mean grey.
        saturation: (N,), 0 gives grey; without effect on one channel.

    Returns:
        (N, C, H, W), uint8: what torchvision's ``adjust_brightness``, ``adjust_contrast`` and ``adjust_saturation``
        give, one after the other; a byte differs by 1 where the factor's rounding moves a value over a whole number.
    """
    brightness, contrast, saturation = (factor.view(-1, 1, 1, 1) for factor in (brightness, contrast, saturation))
    images = (images * brightness).clamp_(0, 255).floor_()
    mean = _grey(images).floor_().mean(dim=(1, 2, 3), keepdim=True)
    images = (contrast * images + (1 - contrast) * mean).clamp_(0, 255).floor_()
    if images.shape[1] == 3:
        images = (saturation * images + (1 - saturation) * _grey(images).floor_()).clamp_(0, 255).floor_()
    return images.to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Luminance (N, 1, H, W) by ITU-R 601, as torchvision computes it."""
    if images.shape[1] == 1:
        return images.clone()
    red, green, blue = images.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)


def mix(
    images: Tensor, shares: Tensor, mixup_alpha: float, cutmix_alpha: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Mix images by MixUp or CutMix, or each by one of the two by the toss of a coin.

    Args:
        images: (N, C, H, W), floating.
        shares: (N, classes), one-hot labels.
        mixup_alpha: Parameter of MixUp's Beta distribution; 0 for CutMix alone.
        cutmix_alpha: Parameter of CutMix's; 0 for MixUp alone.
        generator: Decides all draws.

    Returns:
        Images and shares of the same shapes.
    """
    if not cutmix_alpha:
        return mixup(images, shares, mixup_alpha, generator)
    if not mixup_alpha:
        return cutmix(images, shares, cutmix_alpha, generator)
    coin = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    mixed, cut = mixup(images, shares, mixup_alpha, generator), cutmix(images, shares, cutmix_alpha, generator)
    return torch.where(coin.view(-1, 1, 1, 1), mixed[0], cut[0]), torch.where(coin.view(-1, 1), mixed[1], cut[1])


def mixup(images: Tensor, shares: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Blend each image with a random other one of the batch, by a share of its own from Beta(alpha, alpha).

    Args:
        images: (N, C, H, W), floating.
        shares: (N, classes), one-hot labels.
        alpha: Parameter of the Beta distribution.
        generator: Decides shares and partners.

    Returns:
        Images and shares of the same shapes.

    Source:
        Zhang et al.: "mixup: beyond empirical risk minimization", 2018.
    """
    share = _beta(alpha, images, generator)
    partner = torch.randperm(len(images), generator=generator, device=images.device)
    wide, flat = share.view(-1, 1, 1, 1), share.view(-1, 1)
    return images.lerp(images[partner], 1 - wide), shares.lerp(shares[partner], 1 - flat)


def cutmix(images: Tensor, shares: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of a random other image of the batch into each image; labels count by area.

    Args:
        images: (N, C, H, W), floating.
        shares: (N, classes), one-hot labels.
        alpha: Parameter of the Beta distribution of the share that stays.
        generator: Decides rectangles and partners.

    Returns:
        Images and shares of the same shapes.

    Source:
        Yun et al.: "CutMix: regularization strategy to train strong classifiers with localizable features", 2019.
    """
    count, _, height, width = images.shape
    partner = torch.randperm(count, generator=generator, device=images.device)
    side = (1 - _beta(alpha, images, generator)).sqrt()
    inside = []
    for length in (height, width):
        centre = torch.randint(length, (count,), generator=generator, device=images.device)
        half = side * length / 2
        pixels = torch.arange(length, device=images.device)
        inside.append((pixels >= (centre - half).round().view(-1, 1)) & (pixels < (centre + half).round().view(-1, 1)))
    pasted = inside[0].view(count, 1, height, 1) & inside[1].view(count, 1, 1, width)
    area = pasted.flatten(1).float().mean(1, keepdim=True).to(shares.dtype)
    return torch.where(pasted, images[partner], images), shares.lerp(shares[partner], area)


def _beta(alpha: float, images: Tensor, generator: Generator) -> Tensor:
    """Draws from Beta(alpha, alpha), one per image, (N,), on their device."""
    draws = host_generator(generator).beta(alpha, alpha, len(images))
    return to_device(draws.astype(np.float32), images.device)
