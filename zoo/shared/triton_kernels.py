"""The kernels behind :mod:`zoo.shared.gpu`.

Outputs and gradients are matrices (rows, w) one behind the other, column c of all of them column c mod w of matrix
c / w. Sums over rows are taken part by part, a program each, and left as (parts, 2, n) for a kernel that adds them up
in double precision: one order, so the same numbers give the same sums.
"""

import triton
import triton.language as tl

__all__ = ["gather", "measure", "normalise", "scatter", "settle", "spread", "store"]


@triton.jit
def store(
    output, kept, partial, rows, width, part_rows,
    MOVE: tl.constexpr, MEASURE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Copy (rows, w); sums of x - x of row 0, and of its square, over the rows of this part.

    Within a block of rows the median of three of them takes the place of row 0, which may lie far off.
    """
    part = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    number: tl.constexpr = tl.float64 if output.dtype.element_ty == tl.float64 else tl.float32
    first = tl.load(output + column, mask=column < width, other=0).to(tl.float64)
    total = tl.zeros((COLUMNS,), dtype=tl.float64)
    square = tl.zeros((COLUMNS,), dtype=tl.float64)
    end = tl.minimum((part + 1) * part_rows, rows)
    for begin in range(part * part_rows, end, ROWS):
        row = begin + tl.arange(0, ROWS)[:, None]
        inside = (row < end) & (column < width)[None, :]
        place = row * width + column[None, :]
        value = tl.load(output + place, mask=inside, other=0)
        if MOVE:
            tl.store(kept + place, value, mask=inside)
        if MEASURE:
            last = tl.minimum(begin + ROWS, end) - 1
            one = tl.load(output + begin * width + column, mask=column < width, other=0).to(number)
            two = tl.load(output + (begin + last) // 2 * width + column, mask=column < width, other=0).to(number)
            three = tl.load(output + last * width + column, mask=column < width, other=0).to(number)
            base = tl.maximum(tl.minimum(one, two), tl.minimum(tl.maximum(one, two), three))
            found = tl.where(inside, value.to(number) - base[None, :], 0.0)
            here = tl.sum(found, axis=0).to(tl.float64)
            shift, count = base.to(tl.float64) - first, tl.minimum(ROWS, end - begin)
            total += here + count * shift
            square += tl.sum(found * found, axis=0).to(tl.float64) + shift * (2 * here + count * shift)
    if MEASURE:
        tl.store(partial + (part * 2) * width + column, total, mask=column < width)
        tl.store(partial + (part * 2 + 1) * width + column, square, mask=column < width)


@triton.jit
def _total(partial, place, inside, width, parts, PARTS: tl.constexpr, COLUMNS: tl.constexpr):
    """Both sums of each column over the parts, in double precision."""
    first = tl.zeros((COLUMNS,), dtype=tl.float64)
    second = tl.zeros((COLUMNS,), dtype=tl.float64)
    for begin in range(0, parts, PARTS):
        part = begin + tl.arange(0, PARTS)[:, None]
        there = (part < parts) & inside[None, :]
        source = partial + (part * 2) * width + place[None, :]
        first += tl.sum(tl.load(source, mask=there, other=0).to(tl.float64), axis=0)
        second += tl.sum(tl.load(source + width, mask=there, other=0).to(tl.float64), axis=0)
    return first, second


@triton.jit
def measure(partial, output, mean, variance, rows, width, parts, PARTS: tl.constexpr, COLUMNS: tl.constexpr):
    """Mean and variance of each column from what ``store`` left."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < width
    total, square = _total(partial, column, inside, width, parts, PARTS, COLUMNS)
    shifted = total / rows
    first = tl.load(output + column, mask=inside, other=0).to(tl.float64)
    tl.store(mean + column, (first + shifted).to(mean.dtype.element_ty), mask=inside)
    found = square / rows - shifted * shifted
    tl.store(variance + column, tl.where(found < 0, 0.0, found).to(variance.dtype.element_ty), mask=inside)


@triton.jit
def normalise(
    links, mean, variance, weight, bias, running_mean, running_variance, columns, figures,
    newest, width, chosen, rows,
    EPSILON: tl.constexpr, MOMENTUM: tl.constexpr, TRAINING: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Columns of a layer, and mean, 1 / deviation, scale and shift of each; running statistics follow by MOMENTUM."""
    place = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = place < chosen
    linked = tl.load(links + place - width, mask=inside & (place >= width), other=0)
    column = tl.where(place < width, newest * width + place, linked)
    tl.store(columns + place, column, mask=inside)
    number: tl.constexpr = figures.dtype.element_ty
    if TRAINING:
        centre = tl.load(mean + column, mask=inside, other=0).to(tl.float64)
        spread = tl.load(variance + column, mask=inside, other=0).to(tl.float64)
        if MOMENTUM > 0:
            kept: tl.constexpr = running_mean.dtype.element_ty
            before = tl.load(running_mean + place, mask=inside, other=0).to(tl.float64)
            tl.store(running_mean + place, (before + MOMENTUM * (centre - before)).to(kept), mask=inside)
            before = tl.load(running_variance + place, mask=inside, other=0).to(tl.float64)
            unbiased = spread * (rows / tl.maximum(rows - 1, 1).to(tl.float64))
            tl.store(running_variance + place, (before + MOMENTUM * (unbiased - before)).to(kept), mask=inside)
    else:
        centre = tl.load(running_mean + place, mask=inside, other=0).to(tl.float64)
        spread = tl.load(running_variance + place, mask=inside, other=0).to(tl.float64)
    inverse = 1 / tl.sqrt(spread + EPSILON)
    scale = tl.load(weight + place, mask=inside, other=0).to(tl.float64) * inverse
    shift = tl.load(bias + place, mask=inside, other=0).to(tl.float64) - centre * scale
    tl.store(figures + place, centre.to(number), mask=inside)
    tl.store(figures + chosen + place, inverse.to(number), mask=inside)
    tl.store(figures + 2 * chosen + place, scale.to(number), mask=inside)
    tl.store(figures + 3 * chosen + place, shift.to(number), mask=inside)


@triton.jit
def gather(
    values, columns, scale, shift, found, rows, width, chosen, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """max(scale x + shift, 0) of the columns, (rows, n)."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    place = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = place < chosen
    inside = (row < rows) & there[None, :]
    column = tl.load(columns + place, mask=there, other=0)
    source = (column // width * rows * width + column % width)[None, :] + row * width
    value = tl.load(values + source, mask=inside, other=0).to(scale.dtype.element_ty)
    factor, summand = tl.load(scale + place, mask=there, other=0), tl.load(shift + place, mask=there, other=0)
    result = factor[None, :] * value + summand[None, :]
    result = tl.where(result <= 0, 0.0, result)  # what is not a number stays that
    tl.store(found + row * chosen + place[None, :], result.to(found.dtype.element_ty), mask=inside)


@triton.jit
def scatter(
    gradient, values, columns, figures, gradients, touched, partial, rows, width, chosen, part_rows,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Add scale times the rectified gradient to its columns; its sum, and that with x - mean, over this part."""
    part = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = place < chosen
    number: tl.constexpr = partial.dtype.element_ty
    column = tl.load(columns + place, mask=there, other=0)
    base = (column // width * rows * width + column % width)[None, :]
    mean = tl.load(figures + place, mask=there, other=0)[None, :]
    scale = tl.load(figures + 2 * chosen + place, mask=there, other=0)[None, :]
    shift = tl.load(figures + 3 * chosen + place, mask=there, other=0)[None, :]
    again = (tl.load(touched + column, mask=there, other=0) != 0)[None, :]
    total = tl.zeros((COLUMNS,), dtype=number)
    product = tl.zeros((COLUMNS,), dtype=number)
    end = tl.minimum((part + 1) * part_rows, rows)
    for begin in range(part * part_rows, end, ROWS):
        row = begin + tl.arange(0, ROWS)[:, None]
        inside = (row < end) & there[None, :]
        value = tl.load(values + base + row * width, mask=inside, other=0).to(number)
        slope = tl.load(gradient + row * chosen + place[None, :], mask=inside, other=0).to(number)
        slope = tl.where((scale * value + shift > 0) & inside, slope, 0.0)
        total += tl.sum(slope, axis=0)
        product += tl.sum(slope * (value - mean), axis=0)
        before = tl.load(gradients + base + row * width, mask=inside & again, other=0).to(number)
        after = (before + slope * scale).to(gradients.dtype.element_ty)
        tl.store(gradients + base + row * width, after, mask=inside)
    tl.store(partial + (part * 2) * chosen + place, total, mask=there)
    tl.store(partial + (part * 2 + 1) * chosen + place, product, mask=there)


@triton.jit
def settle(
    partial, columns, figures, sums, touched, for_weight, for_bias, chosen, all_columns, parts,
    PARTS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Add up what ``scatter`` left: gradients of weight and bias, and what the columns' statistics will take off."""
    place = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = place < chosen
    total, product = _total(partial, place, there, chosen, parts, PARTS, COLUMNS)
    column = tl.load(columns + place, mask=there, other=0)
    inverse = tl.load(figures + chosen + place, mask=there, other=0).to(tl.float64)
    scale = tl.load(figures + 2 * chosen + place, mask=there, other=0).to(tl.float64)
    tl.store(for_bias + place, total.to(for_bias.dtype.element_ty), mask=there)
    tl.store(for_weight + place, (product * inverse).to(for_weight.dtype.element_ty), mask=there)
    target = sums + column
    tl.store(target, tl.load(target, mask=there, other=0) + total * scale, mask=there)
    target = sums + all_columns + column
    more = product * scale * inverse * inverse
    tl.store(target, tl.load(target, mask=there, other=0) + more, mask=there)
    tl.store(touched + column, tl.full((COLUMNS,), 1, tl.uint8), mask=there)


@triton.jit
def spread(
    gradients, kept, mean, sums, touched, found, rows, width, all_columns,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Of one output: g - sum / rows - sum' / rows (x - mean), g being 0 where nothing read it."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < width
    inside = (row < rows) & there[None, :]
    number: tl.constexpr = mean.dtype.element_ty
    constant = (tl.load(sums + column, mask=there, other=0) / rows).to(number)[None, :]
    slope = (tl.load(sums + all_columns + column, mask=there, other=0) / rows).to(number)[None, :]
    centre = tl.load(mean + column, mask=there, other=0)[None, :]
    read = (tl.load(touched + column, mask=there, other=0) != 0)[None, :]
    place = row * width + column[None, :]
    value = tl.load(kept + place, mask=inside, other=0).to(number)
    whole = tl.load(gradients + place, mask=inside & read, other=0).to(number)
    tl.store(found + place, (whole - constant - slope * (value - centre)).to(found.dtype.element_ty), mask=inside)
