"""Jacobian spectra against dense float64 autograd Jacobians of layers written out by hand."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from nnmass.zoo import RandomSkipCell, RandomSkipDenseNet, RandomSkipMLP, hidden_isometry, hidden_mean, layer_spectra
from nnmass.zoo.jacobian.estimates import estimate_spectrum
from nnmass.zoo.jacobian.exact import (
    circular_convolution_singular_values,
    dense_singular_values,
    linear_singular_values,
)
from nnmass.zoo.jacobian.gram import scaled_gram_singular_values
from nnmass.zoo.jacobian.layers import layers_at
from nnmass.zoo.seeding import seeded

F = nn.functional
GENERATOR = torch.Generator().manual_seed(0)


def autograd_values(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Singular values per sample, from torch.autograd's own whole Jacobian by backward passes, one row each."""
    values = []
    for sample in x:
        jacobian = torch.autograd.functional.jacobian(lambda one: layer(one[None])[0], sample)
        values.append(torch.linalg.svdvals(jacobian.flatten(-sample.ndim).flatten(0, -2)))
    return torch.stack(values).detach()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR)


def assert_equal_spectra(found: Tensor, expected: Tensor) -> None:
    """To 1e-10 of the largest singular value."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-10 * expected.max().clamp(min=1e-300)


def batch_norm(channels: int, training: bool) -> nn.Module:
    norm = nn.BatchNorm2d(channels).double()
    norm.weight.data, norm.bias.data = draw(channels), draw(channels)
    norm.running_mean, norm.running_var = draw(channels), draw(channels).square() + 0.1
    return norm.train(training)


with seeded(0):
    CASES: dict[str, tuple[nn.Module, Tensor]] = {
        "linear": (nn.Linear(5, 3), draw(4, 5)),
        "elu": (nn.Sequential(nn.Linear(5, 8), nn.ELU()), draw(4, 5)),
        "relu": (nn.Sequential(nn.Linear(8, 5), nn.ReLU()), draw(4, 8)),
        "tanh": (nn.Sequential(nn.Linear(6, 6), nn.Tanh()), draw(1, 6)),
        "one by one": (nn.Sequential(nn.Linear(1, 1), nn.ELU()), draw(3, 1)),
        "stride, padding, 5 x 7 px": (nn.Conv2d(2, 3, 3, stride=2, padding=1), draw(2, 2, 5, 7)),
        "groups": (nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU()), draw(2, 4, 5, 7)),
        "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), draw(2, 4, 5, 7)),
        "dilated": (nn.Conv2d(1, 2, 3, dilation=2), draw(2, 1, 5, 7)),
        "batch norm": (nn.Sequential(nn.Conv2d(2, 3, 3), batch_norm(3, False), nn.ELU()), draw(2, 2, 5, 7)),
        "before": (nn.Sequential(batch_norm(2, False), nn.ReLU(), nn.Conv2d(2, 3, 3)), draw(2, 2, 5, 7)),
        "three dimensions": (nn.Conv3d(1, 2, 2), draw(1, 1, 3, 2, 3)),
    }


@pytest.mark.parametrize("case", CASES)
def test_a_layer_has_the_spectrum_of_its_dense_jacobian(case: str, device: torch.device) -> None:
    layer, x = CASES[case]
    layer = layer.double().eval()
    (found,) = layer_spectra(copy.deepcopy(layer).to(device), x.to(device), "eval")
    expected = autograd_values(layer, x)
    assert found.spectrum.exact
    assert_equal_spectra(found.spectrum.values.view_as(expected), expected)
    assert (found.spectrum.rows, found.spectrum.columns) == (layer(x)[0].numel(), x[0].numel())
    assert found.spectrum.mean.value == pytest.approx(expected.mean().item(), rel=1e-10)
    assert found.spectrum.isometry.value == pytest.approx((expected - 1).abs().mean().item(), rel=1e-10)
    assert found.spectrum.mean_square.value == pytest.approx(expected.square().mean().item(), rel=1e-10)


def test_zero_and_rank_deficient_layers() -> None:
    for weight, rank in ((torch.zeros(4, 6), 0), (torch.ones(4, 6), 1)):
        layer = nn.Linear(6, 4).double()
        layer.weight.data = weight.double()
        (found,) = layer_spectra(layer, draw(2, 6))
        assert int((found.spectrum.values > 1e-10).sum()) == 2 * rank
        assert len(found.spectrum.values) == 2 * 4
        assert found.spectrum.condition_number > 1e10


def test_every_layer_of_the_mlp_is_the_papers_definition() -> None:
    """J_i = D_i W_i over all that enters layer i, its links included."""
    network = RandomSkipMLP(depth=6, width=4, tc=3, in_features=9, num_classes=3, seed=1).double()
    x = draw(5, 9)
    found = list(layer_spectra(network, x))
    assert len(found) == 6
    outputs: list[Tensor] = []
    with torch.no_grad():
        for i, layer in enumerate(network.layers):
            entering = x if i == 0 else layer.entering(outputs[-1], outputs[:-1])  # type: ignore[operator]
            z = layer.linear(entering)  # type: ignore[operator]
            slopes = torch.ones_like(z) if i == 5 else torch.where(z > 0, 1.0, z.exp())
            expected = torch.linalg.svdvals(slopes[:, :, None] * layer.linear.weight)  # type: ignore[union-attr]
            assert_equal_spectra(found[i].spectrum.values.view_as(expected), expected)
            outputs.append(F.elu(z))
    hidden = [item.spectrum.mean.value for item in found[1:5]]
    assert hidden_mean(found) == pytest.approx(sum(hidden) / 4)
    distances = [(item.spectrum.values - 1).abs().mean().item() for item in found[1:5]]
    assert hidden_isometry(found) == pytest.approx(sum(distances) / 4)


@pytest.mark.parametrize(("depth", "width", "tc"), [(2, 1, 0), (3, 8, 0), (6, 4, 3), (9, 5, 99)])
@pytest.mark.parametrize("activation", ["elu", "relu"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_an_mlp_that_states_its_layers_has_the_spectra_of_its_trace(
    depth: int, width: int, tc: int, activation: Any, precision: torch.dtype
) -> None:
    network = RandomSkipMLP(depth, width, tc, in_features=7, num_classes=3, activation=activation).to(precision)
    x = draw(3, 7).to(precision)
    stated = list(layer_spectra(network, x))
    traced = list(layer_spectra(nn.Sequential(network.double()), x.double()))
    assert [item.name for item in stated] == [item.name.removeprefix("0.") for item in traced]
    for one, other in zip(stated, traced, strict=True):
        largest = other.spectrum.largest.value
        close = 1e-10 if precision == torch.float64 else 2e-6  # the slopes themselves are in single precision
        assert (one.spectrum.values - other.spectrum.values).abs().max() <= close * max(largest, 1e-300)


@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 30),
    rank=st.integers(0, 20),
    dead=st.integers(0, 20),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 2**31),
)
@example(rows=5, columns=1, rank=1, dead=1, scale=1.0, seed=1)
@settings(max_examples=400)
def test_the_gram_path_has_the_accuracy_that_it_states(
    rows: int, columns: int, rank: int, dead: int, scale: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    weight = (
        scale * generator.normal(size=(rows, min(rank, columns))) @ generator.normal(size=(min(rank, columns), columns))
    )
    slopes = generator.uniform(0, 1, (35, rows))  # more samples than the kernel takes in one go
    slopes[:, :dead] = 0
    found = scaled_gram_singular_values((weight @ weight.T)[None], slopes[None])[0]
    expected = np.linalg.svd(slopes[:, :, None] * weight, compute_uv=False)
    wide = np.zeros((35, rows))
    wide[:, : expected.shape[1]] = expected[:, :rows]
    assert np.abs(found - wide).max() <= 1e-7 * expected.max(initial=0) + 1e-140
    top = np.abs(found[:, 0] - wide[:, 0])
    assert (top <= 1e-13 * wide[:, 0] + 1e-140).all()


def test_numbers_that_are_not_finite_do_not_converge() -> None:
    with pytest.raises(ArithmeticError, match="do not converge"):
        scaled_gram_singular_values(np.full((1, 3, 3), np.nan), np.ones((1, 2, 3)))


@pytest.mark.parametrize("tc", [0, 3, 99])
@pytest.mark.parametrize("bn", ["eval", "batch"])
def test_every_layer_of_a_cell_reaches_from_its_joined_input_to_its_output(tc: int, bn: Any) -> None:
    cell = RandomSkipCell(in_channels=2, width=2, depth=5, tc=tc, seed=3).double()
    x = draw(3, 2, 4, 5)
    found = list(layers_at(cell, x, bn))
    assert [layer.name for layer in found] == [f"layers.{i}.conv" for i in range(5)]
    reference = cell.train(bn == "batch")
    outputs: list[Tensor] = []
    for i, layer in enumerate(reference.layers):
        earlier = torch.cat(outputs[: i - 1], 1) if i >= 2 else None
        links = layer.links  # type: ignore[union-attr]
        entering = x if i == 0 else outputs[-1]
        if earlier is not None and len(links):  # type: ignore[arg-type]
            entering = torch.cat([entering, earlier.index_select(1, links)], 1)  # type: ignore[arg-type]
        assert torch.allclose(found[i].entering, entering, atol=1e-12)
        with torch.no_grad():
            outputs.append(layer(outputs[-1] if i else x, earlier))
        assert torch.allclose(found[i].function(found[i].entering), outputs[-1], atol=1e-10)
    assert_equal_spectra(
        dense_singular_values(found[2].function, found[2].entering),
        autograd_values(found[2].function, found[2].entering),
    )


class Residual(nn.Module):
    """Post-activation, pre-activation, a projection, pooling and a gate, as timm's networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(2)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.norm, self.act = nn.BatchNorm2d(4), nn.SiLU()
        self.pre, self.projection = nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 1)
        self.gate = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = x + self.block(x)
        y = self.act(self.norm(x))
        y = self.pre(y) + self.projection(y)
        y = y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()
        return self.head(y.mean((2, 3)))


def test_activations_belong_to_the_layer_that_they_follow_or_else_precede() -> None:
    network = Residual().double()
    network.norm.running_mean, network.norm.running_var = draw(4), draw(4).square() + 0.1
    x = draw(2, 3, 4, 4)
    layers = {layer.name: layer for layer in layers_at(network, x, "eval")}
    network.eval()
    after_stem = network.stem(x)
    pooled = network.pool(after_stem)
    joined = pooled + network.block(pooled)
    expected: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
        "stem.0": (x, network.stem),
        "block.0": (pooled, network.block[:2]),
        "block.2": (pooled, network.block[2]),
        "pre": (joined, lambda value: network.pre(network.act(network.norm(value)))),
        "projection": (joined, lambda value: network.projection(network.act(network.norm(value)))),
        "gate": (None, lambda value: network.gate(value).sigmoid()),  # type: ignore[dict-item]
        "head": (None, network.head),  # type: ignore[dict-item]
    }
    assert set(layers) == set(expected)
    for name, (entering, function) in expected.items():
        if entering is not None and name != "block.2":
            assert torch.allclose(layers[name].entering, entering)
        at = layers[name].entering
        assert torch.allclose(layers[name].function(at), function(at))


def test_batch_statistics_are_those_of_training_and_nothing_is_disturbed() -> None:
    network = RandomSkipDenseNet(4, 1, 5).train()
    network.cells[0].eval()
    x = torch.rand(4, 3, 8, 8)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    random_state = torch.get_rng_state()
    network(x).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    network.load_state_dict(state)
    spectra = list(layer_spectra(network, x, "batch", exact_up_to=10, probes=2, steps=4))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    assert modes == [module.training for module in network.modules()]
    assert all(a is b.grad for a, b in zip(gradients, network.parameters(), strict=True))
    assert torch.equal(random_state, torch.get_rng_state())
    assert {item.bn for item in spectra} == {"batch"}
    again = list(layer_spectra(network, x, "batch", exact_up_to=10, probes=2, steps=4))
    assert [item.as_dict() for item in spectra] == [item.as_dict() for item in again]


@pytest.mark.parametrize("case", ["groups", "batch norm", "before", "stride, padding, 5 x 7 px", "relu", "depthwise"])
def test_estimates_lie_within_their_stated_error_19_times_in_20(case: str) -> None:
    layer, x = CASES[case]
    layer, x = layer.double().eval(), x[:1]
    exact = autograd_values(layer, x)
    truth = [exact.mean(), exact.square().mean(), (exact - 1).abs().mean()]
    wide = stats.t.ppf(0.975, df=7)
    inside = np.zeros(3)
    for seed in range(30):
        found = estimate_spectrum(layer, x, torch.Generator().manual_seed(seed), probes=8, steps=30)
        assert found.weights.sum() == pytest.approx(1)
        assert found.largest.value <= exact.max() * (1 + 1e-9)
        for extreme, true in ((found.largest, exact.max()), (found.smallest, exact.min())):
            assert abs(extreme.value - true) <= extreme.standard_error + 1e-7 * exact.max()
        for index, (estimate, true) in enumerate(
            zip((found.mean, found.mean_square, found.isometry), truth, strict=True)
        ):
            inside[index] += abs(estimate.value - true) <= wide * estimate.standard_error + 1e-7 * exact.max()
    assert (inside / 30 > 0.8).all(), inside  # 0.95, less three standard deviations of 30 draws


def test_an_estimate_of_an_isometry_is_exact_and_ends_early() -> None:
    found = estimate_spectrum(lambda x: 3 * x, torch.zeros(1, 500), torch.Generator().manual_seed(0))
    assert found.mean.value == pytest.approx(3, rel=1e-5)
    assert found.largest.value == pytest.approx(3, rel=1e-5)
    assert found.smallest.value == pytest.approx(3, rel=1e-5)


@pytest.mark.parametrize(("out", "into", "kernel", "size"), [(2, 3, 3, (5, 7)), (1, 1, 1, (2, 2)), (3, 2, 2, (4, 3))])
def test_circular_convolutions_by_fourier_transform(out: int, into: int, kernel: int, size: tuple[int, int]) -> None:
    weight = draw(out, into, kernel, kernel)

    def layer(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, kernel - 1, 0, kernel - 1), mode="circular"), weight)

    expected = autograd_values(layer, draw(1, into, *size))[0]
    found = circular_convolution_singular_values(weight, size)
    assert_equal_spectra(found, expected)


def test_a_histogram_holds_the_whole_spectrum() -> None:
    (found,) = layer_spectra(nn.Linear(20, 30).double(), draw(1, 20))
    shares, edges = found.spectrum.histogram(8)
    values = found.spectrum.values.numpy()
    assert shares.sum() == pytest.approx(1)
    expected = [np.mean((values >= low) & (values < high)) for low, high in pairwise(edges.tolist())]
    assert shares[:-1].tolist() == pytest.approx(expected[:-1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: list(layer_spectra(nn.Linear(2, 2), torch.zeros(1, 2), "train")), "bn to be eval or batch"),  # type: ignore[arg-type]
        (lambda: list(layer_spectra(nn.Linear(2, 2), torch.zeros(1, 2), probes=0)), "probes to be an integer of at"),
        (lambda: list(layer_spectra(nn.ReLU(), torch.zeros(1, 2))), "convolutions or linear layers, but it has none"),
        (lambda: list(layer_spectra(nn.Linear(2, 2), torch.zeros(1, 3))), r"can trace on a batch of shape \(1, 3\)"),
        (lambda: list(layer_spectra(RandomSkipMLP(3, 2, 1), torch.zeros(1, 3))), r"784 numbers each, but got \(1, 3\)"),
        (lambda: hidden_mean(list(layer_spectra(nn.Linear(2, 2), torch.zeros(1, 2)))), "hidden layers, but it has 1"),
        (lambda: linear_singular_values([torch.zeros(2, 3)], [torch.zeros(4, 3)]), r"\(N, rows\), but got \(2, 3\)"),
        (lambda: circular_convolution_singular_values(torch.zeros(1, 1, 3, 3), (2, 5)), "of at least the kernel"),
    ],
)
def test_mistakes_are_named(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
