"""Measures from gradients of the loss at the initial weights, in training mode.

All take the weights of convolutions, linear layers and attention's projections, of frozen layers too, without biases
and normalisation; a weight that several layers share counts once. L is the mean cross-entropy over the batch.
"""

from math import log

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from nnmass.zoo.measures.batch import NotMeasured
from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.passes import Passes

__all__ = ["fisher", "grad_norm", "grasp", "snip", "zico"]

_ABDELFATTAH = "Abdelfattah, Mehrotra, Dudziak, Lane, ICLR 2021"


@measure(
    title="gradient norm",
    equation="sum over layers l of ||dL/dW_l||_2; W_l: weights of a layer, L: mean cross-entropy",
    source=f"{_ABDELFATTAH}, section 3.1",
    needs_labels=True,
    forwards=1,
    backwards=1,
)
def grad_norm(passes: Passes) -> float:
    """Sum of the layers' gradient norms.

    As in the authors' code (zero-cost-nas). Zen-NAS's code takes the norm of all gradients together instead, biases
    and normalisation included.
    """
    return sum(float(gradient.double().norm()) for gradient in passes.loss_pass.gradients.values())


@measure(
    title="SNIP",
    equation="sum over weights w of |w dL/dw|; L: mean cross-entropy",
    source=f"Lee, Ajanthan, Torr, ICLR 2019, Eq. 6 without its normalisation; summed: {_ABDELFATTAH}, Eq. 1",
    needs_labels=True,
    forwards=1,
    backwards=1,
)
def snip(passes: Passes) -> float:
    """Connection sensitivity, summed over all weights."""
    gradients = passes.loss_pass.gradients
    return sum(_dot(weight.abs(), gradients[name].abs()) for name, weight in passes.weights.items())


@measure(
    title="GraSP",
    equation="- sum over weights w of w (H g)_w; g: gradient of L by all weights, H: Hessian of L by them, "
    "L: mean cross-entropy",
    source=f"Wang, Zhang, Grosse, ICLR 2020, Eq. 8; summed: {_ABDELFATTAH}, Eq. 1",
    needs_labels=True,
    forwards=1,
    backwards=4,
)
def grasp(passes: Passes) -> float:
    """Change of the gradient's squared norm with the weights, summed over all weights.

    The authors' codes run the same batch twice, once for the g that stays fixed; here one pass serves for both, to the
    same value. The sign is zero-cost-nas's, and the outputs are divided by no temperature (GraSP's own code: 200).
    """
    with passes.drawing(), sdpa_kernel(SDPBackend.MATH):  # the other kernels have no gradients of gradients
        network = passes.copy()
        weights = list(passes.weights_of(network).values())
        gradients = passes.gradients(passes.loss(network), weights, create_graph=True)
        product = torch.stack([(one.detach() * one).sum() for one in gradients]).sum()
        curvature = passes.gradients(product, weights)
    return -sum(_dot(weight.detach(), one) for weight, one in zip(weights, curvature, strict=True))


@measure(
    title="Fisher",
    equation="sum over layers and their channels k of n_k / (2 N) sum over images n of (sum over positions of "
    "z dL/dz)^2; z: the layer's outputs, n_k: weights of channel k, N: images, L: mean cross-entropy",
    source=f"Theis, Korshunova, Tejani, Huszar, 2018, section 2; summed: {_ABDELFATTAH}, section 3.2",
    needs_labels=True,
    forwards=1,
    backwards=1,
)
def fisher(passes: Passes) -> float:
    """Fisher information of the layers' channels, summed over all weights.

    As in zero-cost-nas's code, which gives each weight its channel's value, hence n_k; its paper sums (z dL/dz)^2 over
    positions instead of squaring the sum. Channels of linear layers are the last dimension, also for tokens. The sum
    over positions is over all calls of a layer, and layers that share a weight are one layer: the value is the Fisher
    information of a factor on the channel, wherever that is used.
    """
    found = passes.loss_pass
    total = 0.0
    for name, gradient in found.gradients.items():
        if name in found.channels:
            sums = _one_sum(passes, name.rpartition(".")[0] or "the layer", found.channels[name])
            total += passes.weights[name].numel() / sums.shape[1] * float(sums.double().square().mean(dim=0).sum()) / 2
        elif gradient.any():
            raise NotMeasured(f"Expected layers that the network calls, but {name} is used without a call.")
    return total


def _one_sum(passes: Passes, layer: str, sums: list[Tensor]) -> Tensor:
    """The one sum of a layer's channels that has an entry per image; refused where calls differ."""
    lengths = sorted({len(one) for one in sums})
    if lengths != [passes.number]:
        gives = " and ".join(map(str, lengths))
        raise NotMeasured(f"Expected layers with one output per image, but {layer} gives {gives} of them.")
    if len(sums) > 1:
        raise NotMeasured(f"Expected layers that share a weight to share its channels, but those of {layer} do not.")
    return sums[0]


@measure(
    title="ZiCo",
    equation="sum over layers of log sum over weights w of E|dL/dw| / sqrt(Var dL/dw); E, Var: mean and variance over "
    "the two halves of the batch, L: a half's mean cross-entropy; weights of variance 0 left out",
    source="Li, Yang, Bhardwaj, Marculescu, ICLR 2023, section 3",
    needs_labels=True,
    least_images=2,
    forwards=1,
    backwards=1,
)
def zico(passes: Passes) -> float:
    """Inverse coefficient of variation of the gradients over two halves of the batch.

    The first half has N // 2 images, the second the rest, and each is normalised by itself. As in the authors' code,
    the variance is that of the signed gradients and divides by 2; the paper's is that of their absolute values.
    """
    half = passes.number // 2
    with passes.drawing():
        network = passes.copy()
        weights = list(passes.weights_of(network).values())
        first, second = (
            passes.gradients(passes.loss(network, part), weights) for part in (slice(half), slice(half, None))
        )
    layers = [_inverse_variation(one.double(), other.double()) for one, other in zip(first, second, strict=True)]
    if not any(layers):
        raise NotMeasured("Expected gradients that differ between the halves of the batch, but got the same twice.")
    return sum(log(value) for value in layers if value)


def _inverse_variation(one: Tensor, other: Tensor) -> float:
    """Sum over entries of the mean absolute value over the standard deviation of two values, (|a| + |b|) / |a - b|."""
    distance = (one - other).abs()
    differs = distance != 0  # NaN too, which then is the value
    return float(((one.abs() + other.abs())[differs] / distance[differs]).sum())


def _dot(one: Tensor, other: Tensor) -> float:
    return float((one.double() * other.double()).sum())
