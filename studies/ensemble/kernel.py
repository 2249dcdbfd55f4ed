"""One MLP's epoch, compiled: forward, backward and Adam without leaving the processor's cache.

Activations lie one neuron a row, one sample a column, so that row s w + k is neuron k of layer s, which is how links
are numbered. Inputs come as lists of what is not zero, because four pixels of five of a handwritten digit are.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["compiled"]

_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)


def _njit(function: Callable) -> Callable:
    """The function, compiled. Not kept on disk: functions that hold others are never found there again."""
    return numba.njit(fastmath={"contract", "nsz", "reassoc", "arcp"}, error_model="numpy", nogil=True)(function)


@_njit
def _exp(x: Any) -> Any:
    """e^x for x <= 0 in single precision, in a form that runs on a whole vector at once (Cephes' polynomial)."""
    x = max(x, np.float32(-87.0))
    power = np.floor(x * _LOG2E + np.float32(0.5))
    rest = x - power * _LN2_HIGH - power * _LN2_LOW
    sum_ = np.float32(1.9875691500e-4)
    sum_ = sum_ * rest + np.float32(1.3981999507e-3)
    sum_ = sum_ * rest + np.float32(8.3334519073e-3)
    sum_ = sum_ * rest + np.float32(4.1665795894e-2)
    sum_ = sum_ * rest + np.float32(1.6666665459e-1)
    sum_ = sum_ * rest + np.float32(5.0000001201e-1)
    found = sum_ * rest * rest + rest + np.float32(1)
    return found * np.uint32(np.uint32(np.int32(power) + np.int32(127)) << np.uint32(23)).view(np.float32)


def _add_scaled(width: int) -> Any:
    """A function that adds ``scale`` times ``width`` numbers at one address to those at another, as one vector.

    Left to itself the compiler asks before each short row whether the two overlap.
    """

    @intrinsic
    def add_scaled(typing, target, scale, source):  # type: ignore[no-untyped-def]
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = ir.VectorType(ir.FloatType(), width)
            to, by = (builder.inttoptr(arguments[place], vector.as_pointer()) for place in (0, 2))
            lane = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[1], ir.IntType(32)(0))
            scales = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), lane)
            product = builder.fmul(scales, builder.load(by, align=4), flags=["contract"])
            builder.store(builder.fadd(builder.load(to, align=4), product, flags=["contract"]), to, align=4)
            return context.get_dummy_value()

        return types.none(types.uintp, types.float32, types.uintp), generate

    return add_scaled


@cache
def compiled(width: int, elu: bool) -> tuple[Callable, Callable]:
    """The functions ``train`` and ``evaluate`` for MLPs of one width and activation (ELU or ReLU).

    Arguments that both take:
        starts, pixels, values: Of each sample where its entries begin (N + 1,), their columns and their values.
        labels: (N,).
        first, first_bias: Weights of layer 0, (in_features, width), and its bias.
        weights, bias: Of all other layers, one behind the other, row by row as torch has them.
        sources: Rows of the activations that enter each of those layers, one behind the other.
        fan_in: How many enter each of those layers, (d - 1,).

    ``train(order, batch_size, step, rate, moments..., ...)`` takes one epoch's steps in this order; it returns mean
    loss and right answers over the samples, and so does ``evaluate``.
    """
    one, zero = np.float32(1), np.float32(0)
    add_scaled, size = _add_scaled(width), 4 * width

    @_njit
    def forward(samples, count, starts, pixels, values, first, first_bias, weights, bias, sources, fan_in, rows):  # type: ignore[no-untyped-def]
        """Activations of ``count`` samples into ``rows``; the last layer's logits behind those of the others."""
        sums = np.empty((4, width), np.float32)  # four chains of additions, for one alone waits on itself
        to, by = sums.ctypes.data, first.ctypes.data
        for column in range(count):
            sample = samples[column]
            sums[:] = zero
            begin, end = starts[sample], starts[sample + 1]
            whole = begin + (end - begin) // 4 * 4
            for entry in range(begin, whole, 4):
                for chain in range(4):
                    add_scaled(to + chain * size, values[entry + chain], by + pixels[entry + chain] * size)
            for entry in range(whole, end):
                add_scaled(to, values[entry], by + pixels[entry] * size)
            for neuron in range(width):
                both = (sums[0, neuron] + sums[1, neuron]) + (sums[2, neuron] + sums[3, neuron])
                rows[neuron, column] = first_bias[neuron] + both
        for neuron in range(width):
            activate(rows[neuron], count)
        depth, begin, at, target = len(fan_in), 0, 0, width
        for layer in range(depth):
            entering = fan_in[layer]
            outputs = width if layer < depth - 1 else len(bias) - (depth - 1) * width
            for neuron in range(outputs):
                row = rows[target + neuron]
                summand = bias[layer * width + neuron]
                for column in range(count):
                    row[column] = summand
                for place in range(entering):
                    weight, source = weights[begin + neuron * entering + place], rows[sources[at + place]]
                    for column in range(count):
                        row[column] += weight * source[column]
                if layer < depth - 1:
                    activate(row, count)
            begin += outputs * entering
            at += entering
            target += outputs

    @_njit
    def activate(row, count):  # type: ignore[no-untyped-def]
        for column in range(count):
            value = row[column]
            if elu:
                row[column] = value if value > zero else _exp(min(value, zero)) - one
            else:
                row[column] = max(value, zero)

    @_njit
    def losses(samples, count, labels, logits, slopes):  # type: ignore[no-untyped-def]
        """Sum of the cross-entropies and right answers; the loss's gradient by the logits into ``slopes``."""
        total, right = 0.0, 0
        for column in range(count):
            label, best, place = labels[samples[column]], logits[0, column], 0
            for answer in range(1, len(logits)):
                if logits[answer, column] > best:
                    best, place = logits[answer, column], answer
            sum_ = zero
            for answer in range(len(logits)):
                slopes[answer, column] = _exp(logits[answer, column] - best)
                sum_ += slopes[answer, column]
            for answer in range(len(logits)):
                slopes[answer, column] /= sum_ * np.float32(count)
            slopes[label, column] -= one / np.float32(count)
            total += np.log(sum_) + best - logits[label, column]
            right += place == label
        return total, right

    @_njit
    def backward(  # type: ignore[no-untyped-def]
        samples,
        count,
        starts,
        pixels,
        values,
        weights,
        sources,
        fan_in,
        rows,
        slopes,
        by_first,
        by_first_bias,
        by_weights,
        by_bias,
    ):
        """Gradients of the weights, from the logits' in the last rows of ``slopes``; the other rows are zero."""
        depth = len(fan_in)
        outputs = len(by_bias) - (depth - 1) * width
        begin, at, target = len(weights), len(sources), depth * width
        for layer in range(depth - 1, -1, -1):
            entering = fan_in[layer]
            begin -= outputs * entering
            at -= entering
            for neuron in range(outputs):
                slope = slopes[target + neuron]
                if layer < depth - 1:
                    damp(slope, rows[target + neuron], count)
                sum_ = zero
                for column in range(count):
                    sum_ += slope[column]
                by_bias[layer * width + neuron] = sum_
                for place in range(entering):
                    row = sources[at + place]
                    weight, source, back = weights[begin + neuron * entering + place], rows[row], slopes[row]
                    product = zero
                    for column in range(count):
                        product += slope[column] * source[column]
                        back[column] += weight * slope[column]
                    by_weights[begin + neuron * entering + place] = product
            target -= width
            outputs = width
        for neuron in range(width):
            damp(slopes[neuron], rows[neuron], count)
            sum_ = zero
            for column in range(count):
                sum_ += slopes[neuron, column]
            by_first_bias[neuron] = sum_
        by_first[:] = zero
        slope = np.empty(width, np.float32)
        to, by = by_first.ctypes.data, slope.ctypes.data
        for column in range(count):
            for neuron in range(width):
                slope[neuron] = slopes[neuron, column]
            sample = samples[column]
            for entry in range(starts[sample], starts[sample + 1]):
                add_scaled(to + pixels[entry] * size, values[entry], by)

    @_njit
    def damp(slope, row, count):  # type: ignore[no-untyped-def]
        """Times the activation's derivative, told from its value."""
        for column in range(count):
            value = row[column]
            if elu:
                slope[column] *= one if value > zero else value + one
            else:
                slope[column] *= one if value > zero else zero

    @_njit
    def adam(parameters, gradients, first_moments, second_moments, step, rate):  # type: ignore[no-untyped-def]
        """torch.optim.Adam's step with its default betas and eps."""
        size = np.float32(rate / (1 - 0.9**step))
        root = np.float32((1 - 0.999**step) ** 0.5)
        for place in range(len(parameters)):
            gradient = gradients[place]
            first = first_moments[place] + (gradient - first_moments[place]) * np.float32(0.1)
            second = second_moments[place] * np.float32(0.999) + gradient * gradient * np.float32(0.001)
            first_moments[place], second_moments[place] = first, second
            parameters[place] -= size * first / (np.sqrt(second) / root + np.float32(1e-8))

    @_njit
    def parts(flat, features, biases):  # type: ignore[no-untyped-def]
        """First weights, first bias, bias of the others and their weights, as views of one array."""
        end = features * width
        first = flat[:end].reshape(features, width)
        return first, flat[end : end + width], flat[end + width : end + width + biases], flat[end + width + biases :]

    @_njit
    def train(  # type: ignore[no-untyped-def]
        order,
        batch_size,
        step,
        rate,
        starts,
        pixels,
        values,
        labels,
        flat,
        first_moments,
        second_moments,
        features,
        biases,
        sources,
        fan_in,
    ):
        gradients = np.zeros_like(flat)
        first, first_bias, bias, weights = parts(flat, features, biases)
        by_first, by_first_bias, by_bias, by_weights = parts(gradients, features, biases)
        neurons = width + biases
        rows, slopes = np.empty((neurons, batch_size), np.float32), np.empty((neurons, batch_size), np.float32)
        total, right = 0.0, 0
        for begin in range(0, len(order), batch_size):
            samples = order[begin : begin + batch_size]
            count = len(samples)
            forward(samples, count, starts, pixels, values, first, first_bias, weights, bias, sources, fan_in, rows)
            slopes[:] = zero
            logits = len(fan_in) * width
            loss, correct = losses(samples, count, labels, rows[logits:], slopes[logits:])
            total += loss
            right += correct
            backward(
                samples,
                count,
                starts,
                pixels,
                values,
                weights,
                sources,
                fan_in,
                rows,
                slopes,
                by_first,
                by_first_bias,
                by_weights,
                by_bias,
            )
            step += 1
            adam(flat, gradients, first_moments, second_moments, step, rate)
        return total / len(order), right

    @_njit
    def evaluate(order, batch_size, starts, pixels, values, labels, flat, features, biases, sources, fan_in):  # type: ignore[no-untyped-def]
        first, first_bias, bias, weights = parts(flat, features, biases)
        neurons = width + biases
        rows, slopes = np.empty((neurons, batch_size), np.float32), np.empty((neurons, batch_size), np.float32)
        total, right = 0.0, 0
        for begin in range(0, len(order), batch_size):
            samples = order[begin : begin + batch_size]
            count = len(samples)
            forward(samples, count, starts, pixels, values, first, first_bias, weights, bias, sources, fan_in, rows)
            logits = len(fan_in) * width
            loss, correct = losses(samples, count, labels, rows[logits:], slopes[logits:])
            total += loss
            right += correct
        return total / len(order), right

    return train, evaluate
