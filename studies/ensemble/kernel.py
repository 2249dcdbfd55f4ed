"""One MLP's epoch, compiled: forward, backward and Adam, batch after batch."""

from collections.abc import Callable
from functools import cache

import numpy as np

from nnmass.studies.ensemble.arrays import weights_in
from nnmass.studies.ensemble.passes import compile_backward, compile_forward
from nnmass.studies.ensemble.vectors import compile_function, exp

__all__ = ["compiled"]


@cache
def compiled(width: int, elu: bool) -> tuple[Callable, Callable]:
    """Compile ``train`` and ``evaluate`` for MLPs of one width and activation (ELU or ReLU).

    ``train(order, batch_size, step, rate, samples, state, wiring)`` takes one epoch's steps in this order; it returns
    mean loss and right answers over the samples, and so does ``evaluate(order, batch_size, samples, flat, wiring)``.
    Their arguments are the named tuples of :mod:`studies.ensemble.arrays`.
    """
    forward = compile_forward(width, elu)
    return _compile_training(forward, compile_backward(width, elu)), _compile_evaluation(forward)


def _compile_training(forward: Callable, backward: Callable) -> Callable:
    @compile_function
    def train(order, batch_size, step, rate, samples, state, wiring):  # type: ignore[no-untyped-def]
        derivatives = np.zeros_like(state.weights)
        weights, gradients = weights_in(state.weights, wiring), weights_in(derivatives, wiring)
        shape = (wiring.width + wiring.biases, batch_size)
        activations, slopes = np.empty(shape, np.float32), np.empty(shape, np.float32)
        logits = len(wiring.fan_in) * wiring.width
        total, right = 0.0, 0
        for begin in range(0, len(order), batch_size):
            batch = order[begin : begin + batch_size]
            forward(batch, samples, weights, wiring, activations)
            slopes[:] = np.float32(0)
            loss, correct = _losses(batch, samples.labels, activations[logits:], slopes[logits:])
            total += loss
            right += correct
            backward(batch, samples, weights, wiring, activations, slopes, gradients)
            step += 1
            _take_adam_step(state, derivatives, step, rate)
        return total / len(order), right

    return train


def _compile_evaluation(forward: Callable) -> Callable:
    @compile_function
    def evaluate(order, batch_size, samples, flat, wiring):  # type: ignore[no-untyped-def]
        weights = weights_in(flat, wiring)
        shape = (wiring.width + wiring.biases, batch_size)
        activations, slopes = np.empty(shape, np.float32), np.empty(shape, np.float32)
        logits = len(wiring.fan_in) * wiring.width
        total, right = 0.0, 0
        for begin in range(0, len(order), batch_size):
            batch = order[begin : begin + batch_size]
            forward(batch, samples, weights, wiring, activations)
            loss, correct = _losses(batch, samples.labels, activations[logits:], slopes[logits:])
            total += loss
            right += correct
        return total / len(order), right

    return evaluate


@compile_function
def _losses(batch, labels, logits, slopes):  # type: ignore[no-untyped-def]
    """Return the sum of the cross-entropies and the right answers; put the gradient by the logits into ``slopes``."""
    one, zero, count = np.float32(1), np.float32(0), len(batch)
    total, right = 0.0, 0
    for column in range(count):
        label, best, chosen = labels[batch[column]], logits[0, column], 0
        for answer in range(1, len(logits)):
            if logits[answer, column] > best:
                best, chosen = logits[answer, column], answer
        sum_ = zero
        for answer in range(len(logits)):
            slopes[answer, column] = exp(logits[answer, column] - best)
            sum_ += slopes[answer, column]
        for answer in range(len(logits)):
            slopes[answer, column] /= sum_ * np.float32(count)
        slopes[label, column] -= one / np.float32(count)
        total += np.log(sum_) + best - logits[label, column]
        right += chosen == label
    return total, right


@compile_function
def _take_adam_step(state, derivatives, step, rate):  # type: ignore[no-untyped-def]
    """Take the step of torch.optim.Adam with its default betas and eps."""
    weights, first_moments, second_moments = state.weights, state.first_moments, state.second_moments
    size = np.float32(rate / (1 - 0.9**step))
    root = np.float32((1 - 0.999**step) ** 0.5)
    for number in range(len(weights)):
        derivative = derivatives[number]
        first = first_moments[number] + (derivative - first_moments[number]) * np.float32(0.1)
        second = second_moments[number] * np.float32(0.999) + derivative * derivative * np.float32(0.001)
        first_moments[number], second_moments[number] = first, second
        weights[number] -= size * first / (np.sqrt(second) / root + np.float32(1e-8))
