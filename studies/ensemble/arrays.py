"""The arrays that the compiled passes of an MLP read and write, as named tuples, which numba takes as they are."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnmass.studies.ensemble.vectors import compile_function

__all__ = ["AdamState", "Samples", "Weights", "Wiring", "weights_in"]


class Samples(NamedTuple):
    """Inputs by what of them is not zero, and labels.

    Attributes:
        starts: Where each sample's entries begin, (N + 1,).
        pixels: Column of each entry.
        values: Value of each entry, float32.
        labels: (N,).
    """

    starts: NDArray
    pixels: NDArray
    values: NDArray
    labels: NDArray

    @classmethod
    def of(cls, inputs: Tensor, labels: Tensor) -> "Samples":
        """Make them of samples (N, ...) with labels (N,)."""
        rows = inputs.flatten(1).float().numpy()
        sample, pixel = np.nonzero(rows)
        starts = np.searchsorted(sample, np.arange(len(rows) + 1))
        return cls(starts, pixel.astype(np.int32), rows[sample, pixel], labels.numpy())

    def dense(self, features: int, device: str | torch.device) -> tuple[Tensor, Tensor]:
        """Return inputs (N, features) and labels (N,) on a device."""
        count = len(self.labels)
        inputs = torch.zeros(count, features)
        sample = np.repeat(np.arange(count), np.diff(self.starts))
        inputs[sample, self.pixels] = torch.from_numpy(self.values)
        return inputs.to(device), torch.from_numpy(self.labels).to(device)


class Wiring(NamedTuple):
    """Shape and links of a network of d layers.

    Attributes:
        features: Inputs of layer 0.
        width: Neurons of each hidden layer.
        biases: Neurons of all layers but the first.
        sources: Rows of the activations that enter each of those layers, one behind the other.
        fan_in: How many enter each of those layers, (d - 1,).
    """

    features: int
    width: int
    biases: int
    sources: NDArray
    fan_in: NDArray


class Weights(NamedTuple):
    """Weights of a network, or their gradients, as views of one array.

    Attributes:
        first: Of layer 0, (features, width).
        first_bias: Of layer 0, (width,).
        bias: Of all other layers, one behind the other.
        others: Weights of all other layers, row by row as torch has them.
    """

    first: NDArray
    first_bias: NDArray
    bias: NDArray
    others: NDArray


class AdamState(NamedTuple):
    """All weights of a network as one array, and Adam's moments of each."""

    weights: NDArray
    first_moments: NDArray
    second_moments: NDArray


@compile_function
def weights_in(flat, wiring):  # type: ignore[no-untyped-def]
    """Return the :class:`Weights` that one array holds."""
    end = wiring.features * wiring.width
    last = end + wiring.width + wiring.biases
    first = flat[:end].reshape(wiring.features, wiring.width)
    return Weights(first, flat[end : end + wiring.width], flat[end + wiring.width : last], flat[last:])
