"""Measures from gradients of the loss at the initial weights."""

from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.passes import Passes

__all__ = ["grad_norm"]

_ABDELFATTAH = "Abdelfattah, Mehrotra, Dudziak, Lane, ICLR 2021"


@measure(
    title="gradient norm",
    equation="sum over layers l of ||dL/dW_l||_2; W_l: weights of a convolution or linear layer, L: mean cross-entropy",
    source=f"{_ABDELFATTAH}, section 3.1",
    needs_labels=True,
    forwards=1,
    backwards=1,
)
def grad_norm(passes: Passes) -> float:
    """Sum of the layers' gradient norms, in training mode.

    Zen-NAS's code takes the norm of all gradients together instead, biases and normalisation included.
    """
    return sum(float(gradient.double().norm()) for gradient in passes.loss_pass.gradients.values())
