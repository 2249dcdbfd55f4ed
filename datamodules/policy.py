"""TrivialAugment and RandAugment of whole batches: drawn on the host, applied to groups of images on the device."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms.v2 import functional

from nnmass.datamodules.transfer import host_generator, to_device

__all__ = ["MAGNITUDES", "OPERATIONS", "apply_operations", "parameters", "random_policy"]

MAGNITUDES = 31
"""Number of strengths that an operation can have; the first is none."""

_RAND_MAGNITUDE = 9


def random_policy(images: Tensor, policy: str, generator: Generator) -> Tensor:
    """TrivialAugment or RandAugment with torchvision's operations and defaults, drawn anew for each image.

    TrivialAugment does one of 14 operations at one of 31 magnitudes; RandAugment does two of the 14, one after the
    other, at one magnitude. Of two directions, where an operation has them, each has probability one half.

    Args:
        images: (N, C, H, W), uint8; one or three channels.
        policy: ``trivial`` or ``rand``.
        generator: Decides all draws.

    Returns:
        (N, C, H, W), uint8.

    Raises:
        ValueError: If the images have another number of channels.

    Source:
        Mueller, Hutter: "TrivialAugment", 2021; Cubuk et al.: "RandAugment", 2020.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(
            f"Expected images of 1 or 3 channels with data.augmentation.policy {policy}, but got {images.shape[1]}."
        )
    draws, count = host_generator(generator), len(images)
    for _ in range(1 if policy == "trivial" else 2):
        operations = draws.integers(len(OPERATIONS), size=count)
        magnitudes = draws.integers(MAGNITUDES, size=count) if policy == "trivial" else np.full(count, _RAND_MAGNITUDE)
        images = apply_operations(images, policy, operations, magnitudes, draws.integers(2, size=count))
    return images


def apply_operations(
    images: Tensor, policy: str, operations: NDArray, magnitudes: NDArray, directions: NDArray
) -> Tensor:
    """Apply one operation to each image.

    Args:
        images: (N, C, H, W), uint8; one or three channels.
        policy: ``trivial`` or ``rand``; decides what a magnitude means.
        operations: (N,), indices in ``OPERATIONS``.
        magnitudes: (N,), from 0 to ``MAGNITUDES`` - 1.
        directions: (N,), 0 or 1; without effect on operations that have but one.

    Returns:
        (N, C, H, W), uint8: what torchvision's functions give for each image alone.
    """
    if not len(images):
        return images
    way = _WAY_OF[operations]
    order = np.argsort(way, kind="stable")  # the images that go one way lie side by side
    there, back = to_device(np.stack([order, np.argsort(order)]), images.device)
    numbers = parameters(policy, *images.shape[-2:])[operations, magnitudes, directions][order]
    sizes = np.bincount(way, minlength=len(_WAYS)).tolist()
    groups = zip(
        _WAYS, images.index_select(0, there).split(sizes), to_device(numbers, images.device).split(sizes), strict=True
    )
    return torch.cat([go(group, rows) for go, group, rows in groups if len(group)]).index_select(0, back)


@lru_cache(maxsize=8)
def parameters(policy: str, height: int, width: int) -> NDArray:
    """The numbers that each operation needs, (operations, magnitudes, directions, 6), float32.

    Args:
        policy: ``trivial`` or ``rand``.
        height: Of the images, in px.
        width: Of the images, in px.
    """
    trivial = policy == "trivial"
    slope, turn, change = (_steps(0, most) for most in ((0.99, 135, 0.99) if trivial else (0.3, 30, 0.9)))
    shear = np.tan(np.radians(np.degrees(np.arctan(slope))))  # the same but for torchvision's rounding
    across, down = (np.trunc(_steps(0, 32 if trivial else 150 / 331 * side)) for side in (width, height))
    bits = np.round(8 - np.arange(MAGNITUDES) / (5 if trivial else 7.5))
    numbers = {
        "ShearX": _matrices(height, width, shear_x=_both_ways(shear)),
        "ShearY": _matrices(height, width, shear_y=_both_ways(shear)),
        "TranslateX": _matrices(height, width, right=_both_ways(across)),
        "TranslateY": _matrices(height, width, down=_both_ways(down)),
        "Rotate": _matrices(height, width, degrees=_both_ways(turn)),
        "Posterize": (256 - 2 ** (8 - bits))[:, None, None],
        "Solarize": np.ceil(np.float32(255 * _steps(1, 0)))[:, None, None],
    }
    shares = np.stack([1 + _both_ways(change), -_both_ways(change)], axis=-1)
    numbers |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), shares)
    table = np.zeros((len(OPERATIONS), MAGNITUDES, 2, 6), dtype=np.float32)
    for index, name in enumerate(OPERATIONS):
        if name in numbers:
            table[index, ..., : numbers[name].shape[-1]] = numbers[name]
    return table


def _steps(first: float, last: float) -> NDArray:
    """The magnitudes, (magnitudes,), in the roundings of ``torch.linspace``, with which torchvision makes them."""
    begin, end = np.float32(first), np.float32(last)
    step = np.float64((end - begin) / np.float32(MAGNITUDES - 1))
    levels = np.arange(MAGNITUDES)
    steps = np.where(levels < MAGNITUDES // 2, begin + step * levels, end - step * (MAGNITUDES - 1 - levels))
    return steps.astype(np.float32).astype(np.float64)


def _both_ways(magnitudes: NDArray) -> NDArray:
    """Signed magnitudes, (magnitudes, directions)."""
    return np.stack([magnitudes, -magnitudes], axis=-1)


def _matrices(
    height: int,
    width: int,
    degrees: NDArray | float = 0.0,
    shear_x: NDArray | float = 0.0,
    shear_y: NDArray | float = 0.0,
    right: NDArray | float = 0.0,
    down: NDArray | float = 0.0,
) -> NDArray:
    """Affine maps from pixels of the result to their sources, (magnitudes, directions, 6): 2 x 3 matrices, row by row.

    They map positions in px, counted from the image's centre, to positions in halves of its sides. A shear leaves the
    upper left corner where it is.
    """
    angle = -np.radians(degrees)
    rows = np.broadcast_arrays(
        *(np.cos(angle), np.sin(angle) + shear_x, shear_x * (height / 2) - right),
        *(shear_y - np.sin(angle), np.cos(angle), shear_y * (width / 2) - down),
    )
    sides = np.repeat([width / 2, height / 2], 3).astype(np.float32)
    return np.stack(rows, axis=-1).astype(np.float32) / sides


def _identity(images: Tensor, numbers: Tensor) -> Tensor:
    return images


def _move(images: Tensor, numbers: Tensor) -> Tensor:
    """Resample each image by its affine map, from the nearest pixels; pixels from outside are black."""
    y, x = (
        torch.linspace((1 - side) / 2, (side - 1) / 2, side, dtype=numbers.dtype, device=images.device)
        for side in images.shape[-2:]
    )
    matrices = numbers.view(-1, 2, 3, 1, 1)
    # A matrix product would not do: a GPU may round its factors, the positions, to ten bits.
    positions = (x * matrices[:, :, 0] + y.view(-1, 1) * matrices[:, :, 1]).add_(matrices[:, :, 2])
    grid = positions.permute(0, 2, 3, 1)
    return _bytes(grid_sample(images.to(torch.float32), grid, "nearest", "zeros", align_corners=False))


def _brightness(images: Tensor, numbers: Tensor) -> Tensor:
    return _bytes(images * _wide(numbers[:, 0]))


def _colour(images: Tensor, numbers: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return _blend(images, functional.rgb_to_grayscale(images), numbers)


def _contrast(images: Tensor, numbers: Tensor) -> Tensor:
    grey = images if images.shape[1] == 1 else functional.rgb_to_grayscale(images)
    return _blend(images, grey.to(torch.float32).mean(dim=(1, 2, 3), keepdim=True), numbers)


def _sharpness(images: Tensor, numbers: Tensor) -> Tensor:
    """Blend with the mean over 3 x 3 pixels in which the middle one counts five times; the border stays."""
    if min(images.shape[-2:]) < 3:
        return images
    result = images.to(torch.float32)
    middle = result[..., 1:-1, 1:-1]
    # A convolution would not do: a GPU may round its factors to ten bits. A thirteenth of an integer never lies halfway
    # between two integers, so that the result does not depend on how ties are rounded.
    columns = result[..., :-2] + result[..., 1:-1] + result[..., 2:]
    total = columns[..., :-2, :] + columns[..., 1:-1, :] + columns[..., 2:, :]
    smooth = total.add_(middle, alpha=4).div_(13).round_()
    middle.addcmul_(smooth.sub_(middle), _wide(numbers[:, 1]))
    return _bytes(result)


def _blend(images: Tensor, others: Tensor, numbers: Tensor) -> Tensor:
    """Add up shares of two images; the shares lie in the first two columns."""
    return _bytes(torch.addcmul(images * _wide(numbers[:, 0]), others, _wide(numbers[:, 1])))


def _posterize(images: Tensor, numbers: Tensor) -> Tensor:
    return images & _wide(numbers[:, 0]).to(torch.uint8)


def _solarize(images: Tensor, numbers: Tensor) -> Tensor:
    return torch.where(images >= _wide(numbers[:, 0]).to(torch.uint8), ~images, images)


def _autocontrast(images: Tensor, numbers: Tensor) -> Tensor:
    return functional.autocontrast(images)


def _equalize(images: Tensor, numbers: Tensor) -> Tensor:
    return functional.equalize(images)


def _wide(column: Tensor) -> Tensor:
    return column.view(-1, 1, 1, 1)


def _bytes(values: Tensor) -> Tensor:
    """Round down to bytes by way of integers, which is three times as fast on a processor as in one step."""
    return values.clamp_(0, 255).to(torch.int32).to(torch.uint8)


OPERATIONS = {
    "Identity": _identity,
    "ShearX": _move,
    "ShearY": _move,
    "TranslateX": _move,
    "TranslateY": _move,
    "Rotate": _move,
    "Brightness": _brightness,
    "Color": _colour,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
}
"""The operations by torchvision's names, and what does them; all that move pixels go one way."""

_WAYS = list(dict.fromkeys(OPERATIONS.values()))
_WAY_OF = np.array([_WAYS.index(way) for way in OPERATIONS.values()])
