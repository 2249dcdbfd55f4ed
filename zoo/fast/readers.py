"""Readers: what the fast pass of a cell runs in place of its modules, and tests that it may."""

from typing import Any, NamedTuple

from torch import Tensor, nn

__all__ = ["Reader", "is_plain", "keeps_size"]


class Reader(NamedTuple):
    """Normalisation, rectification and convolution of outputs that are kept.

    Attributes:
        norm: Normalises the channels; its running statistics follow.
        convolution: Takes the channels, normalised and rectified.
        links: Channels of the outputs before the newest, (l_i,), which is taken whole; None for none.
    """

    norm: nn.BatchNorm2d
    convolution: nn.Conv2d
    links: Tensor | None = None


def is_plain(reader: Reader, training: bool) -> bool:
    """Test that a reader's parts are what the fast pass computes, of sizes that agree.

    Args:
        reader: The reader.
        training: Whether the cell is in training mode.
    """
    norm, convolution, _ = reader
    return (
        type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.training == training
        and norm.track_running_stats
        and norm.num_batches_tracked is not None
        and norm.running_mean is not None
        and norm.running_var is not None
        and type(convolution) is nn.Conv2d
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
        and _channels_agree(norm, convolution)
    )


def _channels_agree(norm: nn.BatchNorm2d, convolution: nn.Conv2d) -> bool:
    """Test that a normalisation has a number for each channel that the convolution after it takes."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    numbers = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    entering = convolution.weight.shape[1] * convolution.groups
    return norm.num_features == entering and all(len(part) == entering for part in numbers)


def keeps_size(convolution: nn.Conv2d) -> bool:
    """Test that an image leaves a convolution with as many px as it has entered with."""
    paddings: Any = convolution.padding
    sides = zip(convolution.weight.shape[2:], convolution.stride, paddings, convolution.dilation, strict=True)
    return all(stride == 1 and 2 * padding == dilation * (size - 1) for size, stride, padding, dilation in sides)
