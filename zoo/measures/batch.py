"""A batch on which networks are measured, and the reason where a measure has no value for it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nnmass.zoo.checks import require

__all__ = ["Batch", "NotMeasured", "stopped"]


class NotMeasured(ValueError):  # noqa: N818  # an answer rather than a fault
    """A measure that has no value for this network or this batch; the message gives the reason in one sentence."""


@dataclass(frozen=True)
class Batch:
    """Images, and their labels where they are known.

    Attributes:
        images: Inputs of the network, (N, ...), such as (N, channels, height, width).
        labels: Class of each image, (N,), counted from 0; None where it is not known.

    Raises:
        ValueError: If there is no image, or the labels are not one whole number per image.
    """

    images: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse what is no batch."""
        shape = tuple(self.images.shape)
        require(
            self.images.dim() > 1 and shape[0] > 0, "images", "have the shape (N, ...) with at least one image", shape
        )
        if self.labels is not None:
            whole = not (self.labels.is_floating_point() or self.labels.is_complex() or self.labels.dtype == torch.bool)
            got = f"{str(self.labels.dtype).removeprefix('torch.')} of shape {tuple(self.labels.shape)}"
            require(whole and self.labels.shape == shape[:1], "labels", f"be {shape[0]} whole numbers", got)


def stopped(error: Exception) -> NotMeasured:
    """The refusal of a measure whose network stopped with an error.

    Args:
        error: What the network's pass raised.
    """
    if isinstance(error, NotMeasured):  # raised within the pass by what watches it
        return error
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return NotMeasured(
        f"Expected a network that runs on this batch, but it stopped with '{type(error).__name__}: {line}'."
    )
