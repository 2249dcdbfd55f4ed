"""What :mod:`zoo.shared.processor` does, on a GPU: a Triton kernel for each sweep over memory."""

import warnings
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from zoo.shared.channels import Channels, Gradients, follow

__all__ = ["available", "gather", "normalise", "scatter", "spread", "store"]

_COLUMNS = 32  # of a block: of 16-bit numbers, as many bytes as a GPU reads at once
_ROWS = 64
_PARTS = 512  # sums are taken over about so many parts of the rows
_PRECISIONS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def available(precision: torch.dtype) -> bool:
    """Whether there are kernels for numbers of this precision, and what it takes to compile them."""
    return precision in _PRECISIONS and _can_compile()


def store(output: Tensor, kept: Tensor, statistics: tuple[Tensor, Tensor] | None) -> None:
    """As :func:`zoo.shared.processor.store`."""
    rows, width = output.shape
    moving = output.data_ptr() != kept.data_ptr()
    if not moving and statistics is None:
        return
    part_rows, parts = _parts(rows)
    partial = output.new_empty(parts, 2, width, dtype=torch.float64)
    grid = (parts, _blocks(width, _COLUMNS))
    measured = statistics is not None
    _launch("store", grid, output, kept, partial, rows, width, part_rows, moving, measured, _ROWS, _COLUMNS)
    if statistics is not None:
        _launch("measure", grid[1:], partial, output, *statistics, rows, width, parts, _ROWS, _COLUMNS)


def normalise(
    norm: nn.BatchNorm2d, newest: int, links: Tensor, statistics: tuple[Tensor, Tensor], rows: int
) -> Channels:
    """As :func:`zoo.shared.processor.normalise`."""
    chosen = norm.num_features
    width = chosen - len(links)
    columns, figures = links.new_empty(chosen), statistics[0].new_empty(4, chosen)
    momentum = norm.momentum or 0.0
    _launch(
        "normalise",
        (_blocks(chosen, _COLUMNS),),
        links,
        *statistics,
        norm.weight,
        norm.bias,
        norm.running_mean,
        norm.running_var,
        columns,
        figures,
        newest,
        width,
        chosen,
        rows,
        norm.eps,
        momentum,
        norm.training,
        _COLUMNS,
    )
    if norm.training and momentum:
        assert norm.num_batches_tracked is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.num_batches_tracked += 1
        torch.autograd.graph.increment_version((norm.running_mean, norm.running_var))
    elif norm.training:
        mean, variance = (value[columns] for value in statistics)
        follow(norm, mean, variance, rows)
    return Channels(columns, *figures)


def gather(values: Tensor, channels: Channels, room: Tensor) -> Tensor:
    """As :func:`zoo.shared.processor.gather`."""
    (_, rows, width), chosen = values.shape, len(channels.columns)
    found = room[: rows * chosen].view(rows, chosen)
    grid, sizes = (_blocks(rows, _ROWS), _blocks(chosen, _COLUMNS)), (rows, width, chosen)
    columns, scale, shift = channels.columns, channels.scale, channels.shift
    _launch("gather", grid, values, columns, scale, shift, found, *sizes, _ROWS, _COLUMNS)
    return found


def scatter(gradient: Tensor, values: Tensor, channels: Channels, gradients: Gradients) -> tuple[Tensor, Tensor]:
    """As :func:`zoo.shared.processor.scatter`."""
    (_, rows, width), chosen = values.shape, len(channels.columns)
    part_rows, parts = _parts(rows)
    partial = channels.scale.new_empty(parts, 2, chosen)
    # mean, inverse, scale and shift lie one behind the other, as normalise has made them.
    figures, grid = channels.mean, (parts, _blocks(chosen, _COLUMNS))
    _launch(
        "scatter",
        grid,
        gradient,
        values,
        channels.columns,
        figures,
        gradients.values,
        gradients.touched.view(torch.uint8),
        partial,
        rows,
        width,
        chosen,
        part_rows,
        _ROWS,
        _COLUMNS,
    )
    for_weight, for_bias = channels.scale.new_empty(2, chosen)
    _launch(
        "settle",
        grid[1:],
        partial,
        channels.columns,
        figures,
        gradients.sums,
        gradients.touched.view(torch.uint8),
        for_weight,
        for_bias,
        chosen,
        gradients.sums.shape[1],
        parts,
        _ROWS,
        _COLUMNS,
    )
    return for_weight, for_bias


def spread(gradients: Gradients, position: int, kept: Tensor, mean: Tensor) -> Tensor:
    """As :func:`zoo.shared.processor.spread`."""
    found = torch.empty_like(kept)
    rows, width = kept.shape
    begin = position * width
    _launch(
        "spread",
        (_blocks(rows, _ROWS), _blocks(width, _COLUMNS)),
        gradients.values[position],
        kept,
        mean,
        gradients.sums[:, begin:],
        gradients.touched[begin:].view(torch.uint8),
        found,
        rows,
        width,
        gradients.sums.shape[1],
        _ROWS,
        _COLUMNS,
    )
    return found


def _blocks(length: int, size: int) -> int:
    return -(-length // size)


def _parts(rows: int) -> tuple[int, int]:
    """Rows of a part, whole blocks of them, and how many parts there are."""
    part_rows = _ROWS * _blocks(rows, _ROWS * _PARTS)
    return part_rows, _blocks(rows, part_rows)


def _launch(kernel: str, grid: tuple[int, ...], *arguments: Any) -> None:
    """Run a kernel on the GPU of its first argument, which need not be the current one."""
    with torch.cuda.device_of(arguments[0]):
        getattr(_kernels(), kernel)[grid](*arguments)


@cache
def _can_compile() -> bool:
    """Whether Triton is there, with a compiler for its launcher and a GPU that it knows; if not, the user is told."""
    if find_spec("triton") is None or not torch.cuda.is_available():
        return find_spec("triton") is not None  # interpreted
    try:
        store(torch.zeros(1, 1, device="cuda"), torch.zeros(1, 1, device="cuda"), None)
    except Exception as error:  # of Triton, of the compiler that it starts, of the driver
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        warnings.warn(
            f"Cells run module by module, slower and in more memory, as Triton compiles no kernel here: {reason}",
            stacklevel=2,
        )
        return False
    return True


@cache
def _kernels() -> ModuleType:
    from zoo.shared import triton_kernels  # loads Triton, which only a GPU needs

    return triton_kernels
