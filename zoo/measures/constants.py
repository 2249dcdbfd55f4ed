"""Epsilon-NAS: how differently a network's outputs spread over a batch for two constant initialisations."""

import torch
from torch import Tensor, nn

from nnmass.zoo.measures.batch import NotMeasured
from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.layers import weights_and_biases
from nnmass.zoo.measures.passes import Passes

__all__ = ["epsilon"]

_CONSTANTS = (1e-7, 1.0)
_ROUNDING = 1e-10  # of outputs that are computed in double precision and scaled to [0, 1]


@measure(
    title="epsilon-NAS",
    equation="eps = mean |y_1 - y_2| / mean of y_1 and y_2; y_k: outputs of all images with every weight set to w_k "
    "and every bias to 0, scaled to [0, 1] over the batch, those at 0 left out; w_1 = 1e-7, w_2 = 1",
    source="Gracheva, arXiv 2302.04406, section 3",
    least_images=3,
    forwards=2,
)
def epsilon(passes: Passes) -> float:
    """Difference of normalised outputs between two constant initialisations, in training mode.

    Computed in double precision: in the authors' single precision, small weights vanish in deep networks, and what is
    left of equal outputs is rounding. Weights and biases are told by their names, those of normalisation, recurrent
    layers and attention too; parameters that are neither, such as position embeddings, stay.

    Raises:
        NotMeasured: If there is no convolution or linear layer, or a weight or bias is no parameter; if all images give
            the same output, or the outputs differ by a factor alone, as they do where no normalisation or other
            activation than ReLU stands between linear layers.
    """
    passes.weights  # noqa: B018  # refuses networks without layers
    first, second = (_scaled_outputs(passes, constant) for constant in _CONSTANTS)
    inside = (first > _ROUNDING) & (second > _ROUNDING)
    difference = (first - second)[inside].abs()
    if not bool((difference > _ROUNDING).any()):
        raise NotMeasured(
            "Expected outputs of two constant initialisations that differ by more than a factor, but these do not."
        )
    kept = torch.cat([first[first > _ROUNDING], second[second > _ROUNDING]])
    return float(difference.mean() / kept.mean())


def _scaled_outputs(passes: Passes, constant: float) -> Tensor:
    """All outputs of a copy with constant weights, scaled to [0, 1] over the batch, (N * classes,)."""
    with passes.drawing(), torch.no_grad():
        network = passes.copy_to_initialise().double()
        _fill(network, constant)
        images = passes.images.double() if passes.images.is_floating_point() else passes.images
        outputs = passes.logits(network, images)
    (low, high), by_class = outputs.aminmax(), outputs.aminmax(dim=0)
    if not bool((by_class.max - by_class.min).max() > _ROUNDING * outputs.abs().max()):  # nor is NaN
        raise NotMeasured(f"Expected outputs that differ between images, but with weights of {constant:g} they do not.")
    return ((outputs - low) / (high - low)).flatten()


def _fill(network: nn.Module, constant: float) -> None:
    """Set each weight to the constant, and each bias to 0."""
    values = {"weight": constant, "bias": 0.0}
    for _, kind, parameter in weights_and_biases(network):
        parameter.fill_(values[kind])
