"""Compiled sweeps behind :mod:`zoo.fast.processor`, one set per precision; threads take parts of the rows.

Every function takes a pointer to int64: the count of parts, then sizes, then addresses, in the order in which its
body reads them. bfloat16 comes as uint16, the upper half of a float32.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import carray, cfunc, types
from numba.extending import intrinsic, overload

from nnmass.zoo.fast.kept import kept
from nnmass.zoo.fast.threads import TEAM_SIZE, THREAD_NUMBER

__all__ = ["LOOPS"]

_ROWS = 64  # rows that are summed in the precision of the numbers, before their sums are added in double
_thread_number: Any = types.ExternalFunction(THREAD_NUMBER, types.int32())
_team_size: Any = types.ExternalFunction(TEAM_SIZE, types.int32())
_signature = types.void(types.CPointer(types.int64))
_options: dict[str, Any] = {"fastmath": {"contract", "nsz", "reassoc"}, "error_model": "numpy"}


def _compiled(function: Callable) -> Any:
    """Compile a function; what the compiler makes is kept on disk where there is a folder for it."""
    return kept(lambda cache: cfunc(_signature, cache=cache, **_options)(function))


def _at_address(typing: Any, address: Any, number: Any) -> Any:
    """Turn an address into a pointer to numbers of this type."""
    signature = types.CPointer(number.dtype)(types.int64, number)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return signature, generate


_at: Any = intrinsic(_at_address)


# numba wants the same arguments, without types, in a function and in what it compiles for it.
def _wide(number):  # type: ignore[no-untyped-def]
    """Convert a stored number to one to calculate with."""


def _narrow(number, like):  # type: ignore[no-untyped-def]
    """Convert a calculated number to one to store."""


@overload(_wide, inline="always")
def _wide_as(number):  # type: ignore[no-untyped-def]
    if isinstance(number, types.Integer):
        return lambda number: np.uint32(np.uint32(number) << np.uint32(16)).view(np.float32)
    return lambda number: number


@overload(_narrow, inline="always")
def _narrow_as(number, like):  # type: ignore[no-untyped-def]
    if isinstance(like, types.Integer):

        def rounded(number, like):  # type: ignore[no-untyped-def]
            bits = np.float32(number).view(np.uint32)
            even = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
            return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + even) >> np.uint32(16))

        return rounded
    return lambda number, like: number


def _store(stored: Any, number: Any) -> Any:
    """Compile the sweep that stores an output, and sums it up and its squares for the batch normalisation."""

    @_compiled
    def store(numbers: Any) -> None:
        given = carray(numbers, (6,))
        parts, rows, width = given[0], given[1], given[2]
        output = carray(_at(given[3], stored), (rows * width,))
        kept = carray(_at(given[4], stored), (rows * width,))
        sums = carray(_at(given[5], np.float64), (parts, 2, width))
        moving = given[3] != given[4]
        for part in range(_thread_number(), parts, _team_size()):
            total, square, base = np.zeros(width, number), np.zeros(width, number), np.zeros(width, number)
            sums[part] = 0
            begin, end = part * rows // parts, (part + 1) * rows // parts
            for row in range(begin, end):
                done = (row - begin) % _ROWS
                source, target = output[row * width : (row + 1) * width], kept[row * width : (row + 1) * width]
                if moving:
                    for column in range(width):
                        target[column] = source[column]
                if done == 0:  # what is near all but an outlier: the median of three rows
                    last = min(row + _ROWS, end) - 1
                    middle = (row + last) // 2
                    for column in range(width):
                        one, two = _wide(source[column]), _wide(output[middle * width + column])
                        three = _wide(output[last * width + column])
                        base[column] = max(min(one, two), min(max(one, two), three))
                for column in range(width):
                    found = _wide(source[column]) - base[column]
                    total[column] += found
                    square[column] += found * found
                if done == _ROWS - 1 or row == end - 1:
                    for column in range(width):
                        shift = np.float64(base[column]) - np.float64(_wide(output[column]))
                        sums[part, 0, column] += total[column] + (done + 1) * shift
                        sums[part, 1, column] += square[column] + shift * (2 * total[column] + (done + 1) * shift)
                        total[column] = 0
                        square[column] = 0

    return store


def _gather(stored: Any, number: Any) -> Any:
    """Compile the sweep that normalises chosen channels and gathers them as the input of a convolution."""

    @_compiled
    def gather(numbers: Any) -> None:
        given = carray(numbers, (10,))
        parts, count, rows, width, chosen = given[0], given[1], given[2], given[3], given[4]
        values = carray(_at(given[5], stored), (count * rows * width,))
        places = carray(_at(given[6], np.int64), (chosen,))
        scale = carray(_at(given[7], number), (chosen,))
        shift = carray(_at(given[8], number), (chosen,))
        found = carray(_at(given[9], stored), (rows * chosen,))
        for part in range(_thread_number(), parts, _team_size()):
            for row in range(part * rows // parts, (part + 1) * rows // parts):
                source, target = values[row * width :], found[row * chosen : (row + 1) * chosen]
                newest = source[places[0] : places[0] + width]  # side by side, and so many at once
                for place in range(width):
                    value = scale[place] * _wide(newest[place]) + shift[place]
                    target[place] = _narrow(max(value, number(0)), source[0])
                for place in range(width, chosen):
                    value = scale[place] * _wide(source[np.uint64(places[place])]) + shift[place]
                    target[place] = _narrow(max(value, number(0)), source[0])

    return gather


def _scatter(stored: Any, number: Any) -> Any:
    """Compile the sweep that adds the gradient of a convolution's input to those of the channels that it has read."""

    @_compiled
    def scatter(numbers: Any) -> None:
        given = carray(numbers, (14,))
        parts, count, rows, width, chosen = given[0], given[1], given[2], given[3], given[4]
        values = carray(_at(given[5], stored), (count * rows * width,))
        places = carray(_at(given[6], np.int64), (chosen,))
        scale = carray(_at(given[7], number), (chosen,))
        shift = carray(_at(given[8], number), (chosen,))
        gradient = carray(_at(given[9], stored), (rows * chosen,))
        gradients = carray(_at(given[10], stored), (count * rows * width,))
        mean = carray(_at(given[11], number), (chosen,))
        sums = carray(_at(given[12], np.float64), (parts, 2, chosen))
        touched = carray(_at(given[13], np.uint8), (chosen,))
        for part in range(_thread_number(), parts, _team_size()):
            total, product = np.zeros(chosen, number), np.zeros(chosen, number)
            sums[part] = 0
            begin, end = part * rows // parts, (part + 1) * rows // parts
            for row in range(begin, end):
                source, target = values[row * width :], gradients[row * width :]
                coming = gradient[row * chosen : (row + 1) * chosen]
                newest, summed = source[places[0] : places[0] + width], target[places[0] : places[0] + width]
                for place in range(width):
                    value, slope = _wide(newest[place]), _wide(coming[place])
                    slope = number(0) if scale[place] * value + shift[place] <= 0 else slope
                    total[place] += slope
                    product[place] += slope * (value - mean[place])
                    before = _wide(summed[place]) if touched[place] else number(0)
                    summed[place] = _narrow(before + slope * scale[place], source[0])
                for place in range(width, chosen):
                    where = np.uint64(places[place])
                    value, slope = _wide(source[where]), _wide(coming[place])
                    slope = number(0) if scale[place] * value + shift[place] <= 0 else slope
                    total[place] += slope
                    product[place] += slope * (value - mean[place])
                    before = _wide(target[where]) if touched[place] else number(0)
                    target[where] = _narrow(before + slope * scale[place], source[0])
                if (row - begin) % _ROWS == _ROWS - 1 or row == end - 1:
                    for place in range(chosen):
                        sums[part, 0, place] += total[place]
                        sums[part, 1, place] += product[place]
                        total[place] = 0
                        product[place] = 0

    return scatter


def _batch_norm_backward(stored: Any, number: Any) -> Any:
    """Compile the last step back through a batch normalisation, once all readers have added their gradients."""

    @_compiled
    def batch_norm_backward(numbers: Any) -> None:
        given = carray(numbers, (10,))
        parts, rows, width = given[0], given[1], given[2]
        gradient = carray(_at(given[3], stored), (rows * width,))
        kept = carray(_at(given[4], stored), (rows * width,))
        mean = carray(_at(given[5], number), (width,))
        constant = carray(_at(given[6], number), (width,))
        slope = carray(_at(given[7], number), (width,))
        found = carray(_at(given[8], stored), (rows * width,))
        touched = carray(_at(given[9], np.uint8), (width,))
        for part in range(_thread_number(), parts, _team_size()):
            for row in range(part * rows // parts, (part + 1) * rows // parts):
                begin, end = row * width, (row + 1) * width
                coming, source, target = gradient[begin:end], kept[begin:end], found[begin:end]
                for column in range(width):
                    value = _wide(source[column]) - mean[column]
                    whole = _wide(coming[column]) if touched[column] else number(0)
                    target[column] = _narrow(whole - constant[column] - slope[column] * value, source[0])

    return batch_norm_backward


def _compile(stored: Any, number: Any) -> tuple[Any, ...]:
    """Compile the sweeps for numbers that are stored and calculated with in these precisions."""
    return tuple(compiled(stored, number) for compiled in (_store, _gather, _scatter, _batch_norm_backward))


LOOPS: dict[torch.dtype, Callable[[], tuple[Any, ...]]] = {
    torch.float32: lambda: _compile(np.float32, np.float32),
    torch.float64: lambda: _compile(np.float64, np.float64),
    torch.bfloat16: lambda: _compile(np.uint16, np.float32),
}
"""By precision of the stored numbers, what compiles the four sweeps; later runs find them on disk."""
