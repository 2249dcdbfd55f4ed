"""Preparation of an image for a network: channels, size, crop, mean and standard deviation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nnmass.zoo.checks import require, require_choice, require_integer
from nnmass.zoo.weights.images import centre_crop, converted, decoding, open_image, open_photograph

__all__ = ["Preprocessing", "normalise"]

_MODES = {1: "L", 3: "RGB"}
_LARGEST = 65_536  # px, so that a damaged number does not ask for all memory


@dataclass(frozen=True)
class Preprocessing:
    """All that turns an image file into the input of a network.

    A whole image is resized with Pillow's default filter (bicubic); a centre crop is resized bilinearly.

    Args:
        channels: 1 for grey, 3 for RGB.
        size: (height, width) in px.
        mean: Mean of each channel, on the scale 0 to 1.
        std: Standard deviation of each channel, on the scale 0 to 1.
        crop: Side of the centre square that is taken, as a share of the image's short side; None for the whole image.

    Raises:
        ValueError: If an argument has another type or range.

    Example:
        >>> digits = Preprocessing(channels=1, size=(8, 8), mean=(0.3053,), std=(0.376,))
        >>> tuple(digits(Image.new("L", (20, 30))).shape)
        (1, 8, 8)
        >>> digits == Preprocessing.from_dict(digits.as_dict())
        True
    """

    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float | None = None

    def __post_init__(self) -> None:
        require_integer("channels of the preprocessing", self.channels, 1)
        require_choice("channels of the preprocessing", self.channels, _MODES)
        for name, length in (("size", 2), ("mean", self.channels), ("std", self.channels)):
            values = getattr(self, name)
            there = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == length
            require(there, f"{name} of the preprocessing", f"be {length} numbers", repr(values))
            kept = [_pixels(value) if name == "size" else _number(name, value) for value in values]
            object.__setattr__(self, name, tuple(kept))
        require(min(self.std) > 0, "std of the preprocessing", "be positive", self.std)
        if self.crop is not None:
            share = _number("crop", self.crop)
            require(0 < share <= 1, "crop of the preprocessing", "lie above 0 and up to 1", share)
            require(self.size[0] == self.size[1], "size of a centre crop", "be a square", self.size)

    def decode(self, image: str | os.PathLike[str] | Image.Image) -> Tensor:
        """An image as bytes (C, H, W) of the network's size.

        Args:
            image: A file, or an image in memory. A large JPEG file that is to be cropped is decoded at 1/2, 1/4 or 1/8
                of its size, where that leaves enough pixels; an image in memory is taken as it is.

        Raises:
            ValueError: If a file cannot be decoded; the message names it.
        """
        if isinstance(image, Image.Image):
            return self._bytes(converted(image, self._mode))
        with decoding(image):
            if self.crop is not None:
                return self._bytes(open_photograph(image, self.size[0] / self.crop, self._mode))
            with open_image(image) as opened:
                return self._bytes(converted(opened, self._mode))

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes (N, C, H, W) as the network's input: (x / 255 - mean) / std, per channel, float32."""
        return normalise(images, self.mean, self.std)

    def __call__(self, image: str | os.PathLike[str] | Image.Image) -> Tensor:
        """An image file, or an image in memory, as the network's input (C, H, W)."""
        return self.normalise(self.decode(image).unsqueeze(0)).squeeze(0)

    def as_dict(self) -> dict[str, Any]:
        """Its fields as plain numbers and lists of them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """The preprocessing of which these are the fields.

        Raises:
            ValueError: If one is missing, unknown, or of another type or range.
        """
        names = [field.name for field in fields(cls)]
        found = ", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values)
        fits = isinstance(values, Mapping) and {*names} - {"crop"} <= {*values} <= {*names}
        require(fits, "a preprocessing", f"have {', '.join(names)}", found)
        return cls(**values)

    @property
    def _mode(self) -> str:
        return _MODES[self.channels]

    def _bytes(self, image: Image.Image) -> Tensor:
        height, width = self.size
        pixels = image.resize((width, height)) if self.crop is None else centre_crop(image, height, self.crop)
        return torch.from_numpy(np.array(pixels).reshape(height, width, self.channels)).permute(2, 0, 1)


def normalise(images: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> Tensor:
    """Turn bytes into floats of about zero mean and unit variance: (x / 255 - mean) / std, per channel.

    Args:
        images: (N, C, H, W), uint8.
        mean: One per channel, on the scale 0 to 1; as a tensor on the device of the images it is not copied there.
        std: One per channel, on the scale 0 to 1; likewise.

    Returns:
        (N, C, H, W), float32; bit for bit what torchvision's ``ToTensor`` and ``Normalize`` give.
    """
    device = images.device
    centre, scale = (
        torch.as_tensor(values, dtype=torch.float32).to(device, non_blocking=device.type == "cuda").view(1, -1, 1, 1)
        for values in (mean, std)
    )
    white = torch.full((), 255.0, device=device)  # by a number of the host a GPU divides less exactly
    return images.to(torch.float32).div_(white).sub_(centre).div_(scale)


def _pixels(value: object) -> int:
    return require_integer("size of the preprocessing", value, 1, _LARGEST)


def _number(name: str, value: object) -> float:
    """A finite number as a float; True and False are none."""
    finite = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    require(finite, f"{name} of the preprocessing", "be finite numbers", repr(value))
    return float(value)  # type: ignore[arg-type]
