"""Jacobian spectra of layers with norms and precisions that are not the usual ones."""

import pytest
import torch
from torch import Tensor, nn

from nnmass.zoo import initialise, measure_latency
from nnmass.zoo.jacobian.spectra import hidden_mean, layer_spectra


def dense_mean(function: nn.Module, batch: Tensor) -> float:
    """Mean singular value over the samples, whose Jacobians are taken one by one."""
    values = [
        torch.linalg.svdvals(
            torch.func.jacrev(lambda x: function(x[None])[0])(sample).flatten(1).reshape(-1, sample.numel())
        )
        for sample in batch
    ]
    return float(torch.stack(values).mean().detach())


def first_mean(network: nn.Module, batch: Tensor, bn: str = "batch") -> float:
    return next(layer_spectra(network, batch, bn)).spectrum.mean.value  # type: ignore[arg-type]


def test_a_batch_norm_without_running_statistics_takes_those_of_the_batch() -> None:
    linear, batch = nn.Linear(5, 4).double(), torch.randn(6, 5, dtype=torch.float64)
    found = first_mean(nn.Sequential(linear, nn.BatchNorm1d(4, track_running_stats=False).double()), batch)
    assert found == pytest.approx(first_mean(nn.Sequential(linear, nn.BatchNorm1d(4).double()), batch), rel=1e-9)
    deviation = (linear(batch).var(0, unbiased=False) + 1e-5).sqrt()
    assert found == pytest.approx(
        float(torch.linalg.svdvals(linear.weight / deviation[:, None]).mean().detach()), rel=1e-9
    )
    untracked = nn.Sequential(linear, nn.BatchNorm1d(4, track_running_stats=False).double())
    with pytest.raises(ValueError, match="batch norms with running statistics for bn='eval', but 1 has none"):
        first_mean(untracked, batch, "eval")


def test_statistics_that_there_are_not_are_refused() -> None:
    norm = nn.BatchNorm1d(4)
    shared = nn.Sequential(nn.Linear(4, 4), norm, nn.ReLU(), nn.Linear(4, 4), norm)
    with pytest.raises(ValueError, match="each batch norm to run once for bn='batch', but 1 runs again"):
        first_mean(shared, torch.randn(8, 4))
    assert first_mean(shared, torch.randn(8, 4), "eval") > 0
    with pytest.raises(ValueError, match="more than one value per channel for bn='batch', but 1 gets one"):
        first_mean(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), torch.randn(1, 4))


def test_group_norms_are_measured_sample_by_sample() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU()).double()
    batch = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    assert first_mean(network, batch) == pytest.approx(dense_mean(network, batch), rel=1e-9)


def test_half_precision_is_measured_in_single() -> None:
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 4)).bfloat16()
    batch = torch.randn(7, 6).bfloat16()
    half = hidden_mean(layer_spectra(network, batch))
    assert network[0].weight.dtype == torch.bfloat16
    assert half == pytest.approx(hidden_mean(list(layer_spectra(network.float(), batch.float()))))


def test_products_over_groups_of_features_are_refused() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4, 5))

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bgi,gij->bgj", x, self.weight)

    with pytest.raises(ValueError, match="samples in front, but Grouped multiplies groups of features"):
        first_mean(Grouped(), torch.randn(2, 3, 4))


def test_every_layer_is_initialised_also_a_parametrised_one() -> None:
    layers = (
        nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
        nn.ConvTranspose2d(3, 4, 2),
        nn.Linear(6, 4).bfloat16(),
    )
    for layer in layers:
        before = layer.weight.detach().clone()
        initialise(layer, "orthogonal")
        assert not torch.equal(layer.weight, before)
        assert not layer.bias.any()
    values = torch.linalg.svdvals(layers[0].weight.detach())
    torch.testing.assert_close(values, torch.ones(4))


def test_a_latency_leaves_frozen_parts_frozen() -> None:
    network = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
    network[1].eval()
    measure_latency(network, (6,), batch=2, seconds=0.01)
    assert [part.training for part in (network, *network)] == [True, True, False]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Sequential(nn.LayerNorm(5), nn.Tanh())])
def test_tokens_are_measured_as_samples_are(activation: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(6, 5), activation, nn.Linear(5, 4)).double()
    tokens = torch.randn(2, 3, 6, dtype=torch.float64)
    for bare, long in zip(layer_spectra(network, tokens.flatten(0, 1)), layer_spectra(network, tokens), strict=True):
        assert bare.spectrum.mean.value == pytest.approx(long.spectrum.mean.value, rel=1e-9)
        assert (bare.spectrum.rows, bare.spectrum.columns) == (long.spectrum.rows, long.spectrum.columns)
