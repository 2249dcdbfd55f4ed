"""Augmentation of images that are photographs or in memory, as the user says."""

from dataclasses import dataclass, fields
from typing import TypeVar

from nnmass.datamodules.augment import Augmentation
from nnmass.datamodules.photograph_augment import PhotographAugmentation

__all__ = ["OwnAugmentation"]

Kind = TypeVar("Kind", Augmentation, PhotographAugmentation)


@dataclass(frozen=True)
class OwnAugmentation:
    """Augmentation of training images: of :class:`Augmentation` in memory, else of :class:`PhotographAugmentation`.

    Args:
        crop_padding: In memory: padding in px of a random crop; 0 for none.
        flip: In memory: mirror half of the images, which photographs always are.
        policy: ``trivial`` or ``rand``; of photographs also RandAugment in timm's notation.
        colour_jitter: Brightness, contrast and saturation each vary by up to this share; 0 for none.
        cutout: In memory: side in px of a square that is cut out; 0 for none.
        erasing: Of photographs: probability with which a part is painted over with the mean colour.
        mixup: Parameter of the Beta distribution of MixUp's shares; 0 for none.
        cutmix: Parameter of the Beta distribution of CutMix's shares; 0 for none.
        repeats: Of photographs: times that each comes in succession, augmented anew.

    Example:
        >>> OwnAugmentation(flip=True).of(Augmentation, "data.in_memory true").flip
        True
        >>> OwnAugmentation(flip=True).of(PhotographAugmentation, "data.in_memory false")
        Traceback (most recent call last):
            ...
        ValueError: Expected no data.augmentation.flip with data.in_memory false, but got True.
    """

    crop_padding: int = 0
    flip: bool = False
    policy: str = "none"
    colour_jitter: float = 0.0
    cutout: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1

    def of(self, kind: type[Kind], where: str) -> Kind:
        """The augmentation of one kind of images.

        Args:
            kind: Which.
            where: What makes the images of this kind, for messages.

        Raises:
            ValueError: If something is asked for that this kind does not have, or a number is out of range.
        """
        known = {field.name for field in fields(kind)}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in known and value != field.default:
                raise ValueError(f"Expected no data.augmentation.{field.name} with {where}, but got {value}.")
        return kind(**{name: getattr(self, name) for name in known})
