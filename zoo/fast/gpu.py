"""The sweeps of :mod:`zoo.fast.processor` on a GPU, a Triton kernel each."""

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from nnmass.zoo.fast.channels import Channels, Gradients, Outputs, Reading

__all__ = ["available", "batch_norm_backward", "gather", "normalise_and_gather", "scatter", "store", "stride_of"]

_COLUMNS = 32  # of a block: of 16-bit numbers, as many bytes as a GPU reads at once
_ROWS = 64
_ROWS_TO_SCATTER = 32  # three numbers of each place in registers
_PARTS = 512  # sums are taken over about so many parts of the rows
# The channels that enter a convolution come in multiples of so many, or cuDNN copies them to where they do.
_MULTIPLES = {torch.bfloat16: 16, torch.float16: 16}
_PRECISIONS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def available(precision: torch.dtype) -> bool:
    """Test that there are kernels for numbers of this precision, and Triton to compile them."""
    return precision in _PRECISIONS and find_spec("triton") is not None


def stride_of(channels: int, precision: torch.dtype) -> int:
    """Length of the rows in which channels are gathered, zeros behind them, for convolutions in this precision."""
    multiple = _MULTIPLES.get(precision, 1)
    return multiple * _blocks(channels, multiple)


def store(output: Tensor, outputs: Outputs, position: int, measure: bool) -> None:
    """Store an output on the GPU, like :func:`zoo.fast.processor.store`."""
    values, mean, variance, finished = outputs
    _, rows, width = values.shape
    moving = output.data_ptr() != values.data_ptr() + position * rows * width * values.element_size()
    if not moving and not measure:
        return
    part_rows, parts = _parts(rows)
    partial = mean.new_empty(parts, 2, width, dtype=torch.float64)
    pointers = (output, values, partial, mean, variance, finished)
    grid = (parts, _blocks(width, _COLUMNS))
    _launch("store", grid, *pointers, position, rows, width, part_rows, moving, measure, _ROWS, _COLUMNS)


def normalise_and_gather(
    norm: nn.BatchNorm2d, newest: int, links: Tensor, outputs: Outputs, memory: Tensor
) -> Channels:
    """Normalise channels and gather them on the GPU, like :func:`zoo.fast.processor.normalise_and_gather`."""
    values, mean, variance, _ = outputs
    (_, rows, width), chosen = values.shape, norm.num_features
    channels = Channels(links.new_empty(chosen), mean.new_empty(4, chosen))
    running: Any = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
    if norm.training:
        if norm.momentum is None:
            running[2].add_(1)  # before any program looks at it
        torch.autograd.graph.increment_version(running)
    pointers = (values, mean, variance, links, norm.weight, norm.bias, *running, *channels, memory)
    settings = (norm.eps, -1.0 if norm.momentum is None else norm.momentum, norm.training)
    stride = memory.shape[1]
    grid = (_blocks(rows, _ROWS), _blocks(stride, _COLUMNS))
    _launch("normalise_and_gather", grid, *pointers, newest, rows, width, chosen, stride, *settings, _ROWS, _COLUMNS)
    return channels


def gather(reading: Reading) -> None:
    """Gather channels on the GPU, like :func:`zoo.fast.processor.gather`."""
    rows, _, _, stride = sizes = _sizes(reading)
    grid = (_blocks(rows, _ROWS), _blocks(stride, _COLUMNS))
    _launch("gather", grid, reading.outputs.values, *reading.channels, reading.memory, *sizes, 0, _ROWS, _COLUMNS)


def scatter(gradient: Tensor, outputs: Outputs, channels: Channels, gradients: Gradients) -> tuple[Tensor, Tensor]:
    """Add the gradient of gathered channels to theirs on the GPU, like :func:`zoo.fast.processor.scatter`."""
    (_, rows, width), (columns, statistics) = outputs.values.shape, channels
    chosen = len(columns)
    part_rows, parts = _parts(rows)
    partial, for_parameters = statistics.new_empty(parts, 2, chosen), statistics.new_empty(2, chosen)
    pointers = (gradient, outputs.values, *channels, *gradients, partial, outputs.finished, for_parameters)
    sizes = (rows, width, chosen, gradient.shape[1], len(outputs.mean), part_rows)
    _launch("scatter", (parts, _blocks(chosen, _COLUMNS)), *pointers, *sizes, _ROWS_TO_SCATTER, _COLUMNS)
    for_weight, for_bias = for_parameters
    return for_weight, for_bias


def batch_norm_backward(
    gradients: Gradients, outputs: Outputs, position: int, found: Tensor, reading: Reading | None
) -> None:
    """Take the last step back through a batch norm on the GPU, like :func:`zoo.fast.processor.batch_norm_backward`."""
    values, mean, _, _ = outputs
    _, rows, width = values.shape
    row_blocks, column_blocks = _blocks(rows, _ROWS), _blocks(width, _COLUMNS)
    pointers = (gradients.values, values, mean, gradients.sums, gradients.touched, found)
    gathered: tuple = (values, found, mean, found, 0, 0, 0, 0)  # not looked at
    if reading is not None:
        gather_rows, _, _, stride = sizes = _sizes(reading)
        gathered = (reading.outputs.values, *reading.channels, reading.memory, *sizes)
        row_blocks, column_blocks = (
            max(row_blocks, _blocks(gather_rows, _ROWS)),
            column_blocks + _blocks(stride, _COLUMNS),
        )
    settings = (reading is not None, _ROWS, _COLUMNS)
    grid = (row_blocks, column_blocks)
    _launch("batch_norm_backward", grid, *pointers, position, rows, width, len(mean), *gathered, *settings)


def _sizes(reading: Reading) -> tuple[int, int, int, int]:
    _, rows, width = reading.outputs.values.shape
    return rows, width, len(reading.channels.columns), reading.memory.shape[1]


def _blocks(length: int, size: int) -> int:
    return -(-length // size)


def _parts(rows: int) -> tuple[int, int]:
    """Rows of a part, whole blocks of them, and how many parts there are."""
    part_rows = _ROWS * _blocks(rows, _ROWS * _PARTS)
    return part_rows, _blocks(rows, part_rows)


def _launch(kernel: str, grid: tuple[int, ...], *arguments: Any) -> None:
    """Run a kernel on the GPU of its first argument, which need not be the current one.

    Raises:
        RuntimeError: If it does not compile or cannot be started; the message says how to do without.
    """
    device = arguments[0].get_device()
    try:
        if device < 0 or device == torch.cuda.current_device():  # below 0 it is interpreted
            getattr(_kernels(), kernel)[grid](*arguments)
        else:
            with torch.cuda.device(device):
                getattr(_kernels(), kernel)[grid](*arguments)
    except Exception as error:  # of Triton, of the compilers and the driver that it starts
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise RuntimeError(
            f"Expected the kernel {kernel} of the fast pass to run on this GPU, but {type(error).__name__}: {reason}; "
            "--model.network.share_outputs false runs the modules in its place."
        ) from error


@cache
def _kernels() -> ModuleType:
    from nnmass.zoo.fast import triton_kernels  # loads Triton, which only a GPU needs

    return triton_kernels
