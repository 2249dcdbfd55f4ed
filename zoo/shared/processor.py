"""The inner loops of a pass on shared outputs on the processor, one compiled sweep over memory each.

Every position of every image is a row (N H W of them), every channel a column: a matrix (rows, channels) is a batch of
images in channels_last order. The outputs that are kept, and their gradients, lie one behind the other, (layers, rows,
w); column c of all of them is column c mod w of layer c / w. :mod:`zoo.shared.gpu` has the same for a GPU.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.shared import threads
from zoo.shared.channels import Channels, Gradients, follow

__all__ = ["available", "gather", "normalise", "scatter", "spread", "store"]


def available(precision: torch.dtype) -> bool:
    """Whether the loops run here, on numbers of this precision."""
    return precision in (torch.float32, torch.float64, torch.bfloat16) and threads.available()


def store(output: Tensor, kept: Tensor, statistics: tuple[Tensor, Tensor] | None) -> None:
    """Copy an output to where it is kept, unless that is where it is, and measure it.

    Args:
        output: (rows, w).
        kept: (rows, w), written.
        statistics: Mean and variance of each column, (w,), written; None if not wanted.
    """
    rows, width = output.shape
    sums = kept.new_empty(torch.get_num_threads(), 2, width, dtype=torch.float64)
    threads.run(_loops(kept.dtype).store, rows, width, output.data_ptr(), kept.data_ptr(), sums.data_ptr())
    if statistics is None:
        return
    mean, variance = statistics
    shifted, squares = sums.sum(0) / rows
    mean.copy_(output[0].double() + shifted)
    variance.copy_((squares - shifted.square()).clamp_(min=0))


def normalise(
    norm: nn.BatchNorm2d, newest: int, links: Tensor, statistics: tuple[Tensor, Tensor], rows: int
) -> Channels:
    """How a layer normalises what it reads; in training its running statistics follow those of the batch.

    Args:
        norm: Of the layer.
        newest: Number of the output that it takes whole.
        links: Columns of earlier outputs that it takes, (l,).
        statistics: Mean and variance of all columns in this batch, (columns,).
        rows: Over so many positions.
    """
    width = norm.num_features - len(links)
    columns = torch.cat([torch.arange(width * newest, width * (newest + 1), device=links.device), links])
    if norm.training:
        mean, variance = (value[columns] for value in statistics)
        follow(norm, mean, variance, rows)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean, norm.running_var
    exact = statistics[0].dtype
    inverse = (variance.double() + norm.eps).rsqrt()
    scale = (norm.weight.detach() * inverse).to(exact)
    shift = (norm.bias.detach() - mean * scale.double()).to(exact)
    return Channels(columns, mean, inverse, scale, shift)


def gather(values: Tensor, channels: Channels, room: Tensor) -> Tensor:
    """Some columns, normalised and rectified: max(scale x + shift, 0).

    Args:
        values: (layers, rows, w).
        channels: Which ones.
        room: Memory for the result, at least rows x n numbers of the precision of ``values``.

    Returns:
        (rows, n), at the beginning of ``room``.
    """
    (count, rows, width), chosen = values.shape, len(channels.columns)
    found = room[: rows * chosen].view(rows, chosen)
    places = _places(values, channels.columns)
    addresses = (part.data_ptr() for part in (values, places, channels.scale, channels.shift, found))
    threads.run(_loops(values.dtype).gather, count, rows, width, chosen, *addresses)
    return found


def scatter(gradient: Tensor, values: Tensor, channels: Channels, gradients: Gradients) -> tuple[Tensor, Tensor]:
    """The way back through :func:`gather`: add scale times the gradient, where rectified, to its columns.

    Args:
        gradient: Of what :func:`gather` returned, (rows, n).
        values: As for :func:`gather`.
        channels: As for :func:`gather`.
        gradients: Added to.

    Returns:
        Gradients of the normalisation's weight and bias, (n,).
    """
    (count, rows, width), chosen = values.shape, len(channels.columns)
    columns, exact = channels.columns, channels.scale.dtype
    partial = values.new_empty(torch.get_num_threads(), 2, chosen, dtype=torch.float64)
    touched = gradients.touched[columns]
    operands = (
        values,
        _places(values, columns),
        channels.scale,
        channels.shift,
        gradient,
        gradients.values,
        channels.mean,
        partial,
        touched,
    )
    addresses = (part.data_ptr() for part in operands)
    threads.run(_loops(values.dtype).scatter, count, rows, width, chosen, *addresses)
    gradients.touched[columns] = True
    total, product = partial.sum(0)
    gradients.sums[0].index_add_(0, columns, total * channels.scale)
    gradients.sums[1].index_add_(0, columns, product * channels.scale * channels.inverse.square())
    return (product * channels.inverse).to(exact), total.to(exact)


def spread(gradients: Gradients, position: int, kept: Tensor, mean: Tensor) -> Tensor:
    """The gradient of an output, less what its normalisation takes off: g - constant - slope (x - mean).

    Args:
        gradients: Of all that read it.
        position: Number of the output.
        kept: The output, x, (rows, w).
        mean: Of its columns, (w,).

    Returns:
        (rows, w), in the precision of ``kept``.
    """
    found = torch.empty_like(kept)
    rows, width = kept.shape
    columns = slice(position * width, (position + 1) * width)
    constant, slope = (gradients.sums[:, columns] / rows).to(mean.dtype)
    operands = (gradients.values[position], kept, mean, constant, slope, found, gradients.touched[columns])
    threads.run(_loops(kept.dtype).spread, rows, width, *(part.data_ptr() for part in operands))
    return found


def _places(values: Tensor, columns: Tensor) -> Tensor:
    """Where the columns of row 0 lie in memory, counted in numbers."""
    _, rows, width = values.shape
    return columns // width * (rows * width) + columns % width


class _Loops(NamedTuple):
    store: Any
    gather: Any
    scatter: Any
    spread: Any


@cache
def _loops(precision: torch.dtype) -> _Loops:
    if not threads.available():  # it also tells the compiler where their numbers are found
        raise RuntimeError("Expected PyTorch to run on GNU's OpenMP for the sweeps on the processor, but it does not.")
    from zoo.shared import numba_loops  # loads the compiler, which not every use needs

    return _Loops(*numba_loops.LOOPS[precision]())
