"""Initial weights: drawn by each scheme, or refused before anything is changed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from nnmass.zoo import initialise


class Squared(nn.Module):
    """A parametrization for which nothing gives the parameter that belongs to a weight."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.square()


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning):
        return torch.nn.utils.weight_norm(layer)


def squared(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Squared())
    return layer


@pytest.mark.parametrize("scheme", ["gaussian", "fan_in", "orthogonal"])
@pytest.mark.parametrize("wrap", [nn.Identity, parametrizations.weight_norm, parametrizations.orthogonal])
def test_weights_are_drawn_anew_and_biases_are_zero(scheme: Any, wrap: Callable[[nn.Module], nn.Module]) -> None:
    layer = nn.Linear(5, 5)
    network = nn.Sequential(nn.Linear(5, 5), layer if wrap is nn.Identity else wrap(layer))
    if scheme == "gaussian" and wrap is parametrizations.orthogonal:
        return  # no such matrix is orthogonal
    before = layer.weight.detach().clone()
    initialise(network, scheme, variance=0.1 if scheme == "gaussian" else None)
    assert not torch.allclose(layer.weight, before)
    assert not layer.bias.any()


@pytest.mark.parametrize("wrap", [old_weight_norm, lambda layer: prune.identity(layer, "weight"), squared])
def test_weights_that_cannot_be_set_are_refused_before_any_is_changed(wrap: Callable[[nn.Module], nn.Module]) -> None:
    network = nn.Sequential(nn.Linear(5, 4), wrap(nn.Linear(4, 3)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"network to have weights that can be set, but got 1\.weight, which is comp"):
        initialise(network, "orthogonal")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
