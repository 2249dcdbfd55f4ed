"""Forward and backward pass of one MLP, compiled, without leaving the processor's cache.

Activations lie one neuron a row, one sample a column, so that row s w + k is neuron k of layer s, which is how links
are numbered. Inputs come as lists of what is not zero, because four pixels of five of a handwritten digit are.

Types are the compiler's to find: ``batch`` holds the numbers of the samples of a step, ``samples``, ``weights``,
``gradients`` and ``wiring`` are the named tuples of :mod:`studies.ensemble.arrays`, ``activations`` and
``slopes`` (the gradients by the activations) are (neurons, samples of a step).
"""

from collections.abc import Callable

import numpy as np

from nnmass.studies.ensemble.vectors import add_scaled_of, compile_function, exp

__all__ = ["compile_backward", "compile_forward"]

_ONE, _ZERO = np.float32(1), np.float32(0)


def compile_forward(width: int, elu: bool) -> Callable:
    """Compile ``forward(batch, samples, weights, wiring, activations)`` for MLPs of one width and activation.

    It fills the activations of a batch; the last layer's logits stand behind those of the others.
    """
    first_layer, activate = _first_layer(width), _activation(elu)

    @compile_function
    def forward(batch, samples, weights, wiring, activations):  # type: ignore[no-untyped-def]
        count, fan_in, sources = len(batch), wiring.fan_in, wiring.sources
        bias, others = weights.bias, weights.others
        first_layer(batch, samples, weights.first, weights.first_bias, activations)
        for neuron in range(width):
            activate(activations[neuron], count)
        depth, begin, at, target = len(fan_in), 0, 0, width
        for layer in range(depth):
            entering = fan_in[layer]
            outputs = width if layer < depth - 1 else len(bias) - (depth - 1) * width
            for neuron in range(outputs):
                row = activations[target + neuron]
                summand = bias[layer * width + neuron]
                for column in range(count):
                    row[column] = summand
                for link in range(entering):
                    weight, source = others[begin + neuron * entering + link], activations[sources[at + link]]
                    for column in range(count):
                        row[column] += weight * source[column]
                if layer < depth - 1:
                    activate(row, count)
            begin += outputs * entering
            at += entering
            target += outputs

    return forward


def _first_layer(width: int) -> Callable:
    """Compile layer 0, whose inputs are sparse."""
    add_scaled, size = add_scaled_of(width), 4 * width

    @compile_function
    def first_layer(batch, samples, first, first_bias, activations):  # type: ignore[no-untyped-def]
        starts, pixels, values = samples.starts, samples.pixels, samples.values
        sums = np.empty((4, width), np.float32)  # four chains of additions, for one alone waits on itself
        to, by = sums.ctypes.data, first.ctypes.data
        for column in range(len(batch)):
            sample = batch[column]
            sums[:] = _ZERO
            begin, end = starts[sample], starts[sample + 1]
            whole = begin + (end - begin) // 4 * 4
            for entry in range(begin, whole, 4):
                for chain in range(4):
                    add_scaled(to + chain * size, values[entry + chain], by + pixels[entry + chain] * size)
            for entry in range(whole, end):
                add_scaled(to, values[entry], by + pixels[entry] * size)
            for neuron in range(width):
                both = (sums[0, neuron] + sums[1, neuron]) + (sums[2, neuron] + sums[3, neuron])
                activations[neuron, column] = first_bias[neuron] + both

    return first_layer


def _activation(elu: bool) -> Callable:
    """Compile ELU or ReLU in place."""

    @compile_function
    def activate(row, count):  # type: ignore[no-untyped-def]
        for column in range(count):
            value = row[column]
            if elu:
                row[column] = value if value > _ZERO else exp(min(value, _ZERO)) - _ONE
            else:
                row[column] = max(value, _ZERO)

    return activate


def compile_backward(width: int, elu: bool) -> Callable:
    """Compile ``backward(batch, samples, weights, wiring, activations, slopes, gradients)``.

    It fills the gradients from the logits' in the last rows of ``slopes``; the other rows are zero.
    """
    first_gradients, damp = _first_gradients(width), _damping(elu)

    @compile_function
    def backward(batch, samples, weights, wiring, activations, slopes, gradients):  # type: ignore[no-untyped-def]
        count, fan_in, sources = len(batch), wiring.fan_in, wiring.sources
        others, by_bias, by_others = weights.others, gradients.bias, gradients.others
        depth = len(fan_in)
        outputs = len(by_bias) - (depth - 1) * width
        begin, at, target = len(others), len(sources), depth * width
        for layer in range(depth - 1, -1, -1):
            entering = fan_in[layer]
            begin -= outputs * entering
            at -= entering
            for neuron in range(outputs):
                slope = slopes[target + neuron]
                if layer < depth - 1:
                    damp(slope, activations[target + neuron], count)
                sum_ = _ZERO
                for column in range(count):
                    sum_ += slope[column]
                by_bias[layer * width + neuron] = sum_
                for link in range(entering):
                    row = sources[at + link]
                    weight, source, back = others[begin + neuron * entering + link], activations[row], slopes[row]
                    product = _ZERO
                    for column in range(count):
                        product += slope[column] * source[column]
                        back[column] += weight * slope[column]
                    by_others[begin + neuron * entering + link] = product
            target -= width
            outputs = width
        for neuron in range(width):
            damp(slopes[neuron], activations[neuron], count)
        first_gradients(batch, samples, slopes, gradients.first, gradients.first_bias)

    return backward


def _first_gradients(width: int) -> Callable:
    """Compile the gradients of layer 0, whose inputs are sparse."""
    add_scaled, size = add_scaled_of(width), 4 * width

    @compile_function
    def first_gradients(batch, samples, slopes, by_first, by_first_bias):  # type: ignore[no-untyped-def]
        starts, pixels, values = samples.starts, samples.pixels, samples.values
        for neuron in range(width):
            sum_ = _ZERO
            for column in range(len(batch)):
                sum_ += slopes[neuron, column]
            by_first_bias[neuron] = sum_
        by_first[:] = _ZERO
        slope = np.empty(width, np.float32)
        to, by = by_first.ctypes.data, slope.ctypes.data
        for column in range(len(batch)):
            for neuron in range(width):
                slope[neuron] = slopes[neuron, column]
            sample = batch[column]
            for entry in range(starts[sample], starts[sample + 1]):
                add_scaled(to + pixels[entry] * size, values[entry], by)

    return first_gradients


def _damping(elu: bool) -> Callable:
    """Compile the product with the activation's derivative, told from the activation's value, in place."""

    @compile_function
    def damp(slope, row, count):  # type: ignore[no-untyped-def]
        for column in range(count):
            value = row[column]
            if elu:
                slope[column] *= _ONE if value > _ZERO else value + _ONE
            else:
                slope[column] *= _ONE if value > _ZERO else _ZERO

    return damp
