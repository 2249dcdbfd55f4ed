"""The inner loops of a pass on shared outputs, one compiled sweep over memory each.

Every position of every image is a row (N H W of them), every channel a column: a matrix (rows, channels) is a batch of
images in channels_last order. The outputs that are kept, and their gradients, lie one behind the other, (layers, rows,
w); column c of all of them is column c mod w of layer c / w.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.shared import threads

__all__ = ["available", "gather", "scatter", "spread", "store"]


def available(precision: torch.dtype) -> bool:
    """Whether the loops run here, on numbers of this precision."""
    return precision in (torch.float32, torch.float64, torch.bfloat16) and threads.available()


def store(output: Tensor, kept: Tensor, measure: bool) -> tuple[Tensor, Tensor] | None:
    """Copy an output to where it is kept.

    Args:
        output: (rows, w).
        kept: (rows, w), written.
        measure: Whether mean and variance are wanted.

    Returns:
        Mean and variance of each column, (w,), in single precision or better; None if not wanted.
    """
    rows, width = output.shape
    exact = torch.float64 if output.dtype == torch.float64 else torch.float32
    sums = kept.new_empty(torch.get_num_threads(), 2, width, dtype=torch.float64)
    threads.run(_loops(kept.dtype).store, rows, width, output.data_ptr(), kept.data_ptr(), sums.data_ptr())
    if not measure:
        return None
    shifted, squares = sums.sum(0) / rows
    mean = output[0].double() + shifted
    return mean.to(exact), (squares - shifted.square()).clamp_(min=0).to(exact)


def gather(values: Tensor, columns: Tensor, scale: Tensor, shift: Tensor, room: Tensor) -> Tensor:
    """Some columns, scaled, shifted and rectified: max(scale x + shift, 0).

    Args:
        values: (layers, rows, w).
        columns: Which ones, (n,).
        scale: (n,), single precision or better.
        shift: (n,), the same.
        room: Memory for the result, at least rows x n numbers of the precision of ``values``.

    Returns:
        (rows, n), at the beginning of ``room``.
    """
    (count, rows, width), chosen = values.shape, len(columns)
    found = room[: rows * chosen].view(rows, chosen)
    places = _places(values, columns)
    addresses = (part.data_ptr() for part in (values, places, scale, shift, found))
    threads.run(_loops(values.dtype).gather, count, rows, width, chosen, *addresses)
    return found


def scatter(
    gradient: Tensor, values: Tensor, columns: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, gradients: Tensor
) -> Tensor:
    """The way back through :func:`gather`: add scale times the gradient, where rectified, to its columns.

    Args:
        gradient: Of what :func:`gather` returned, (rows, n).
        values: As for :func:`gather`.
        columns: As for :func:`gather`; no column twice.
        scale: As for :func:`gather`.
        shift: As for :func:`gather`.
        mean: Of the columns, (n,).
        gradients: (layers, rows, w), single precision or better; added to.

    Returns:
        Over the rows, the sums of the rectified gradient and of its product with x - mean, (2, n), in double precision.
    """
    (count, rows, width), chosen = values.shape, len(columns)
    sums = values.new_empty(torch.get_num_threads(), 2, chosen, dtype=torch.float64)
    places = _places(values, columns)
    addresses = (part.data_ptr() for part in (values, places, scale, shift, gradient, gradients, mean, sums))
    threads.run(_loops(values.dtype).scatter, count, rows, width, chosen, *addresses)
    return sums.sum(0)


def spread(gradient: Tensor, kept: Tensor, mean: Tensor, constant: Tensor, slope: Tensor) -> Tensor:
    """A gradient less what a normalisation takes off: g - constant - slope (x - mean).

    Args:
        gradient: Of one output, (rows, w).
        kept: The output, x, (rows, w).
        mean: (w,), of single precision or better, as the others.
        constant: (w,).
        slope: (w,).

    Returns:
        (rows, w), in the precision of ``kept``.
    """
    found = torch.empty_like(kept)
    addresses = (part.data_ptr() for part in (gradient, kept, mean, constant, slope, found))
    threads.run(_loops(kept.dtype).spread, *kept.shape, *addresses)
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
    from zoo.shared import compiled  # loads the compiler, which not every use needs

    return _Loops(*compiled.LOOPS[precision]())
