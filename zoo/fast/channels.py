"""Tensors that the pass on shared outputs hands to its loops: outputs, the channels that a layer reads, gradients."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Channels", "Gradients", "Outputs", "Reading", "as_image", "in_order"]


class Outputs(NamedTuple):
    """The outputs of some layers in one pass, as matrices (rows, w) one behind the other.

    Column c of all of them is column c mod w of matrix c / w.

    Attributes:
        values: (layers, rows, w).
        mean: Of each column over the rows, (columns,).
        variance: The same, divided by the number of rows.
        finished: Where the programs of a sweep on a GPU count how many are done, (columns,) or more; zeros in between.
    """

    values: Tensor
    mean: Tensor
    variance: Tensor
    finished: Tensor

    @classmethod
    def like(cls, image: Tensor, count: int, finished: Tensor) -> "Outputs":
        """Memory for some outputs of the shape of an image, (N, w, H, W); a single one is kept where it is."""
        width = image.shape[1]
        rows = image.numel() // width
        values = in_order(image).permute(0, 2, 3, 1) if count == 1 else image.new_empty(count, rows, width)
        exact = torch.float64 if image.dtype == torch.float64 else torch.float32
        mean, variance = image.new_empty(2, count * width, dtype=exact)
        return cls(values.view(count, rows, width), mean, variance, finished)


class Channels(NamedTuple):
    """The n channels that enter a layer and its normalisation of them, max(scale x + shift, 0).

    Attributes:
        columns: Which ones of all that are kept, (n,): first those of the newest output in their order; none twice.
        statistics: Mean, 1 over the standard deviation, scale and shift of each, (4, n).
    """

    columns: Tensor
    statistics: Tensor


class Reading(NamedTuple):
    """The channels of a layer that are to be gathered.

    Attributes:
        outputs: What it is read from.
        channels: Which ones.
        memory: Where it is put, (rows, n) of the precision of the outputs; on a GPU what its rows have more is 0.
    """

    outputs: Outputs
    channels: Channels
    memory: Tensor


class Gradients(NamedTuple):
    """Sums of one backward pass so far.

    Attributes:
        values: Of each output, scaled, (layers, rows, w); undefined where not touched.
        sums: Of each column the gradients, and the gradients times x - mean over its variance, (2, columns).
        touched: 1 where a column has been written to, else 0, (columns,).
    """

    values: Tensor
    sums: Tensor
    touched: Tensor

    @classmethod
    def none_of(cls, outputs: Outputs) -> "Gradients":
        """Sums to which nothing has been added yet."""
        columns = len(outputs.mean)
        zeros = outputs.mean.new_zeros(17 * columns, dtype=torch.uint8)  # filled in one go
        sums, touched = zeros.split([16 * columns, columns])
        return cls(torch.empty_like(outputs.values), sums.view(torch.float64).view(2, columns), touched)


def in_order(image: Tensor) -> Tensor:
    """Images whose numbers lie one position behind the other: rows (N H W, C)."""
    return image.contiguous(memory_format=torch.channels_last)


def as_image(rows: Tensor, shape: torch.Size) -> Tensor:
    """Rows (N H W, n) as images (N, n, H, W) in channels_last order, for a shape (N, w, H, W)."""
    samples, _, height, width = shape
    return rows.view(samples, height, width, -1).permute(0, 3, 1, 2)
