"""The kernels behind :mod:`zoo.fast.gpu`.

Outputs and gradients are matrices (rows, w) one behind the other, column c of all of them column c mod w of matrix
c / w. A program takes a part of the rows, `part_rows` of them, and a block of columns. Sums over rows are left part by
part, as (parts, 2, n), and the last program of a block of columns to be done adds them up, in double precision and in
the order of the parts: the same numbers give the same sums.
"""

import triton
import triton.language as tl

__all__ = ["batch_norm_backward", "gather", "normalise_and_gather", "scatter", "store"]

# Compiled once, not again for each value that is 1 or a multiple of 16; `width` and `stride` are left out, as vectors
# of columns can be loaded at once where they are such multiples.
_ANY = ["position", "newest", "rows", "chosen", "part_rows", "all_columns", "gather_rows", "blocks_before"]


@triton.jit
def _load(pointer, offset, inside):
    """A block (rows, columns), 0 where not inside; neighbouring threads take neighbouring columns.

    Triton 3.5 and 3.6 have neighbouring threads take neighbouring rows where they know nothing about the addresses. A
    block of one dimension leaves no choice.
    """
    count: tl.constexpr = offset.shape[0] * offset.shape[1]
    flat = tl.load(pointer + tl.reshape(offset, (count,)), mask=tl.reshape(inside, (count,)), other=0)
    return tl.reshape(flat, (offset.shape[0], offset.shape[1]))


@triton.jit
def _store(pointer, offset, value, inside):
    """The way back of _load, in the precision of what is stored to."""
    count: tl.constexpr = offset.shape[0] * offset.shape[1]
    number = _rounded(value, pointer.dtype.element_ty)
    tl.store(pointer + tl.reshape(offset, (count,)), tl.reshape(number, (count,)), mask=tl.reshape(inside, (count,)))


@triton.jit
def _rounded(value, precision: tl.constexpr):
    """Numbers in another precision; no GPU before sm_90 rounds from 64 to 16 bits in one step."""
    if precision.primitive_bitwidth == 16:
        value = value.to(tl.float32)
    return value.to(precision)


@triton.jit
def _is_last(finished_ptr):
    """Test that all other parts of this block of columns are done, so that what they have stored can be read."""
    tl.debug_barrier()  # this program's threads have stored what they had to
    last = tl.atomic_add(finished_ptr + tl.program_id(1), 1) == tl.num_programs(0) - 1
    if last:
        tl.store(finished_ptr + tl.program_id(1), 0)  # for the next launch
    return last


@triton.jit
def _sum_parts(partial_ptr, place, inside, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Both sums of each column over the parts, in double precision."""
    first = tl.zeros((COLUMNS,), dtype=tl.float64)
    second = tl.zeros((COLUMNS,), dtype=tl.float64)
    for begin in range(0, tl.num_programs(0), ROWS):
        part = (begin + tl.arange(0, ROWS)[:, None]).to(tl.int64)
        there = (part < tl.num_programs(0)) & inside[None, :]
        source = part * 2 * width + place[None, :]
        first += tl.sum(tl.load(partial_ptr + source, mask=there, other=0).to(tl.float64), axis=0)
        second += tl.sum(tl.load(partial_ptr + (source + width), mask=there, other=0).to(tl.float64), axis=0)
    return first, second


@triton.jit(do_not_specialize=_ANY)
def store(
    output_ptr, values_ptr, partial_ptr, mean_ptr, variance_ptr, finished_ptr,
    position, rows, width, part_rows,
    MOVE: tl.constexpr, MEASURE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Copy an output (rows, w) to its place; mean and variance of its columns.

    Summed up are x - x of row 0, and its square. Within a block of rows the median of three of them takes the place of
    row 0, which may lie far off.
    """
    part = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < width
    number: tl.constexpr = tl.float64 if output_ptr.dtype.element_ty == tl.float64 else tl.float32
    first = tl.load(output_ptr + column, mask=there, other=0).to(tl.float64)
    total = tl.zeros((COLUMNS,), dtype=tl.float64)
    square = tl.zeros((COLUMNS,), dtype=tl.float64)
    end = tl.minimum((part + 1) * part_rows, rows)
    for begin in range(part * part_rows, end, ROWS):
        row = begin + tl.arange(0, ROWS)[:, None]
        inside = (row < end) & there[None, :]
        place = row * width + column[None, :]
        value = tl.load(output_ptr + place, mask=inside, other=0)
        if MOVE:
            tl.store(values_ptr + position.to(tl.int64) * rows * width + place, value, mask=inside)
        if MEASURE:
            last = tl.minimum(begin + ROWS, end) - 1
            one = tl.load(output_ptr + begin * width + column, mask=there, other=0).to(number)
            two = tl.load(output_ptr + (begin + last) // 2 * width + column, mask=there, other=0).to(number)
            three = tl.load(output_ptr + last * width + column, mask=there, other=0).to(number)
            base = tl.maximum(tl.minimum(one, two), tl.minimum(tl.maximum(one, two), three))
            found = tl.where(inside, value.to(number) - base[None, :], 0.0)
            here = tl.sum(found, axis=0).to(tl.float64)
            shift, count = base.to(tl.float64) - first, tl.minimum(ROWS, end - begin)
            total += here + count * shift
            square += tl.sum(found * found, axis=0).to(tl.float64) + shift * (2 * here + count * shift)
    if MEASURE:
        tl.store(partial_ptr + (part * 2) * width + column, total, mask=there)
        tl.store(partial_ptr + (part * 2 + 1) * width + column, square, mask=there)
        if _is_last(finished_ptr):
            total, square = _sum_parts(partial_ptr, column, there, width, ROWS, COLUMNS)
            shifted = total / rows
            mean, variance = first + shifted, square / rows - shifted * shifted
            variance = tl.where(variance < 0, 0.0, variance)
            place = position * width + column
            tl.store(mean_ptr + place, mean.to(mean_ptr.dtype.element_ty), mask=there)
            tl.store(variance_ptr + place, variance.to(variance_ptr.dtype.element_ty), mask=there)


@triton.jit
def _first(column, rows, width):
    """Places of the columns of row 0 in memory, counted in numbers."""
    column = column.to(tl.int32)  # which is divided faster
    return (column // width).to(tl.int64) * rows * width + column % width


@triton.jit
def _gather(
    values_ptr, found_ptr, column, scale, shift, place, rows, width, chosen, stride,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """max(scale x + shift, 0) of a block of columns of (rows, stride), 0 from column n on."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    inside = (row < rows) & (place < chosen)[None, :]
    value = _load(values_ptr, _first(column, rows, width)[None, :] + row * width, inside).to(scale.dtype)
    result = scale[None, :] * value + shift[None, :]
    result = tl.where((result <= 0) | ~inside, 0.0, result)  # what is not a number stays that
    _store(found_ptr, row * stride + place[None, :], result, (row < rows) & (place < stride)[None, :])


@triton.jit(do_not_specialize=_ANY)
def gather(
    values_ptr, columns_ptr, statistics_ptr, found_ptr, rows, width, chosen, stride, blocks_before,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """max(scale x + shift, 0) of the columns, (rows, n), by the blocks of columns after some that do something else.

    In memory the rows have a length of `stride`, with zeros from column n on.
    """
    place = (tl.program_id(1) - blocks_before) * COLUMNS + tl.arange(0, COLUMNS)
    there = place < chosen
    column = tl.load(columns_ptr + place, mask=there, other=0)
    scale = tl.load(statistics_ptr + 2 * chosen + place, mask=there, other=0)
    shift = tl.load(statistics_ptr + 3 * chosen + place, mask=there, other=0)
    _gather(values_ptr, found_ptr, column, scale, shift, place, rows, width, chosen, stride, ROWS, COLUMNS)


@triton.jit(do_not_specialize=_ANY)
def normalise_and_gather(
    values_ptr, mean_ptr, variance_ptr, links_ptr, weight_ptr, bias_ptr,
    running_mean_ptr, running_variance_ptr, tracked_ptr, columns_ptr, statistics_ptr, found_ptr,
    newest, rows, width, chosen, stride,
    EPSILON: tl.constexpr, MOMENTUM: tl.constexpr, TRAINING: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Columns of a layer, mean, 1 / deviation, scale and shift of each, and what `gather` makes of them.

    Every program computes these statistics for its columns, and those of part 0 write them down, with running
    statistics that follow by MOMENTUM, or where that is negative are the mean over all batches, of which `tracked` have
    been counted, this one among them.
    """
    place = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = place < chosen
    number: tl.constexpr = statistics_ptr.dtype.element_ty
    linked = tl.load(links_ptr + place - width, mask=there & (place >= width), other=0)
    column = tl.where(place < width, newest * width + place, linked)
    if TRAINING:
        mean = tl.load(mean_ptr + column, mask=there, other=0)
        variance = tl.load(variance_ptr + column, mask=there, other=0)
    else:
        mean = tl.load(running_mean_ptr + place, mask=there, other=0).to(number)
        variance = tl.load(running_variance_ptr + place, mask=there, other=0).to(number)
    inverse = 1 / tl.sqrt(variance + EPSILON)
    scale = tl.load(weight_ptr + place, mask=there, other=0).to(number) * inverse
    shift = tl.load(bias_ptr + place, mask=there, other=0).to(number) - mean * scale
    if tl.program_id(0) == 0:
        tl.store(columns_ptr + place, column, mask=there)
        tl.store(statistics_ptr + place, mean, mask=there)
        tl.store(statistics_ptr + chosen + place, inverse, mask=there)
        tl.store(statistics_ptr + 2 * chosen + place, scale, mask=there)
        tl.store(statistics_ptr + 3 * chosen + place, shift, mask=there)
        if TRAINING:
            if MOMENTUM < 0:
                momentum = 1 / tl.load(tracked_ptr).to(number)
            else:
                momentum = tl.full((), MOMENTUM, number)
                if tl.program_id(1) == 0:
                    tl.store(tracked_ptr, tl.load(tracked_ptr) + 1)
            unbiased = variance * (rows.to(number) / tl.maximum(rows - 1, 1).to(number))
            before = tl.load(running_mean_ptr + place, mask=there, other=0).to(number)
            after = (1 - momentum) * before + momentum * mean
            tl.store(running_mean_ptr + place, _rounded(after, running_mean_ptr.dtype.element_ty), mask=there)
            before = tl.load(running_variance_ptr + place, mask=there, other=0).to(number)
            after = (1 - momentum) * before + momentum * unbiased
            tl.store(running_variance_ptr + place, _rounded(after, running_variance_ptr.dtype.element_ty), mask=there)
    _gather(values_ptr, found_ptr, column, scale, shift, place, rows, width, chosen, stride, ROWS, COLUMNS)


@triton.jit(do_not_specialize=_ANY)
def scatter(
    gradient_ptr, values_ptr, columns_ptr, statistics_ptr, gradients_ptr, sums_ptr, touched_ptr, partial_ptr,
    finished_ptr, for_parameters_ptr, rows, width, chosen, stride, all_columns, part_rows,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Add scale times the rectified gradient (rows, n), in rows of a length of stride, to its columns.

    Also gradients of weight and bias.

    Also to what the columns' statistics will take off: the sum of what was added, and that with (x - mean) / variance.
    """
    part = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = place < chosen
    number: tl.constexpr = partial_ptr.dtype.element_ty
    column = tl.load(columns_ptr + place, mask=there, other=0)
    base = _first(column, rows, width)[None, :]
    mean = tl.load(statistics_ptr + place, mask=there, other=0)
    scale = tl.load(statistics_ptr + 2 * chosen + place, mask=there, other=0)
    shift = tl.load(statistics_ptr + 3 * chosen + place, mask=there, other=0)
    again = (tl.load(touched_ptr + column, mask=there, other=0) != 0)[None, :]
    total = tl.zeros((COLUMNS,), dtype=number)
    product = tl.zeros((COLUMNS,), dtype=number)
    end = tl.minimum((part + 1) * part_rows, rows)
    for begin in range(part * part_rows, end, ROWS):
        row = begin + tl.arange(0, ROWS)[:, None]
        inside = (row < end) & there[None, :]
        source = base + row * width
        value = _load(values_ptr, source, inside).to(number)
        slope = _load(gradient_ptr, row * stride + place[None, :], inside).to(number)
        # Where the value is not a number the gradient goes through, as through torch's own ReLU.
        slope = tl.where((scale[None, :] * value + shift[None, :] <= 0) | ~inside, 0.0, slope)
        total += tl.sum(slope, axis=0)
        product += tl.sum(slope * (value - mean[None, :]), axis=0)
        before = _load(gradients_ptr, source, inside & again).to(number)
        _store(gradients_ptr, source, before + slope * scale[None, :], inside)
    tl.store(partial_ptr + (part * 2) * chosen + place, total, mask=there)
    tl.store(partial_ptr + (part * 2 + 1) * chosen + place, product, mask=there)
    if _is_last(finished_ptr):
        inverse = tl.load(statistics_ptr + chosen + place, mask=there, other=0)
        all_total, all_product = _sum_parts(partial_ptr, place, there, chosen, ROWS, COLUMNS)
        for_weight = all_product * inverse
        tl.store(for_parameters_ptr + place, for_weight.to(for_parameters_ptr.dtype.element_ty), mask=there)
        tl.store(for_parameters_ptr + chosen + place, all_total.to(for_parameters_ptr.dtype.element_ty), mask=there)
        target = sums_ptr + column
        tl.store(target, tl.load(target, mask=there, other=0) + all_total * scale, mask=there)
        target = sums_ptr + all_columns + column
        more = for_weight * scale * inverse
        tl.store(target, tl.load(target, mask=there, other=0) + more, mask=there)
        tl.store(touched_ptr + column, tl.full((COLUMNS,), 1, tl.uint8), mask=there)


@triton.jit(do_not_specialize=_ANY)
def batch_norm_backward(
    gradients_ptr, values_ptr, mean_ptr, sums_ptr, touched_ptr, found_ptr,
    position, rows, width, all_columns,
    gather_values_ptr, columns_ptr, statistics_ptr, gathered_ptr, gather_rows, gather_width, chosen, stride,
    GATHER: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Of one output: g - sum / rows - sum' / rows (x - mean), g being 0 where nothing read it.

    Where GATHER, the blocks of columns beyond those of the output do what `gather` does, which is needed next.
    """
    own_blocks = tl.cdiv(width, COLUMNS)
    if tl.program_id(1) < own_blocks:
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        there = column < width
        number: tl.constexpr = mean_ptr.dtype.element_ty
        shared = position * width + column
        constant = (tl.load(sums_ptr + shared, mask=there, other=0) / rows).to(number)[None, :]
        slope = (tl.load(sums_ptr + all_columns + shared, mask=there, other=0) / rows).to(number)[None, :]
        centre = tl.load(mean_ptr + shared, mask=there, other=0)[None, :]
        read = (tl.load(touched_ptr + shared, mask=there, other=0) != 0)[None, :]
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
        inside = (row < rows) & there[None, :]
        place = row * width + column[None, :]
        source = position.to(tl.int64) * rows * width + place
        value = tl.load(values_ptr + source, mask=inside, other=0).to(number)
        # Loaded where nothing was written too, many columns at once; what is there then is not looked at.
        whole = tl.load(gradients_ptr + source, mask=inside, other=0).to(number)
        result = tl.where(read, whole, 0.0) - constant - slope * (value - centre)
        tl.store(found_ptr + place, _rounded(result, found_ptr.dtype.element_ty), mask=inside)
    elif GATHER:
        gather(
            gather_values_ptr, columns_ptr, statistics_ptr, gathered_ptr, gather_rows, gather_width, chosen, stride,
            own_blocks, ROWS, COLUMNS,
        )  # fmt: skip
