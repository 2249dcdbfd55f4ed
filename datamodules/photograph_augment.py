"""Augmentation of photographs: each by itself where it is decoded, and whole batches on the training device."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from nnmass.datamodules.augment import mix
from nnmass.zoo.seeding import seeded

__all__ = ["PhotographAugmentation", "PhotographSteps"]

# Parts of timm's notation of RandAugment, and which numbers they take.
_NOTATION = re.compile(r"rand(-(m([0-9]|10)|n[1-9]|p(0\.[0-9]+|1)|mstd[0-9]+(\.[0-9]+)?|inc[01]))+")
_POLICIES = (
    "none, trivial, rand, or RandAugment in timm's notation (m from 0 to 10, n from 1 to 9, p up to 1; such as "
    "rand-n2-m7-mstd0.5-inc1)"
)


@dataclass(frozen=True)
class PhotographAugmentation:
    """Augmentation of training photographs after their random crop and mirroring, in this order.

    Args:
        policy: ``trivial`` (TrivialAugment) or ``rand`` (RandAugment: two operations of magnitude 9 of 30), as in
            torchvision; or RandAugment as in timm and in its notation, such as ``rand-n2-m7-mstd0.5-inc1``: operations,
            magnitude from 0 to 10 and its standard deviation, whether each operation becomes stronger with it; an
            operation is left out with probability 1 - p, one half by default.
        colour_jitter: Brightness, contrast and saturation each vary by up to this share; 0 for none.
        erasing: Probability with which 2 to 33 % of the area are painted over with the mean colour; 0 for none.
        mixup: Parameter of the Beta distribution of MixUp's shares; 0 for none.
        cutmix: Parameter of the Beta distribution of CutMix's shares; 0 for none. With both, each photograph gets one
            of the two by the toss of a coin.
        repeats: Times that a photograph comes in succession, each time augmented anew; an epoch remains as long, and
            shows that share of the photographs (repeated augmentation).

    Raises:
        ValueError: If a number is out of range or the policy unknown.

    Source:
        Mueller, Hutter: "TrivialAugment", 2021; Cubuk et al.: "RandAugment", 2020; Zhong et al.: "Random erasing data
        augmentation", 2020; Hoffer et al.: "Augment your batch", 2020.

    Example:
        >>> PhotographAugmentation(policy="rand-m6-mstd0.5-inc1", mixup=0.1, cutmix=1.0).mixes
        True
        >>> PhotographAugmentation(policy="rand-m11")
        Traceback (most recent call last):
            ...
        ValueError: Expected data.augmentation.policy to be none, trivial, rand, or RandAugment in timm's notation \
(m from 0 to 10, n from 1 to 9, p up to 1; such as rand-n2-m7-mstd0.5-inc1), but got 'rand-m11'.
    """

    policy: str = "none"
    colour_jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix", "colour_jitter", "erasing"):
            value, most = getattr(self, name), 1 if name in ("colour_jitter", "erasing") else float("inf")
            if not 0 <= value <= most or value == float("inf"):
                rule = "lie in [0, 1]" if most == 1 else "be at least 0"
                raise ValueError(f"Expected data.augmentation.{name} to {rule}, but got {value}.")
        if self.repeats < 1:
            raise ValueError(f"Expected data.augmentation.repeats to be at least 1, but got {self.repeats}.")
        if self.policy not in ("none", "trivial", "rand") and not _NOTATION.fullmatch(self.policy):
            raise ValueError(f"Expected data.augmentation.policy to be {_POLICIES}, but got {self.policy!r}.")

    @property
    def mixes(self) -> bool:
        """True where MixUp or CutMix make the labels shares of classes."""
        return bool(self.mixup or self.cutmix)

    def mix(self, images: Tensor, labels: Tensor, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Mix the photographs of a batch by MixUp and CutMix, on their device.

        Args:
            images: (N, C, H, W), floating, normalised.
            labels: (N,), int64.
            num_classes: Classes.
            seed: Decides partners, shares and rectangles.

        Returns:
            Images of the same shape, and shares of the classes (N, num_classes).
        """
        generator = Generator(images.device).manual_seed(seed)
        shares = one_hot(labels, num_classes).to(images.dtype)
        return mix(images, shares, self.mixup, self.cutmix, generator)


class PhotographSteps:
    """The steps of an augmentation that take one photograph at a time, by torchvision and timm.

    Args:
        augmentation: Which steps.
        mean: Mean of each channel, on the scale 0 to 1; the colour of what is erased.
        resolution: Side of the photographs, in px.

    Attributes:
        resolution: The same.
    """

    def __init__(self, augmentation: PhotographAugmentation, mean: Sequence[float], resolution: int) -> None:
        self.resolution = resolution
        self._colours: list[Callable[[Any], Any]] = []  # of an image; Pillow is faster than tensors here
        self._erase: Callable[[Tensor], Tensor] | None = None
        self._seeded: Callable[[int], AbstractContextManager[Any]] = seeded
        mean_bytes = [round(255 * value) for value in mean]
        if augmentation.policy != "none":
            self._colours.append(_policy(augmentation.policy, mean_bytes, resolution))
            if _NOTATION.fullmatch(augmentation.policy):
                self._seeded = _all_seeded
        if augmentation.colour_jitter:
            from torchvision.transforms import v2  # which takes a second to load

            self._colours.append(v2.ColorJitter(*[augmentation.colour_jitter] * 3))
        if augmentation.erasing:
            from torchvision.transforms import v2

            self._erase = v2.RandomErasing(augmentation.erasing, value=mean_bytes)

    def __call__(self, image: Image.Image, seed: int) -> Tensor:
        """Augment a photograph, and give its bytes (C, H, W).

        The steps draw from the global generators, which are put back afterwards.

        Args:
            image: Grey or RGB.
            seed: Decides all draws.
        """
        if not self._colours and self._erase is None:
            return _bytes(image)
        with self._seeded(seed):
            for step in self._colours:
                image = step(image)
            pixels = _bytes(image)
            return pixels if self._erase is None else self._erase(pixels)


def _bytes(image: Image.Image) -> Tensor:
    pixels = np.array(image)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def _policy(name: str, mean_bytes: list[int], resolution: int) -> Callable[[Any], Any]:
    """A policy on images; pixels from outside are black in torchvision's and of the mean colour in timm's."""
    if name in ("trivial", "rand"):
        from torchvision.transforms import v2

        return v2.TrivialAugmentWide() if name == "trivial" else v2.RandAugment()
    from timm.data.auto_augment import rand_augment_transform

    colour = tuple(mean_bytes) if len(mean_bytes) > 1 else mean_bytes[0]
    policy = rand_augment_transform(name, {"translate_const": int(0.45 * resolution), "img_mean": colour})
    for operation in policy.ops:
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterize
    return policy


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keep the highest bits of each value; timm asks for none of them too, which newer Pillows refuse."""
    return image.point([0] * 256 * len(image.getbands())) if bits < 1 else ImageOps.posterize(image, bits)


@contextmanager
def _all_seeded(seed: int) -> Iterator[None]:
    """Draw all inside the block from ``seed``, timm's draws by NumPy's and Python's generators too."""
    python, of_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        with seeded(seed):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)
