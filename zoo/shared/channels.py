"""What the passes on shared outputs hand to their loops: the channels that a layer reads, and the gradients of all."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Channels", "Gradients", "follow"]


class Channels(NamedTuple):
    """The n channels that enter a layer and its normalisation of them, max(scale x + shift, 0).

    Attributes:
        columns: Which ones of all that are kept, (n,): first those of the newest output in their order; none twice.
        mean: Of each, (n,).
        inverse: 1 over the standard deviation, (n,).
        scale: (n,).
        shift: (n,).
    """

    columns: Tensor
    mean: Tensor
    inverse: Tensor
    scale: Tensor
    shift: Tensor


class Gradients(NamedTuple):
    """What one backward pass has summed up so far.

    Attributes:
        values: Of each output, scaled, (layers, rows, w); undefined where not touched.
        sums: Of each column the gradients, and the gradients times x - mean over its variance, (2, columns).
        touched: Whether a column has been written to, (columns,).
    """

    values: Tensor
    sums: Tensor
    touched: Tensor


@torch.no_grad()
def follow(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, rows: int) -> None:
    """Let the running statistics follow those of a batch, as nn.BatchNorm2d does.

    Args:
        norm: Whose.
        mean: Of the batch, (n,).
        variance: Of the batch, (n,), divided by ``rows``.
        rows: Positions of all its images.
    """
    tracked, running_mean, running_variance = norm.num_batches_tracked, norm.running_mean, norm.running_var
    assert tracked is not None
    assert running_mean is not None
    assert running_variance is not None
    tracked += 1
    momentum = 1 / int(tracked) if norm.momentum is None else norm.momentum
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_variance.lerp_((variance * (rows / max(rows - 1, 1))).to(running_variance.dtype), momentum)
