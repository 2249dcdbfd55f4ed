"""The inner loops of a pass on shared outputs on the processor, one compiled sweep over memory each.

Every position of every image is a row (N H W of them), every channel a column: a matrix (rows, channels) is a batch of
images in channels_last order. :mod:`zoo.fast.gpu` has the same for a GPU.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nnmass.zoo.fast import threads
from nnmass.zoo.fast.channels import Channels, Gradients, Outputs, Reading

__all__ = ["available", "batch_norm_backward", "gather", "normalise_and_gather", "scatter", "store", "stride_of"]


def available(precision: torch.dtype) -> bool:
    """Test that the loops run here, on numbers of this precision."""
    return precision in (torch.float32, torch.float64, torch.bfloat16) and threads.available()


def stride_of(channels: int, precision: torch.dtype) -> int:
    """Length of the rows in which channels are gathered: convolutions on a processor take any number of them."""
    return channels


def store(output: Tensor, outputs: Outputs, position: int, measure: bool) -> None:
    """Copy an output to its place among those that are kept, unless that is where it is, and measure it.

    Args:
        output: Rows (rows, w) one behind the other, in any shape.
        outputs: Written to.
        position: Number of the output among them.
        measure: Whether mean and variance of its columns are wanted.
    """
    kept = outputs.values[position]
    if not measure and output.data_ptr() == kept.data_ptr():
        return
    rows, width = kept.shape
    sums = kept.new_empty(torch.get_num_threads(), 2, width, dtype=torch.float64)
    threads.run(_loops(kept.dtype).store, rows, width, output.data_ptr(), kept.data_ptr(), sums.data_ptr())
    if not measure:
        return
    columns = slice(position * width, (position + 1) * width)
    shifted, squares = sums.sum(0) / rows
    outputs.mean[columns] = kept[0].double() + shifted
    outputs.variance[columns] = (squares - shifted.square()).clamp_(min=0)


def normalise_and_gather(
    norm: nn.BatchNorm2d, newest: int, links: Tensor, outputs: Outputs, memory: Tensor
) -> Channels:
    """Normalise, gather and rectify what a layer reads; in training its running statistics follow those of the batch.

    Args:
        norm: Of the layer.
        newest: Number of the output that it takes whole.
        links: Columns of earlier outputs that it takes, (l,).
        outputs: What it reads.
        memory: As for :func:`gather`.

    Returns:
        What :func:`gather` needs to do it again.
    """
    channels = _normalise(norm, newest, links, outputs)
    gather(Reading(outputs, channels, memory))
    return channels


def gather(reading: Reading) -> None:
    """Put some columns, normalised and rectified, where they are wanted: max(scale x + shift, 0), (rows, n)."""
    values, (columns, statistics) = reading.outputs.values, reading.channels
    (count, rows, width), (_, _, scale, shift) = values.shape, statistics
    operands = (values, _places(values, columns), scale, shift, reading.memory)
    addresses = (part.data_ptr() for part in operands)
    threads.run(_loops(values.dtype).gather, count, rows, width, len(columns), *addresses)


def scatter(gradient: Tensor, outputs: Outputs, channels: Channels, gradients: Gradients) -> tuple[Tensor, Tensor]:
    """Go back through :func:`gather`: add scale times the gradient, where rectified, to its columns.

    Args:
        gradient: Of what :func:`gather` made, rows (rows, n) one behind the other, in any shape.
        outputs: As for :func:`gather`.
        channels: As for :func:`gather`.
        gradients: Added to.

    Returns:
        Gradients of the normalisation's weight and bias, (n,).
    """
    values, (columns, statistics) = outputs.values, channels
    (count, rows, width), (mean, inverse, scale, shift) = values.shape, statistics
    partial = values.new_empty(torch.get_num_threads(), 2, len(columns), dtype=torch.float64)
    touched = gradients.touched[columns]
    places = _places(values, columns)
    operands = (values, places, scale, shift, gradient, gradients.values, mean, partial, touched)
    addresses = (part.data_ptr() for part in operands)
    threads.run(_loops(values.dtype).scatter, count, rows, width, len(columns), *addresses)
    gradients.touched[columns] = 1
    total, product = partial.sum(0)
    gradients.sums[0].index_add_(0, columns, total * scale)
    gradients.sums[1].index_add_(0, columns, product * scale * inverse.square())
    return (product * inverse).to(statistics.dtype), total.to(statistics.dtype)


def batch_norm_backward(
    gradients: Gradients, outputs: Outputs, position: int, found: Tensor, reading: Reading | None
) -> None:
    """Take off the gradient of an output what its normalisation takes off: g - constant - slope (x - mean).

    Args:
        gradients: Of all that read it.
        outputs: Among which it is, x.
        position: Its number.
        found: Where the gradient is put, memory for (rows, w) numbers of the precision of the outputs.
        reading: What is to be gathered in the same go, because it is needed next, if anything.
    """
    kept = outputs.values[position]
    rows, width = kept.shape
    columns = slice(position * width, (position + 1) * width)
    mean = outputs.mean[columns]
    constant, slope = (gradients.sums[:, columns] / rows).to(mean.dtype)
    operands = (gradients.values[position], kept, mean, constant, slope, found, gradients.touched[columns])
    threads.run(_loops(kept.dtype).batch_norm_backward, rows, width, *(part.data_ptr() for part in operands))
    if reading is not None:
        gather(reading)


def _normalise(norm: nn.BatchNorm2d, newest: int, links: Tensor, outputs: Outputs) -> Channels:
    _, rows, width = outputs.values.shape
    columns = torch.cat([torch.arange(width * newest, width * (newest + 1), device=links.device), links])
    if norm.training:
        mean, variance = outputs.mean[columns], outputs.variance[columns]
        _update_running_statistics(norm, mean, variance, rows)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean, norm.running_var
    exact = outputs.mean.dtype
    inverse = (variance.double() + norm.eps).rsqrt()
    scale = (norm.weight.detach() * inverse).to(exact)
    shift = (norm.bias.detach() - mean * scale.double()).to(exact)
    return Channels(columns, torch.stack([mean.to(exact), inverse.to(exact), scale, shift]))


@torch.no_grad()
def _update_running_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, rows: int) -> None:
    """Let the running statistics follow those of a batch, as nn.BatchNorm2d does."""
    tracked, running_mean, running_variance = norm.num_batches_tracked, norm.running_mean, norm.running_var
    assert tracked is not None
    assert running_mean is not None
    assert running_variance is not None
    tracked += 1
    momentum = 1 / int(tracked) if norm.momentum is None else norm.momentum
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_variance.lerp_((variance * (rows / max(rows - 1, 1))).to(running_variance.dtype), momentum)


def _places(values: Tensor, columns: Tensor) -> Tensor:
    """Places of the columns of row 0 in memory, counted in numbers."""
    _, rows, width = values.shape
    return columns // width * (rows * width) + columns % width


class _Loops(NamedTuple):
    store: Any
    gather: Any
    scatter: Any
    batch_norm_backward: Any


@cache
def _loops(precision: torch.dtype) -> _Loops:
    if not threads.available():  # it also tells the compiler where their numbers are found
        raise RuntimeError("Expected PyTorch to run on GNU's OpenMP for the sweeps on the processor, but it does not.")
    from nnmass.zoo.fast import numba_loops  # loads the compiler, which not every use needs

    return _Loops(*numba_loops.LOOPS[precision]())
