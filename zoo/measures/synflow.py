"""SynFlow: a measure of the absolute weights alone."""

from typing import Any

import torch
from torch import Tensor, nn

from nnmass.zoo.measures.batch import NotMeasured
from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.layers import is_batch_norm
from nnmass.zoo.measures.passes import Passes

__all__ = ["synflow"]


@measure(
    title="log SynFlow",
    equation="log sum over weights w of |w dR/dw|; R: sum of the outputs for one image of ones, with all weights and "
    "biases replaced by their absolute values and without batch normalisation",
    source="Tanaka, Kunin, Yamins, Ganguli, NeurIPS 2020, Eq. 1 and 2; summed: Abdelfattah, Mehrotra, Dudziak, Lane, "
    "ICLR 2021, Eq. 1",
    forwards=1,
    backwards=1,
)
def synflow(passes: Passes) -> float:
    """Natural logarithm of the synaptic flow through all weights, in double precision and eval mode.

    Its passes are over one image, whatever the batch. As in zero-cost-nas's code batch normalisation is left out, also
    where it is frozen, other normalisations stay, and the weights are those of convolutions, linear layers and
    attention's projections. The gradients are those of log R, so that only R itself must lie below 1.8e308.

    Raises:
        NotMeasured: If weights or biases are computed from others, or the flow is none that double precision holds.
    """
    passes.require_parameters()
    with passes.drawing():
        network = passes.copy().double().eval()
        weights = list(passes.weights_of(network).values())
        _make_linear(network)
        ones = torch.ones_like(passes.images[:1], dtype=torch.float64)
        flow = passes.logits(network, ones).sum()
        size = float(flow.detach().abs())
        if not 0 < size < float("inf"):
            raise NotMeasured(f"Expected a flow that double precision holds, but got {size}.")
        gradients = passes.gradients(flow / size, weights)
        sums = [(weight.detach() * one).abs().sum() for weight, one in zip(weights, gradients, strict=True)]
    return float(torch.stack(sums).sum().log()) + float(torch.tensor(size, dtype=torch.float64).log())


@torch.no_grad()
def _make_linear(network: nn.Module) -> None:
    """Replace weights by their absolute values, and let batch normalisation in eval mode pass its input on."""
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            tensor.abs_()
    like = next(network.parameters())
    for module in filter(is_batch_norm, network.modules()):
        _make_identity(module, like)


def _make_identity(norm: Any, like: Tensor) -> None:
    """Let a batch norm in eval mode pass its input on."""
    if norm.running_mean is None:
        norm.running_mean, norm.running_var = like.new_empty(norm.num_features), like.new_empty(norm.num_features)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    for name, constant in (("weight", 1), ("bias", 0)):
        if getattr(norm, name, None) is not None:
            getattr(norm, name).fill_(constant)
