"""Measures from gradients: each against its formula, written out by loops on a tiny network in double precision."""

import copy
from collections.abc import Callable
from itertools import pairwise
from math import log

import numpy as np
import pytest
import torch
from test_measures import four, tiny
from timm.layers import FrozenBatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune
from torchvision.ops import FrozenBatchNorm2d

from nnmass.zoo.measures import MEASURES, Batch, NotMeasured


def losses(network: nn.Module, images: Tensor, labels: Tensor | None) -> Tensor:
    """The mean cross-entropy of a copy in training mode."""
    assert labels is not None
    return -torch.stack([row.log_softmax(0)[label] for row, label in zip(network(images), labels, strict=True)]).mean()


def gradients(network: nn.Module, images: Tensor, labels: Tensor | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights of convolution and linear layers, each with its gradient."""
    network = copy.deepcopy(network).train()
    losses(network, images, labels).backward()
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [(layer.weight.detach().numpy(), layer.weight.grad.numpy()) for layer in layers]  # type: ignore[union-attr]


def test_snip_sums_each_weight_times_its_gradient() -> None:
    network, batch = tiny(), four()
    expected = 0.0
    for weights, slopes in gradients(network, batch.images, batch.labels):
        for index in np.ndindex(weights.shape):
            expected += abs(weights[index] * slopes[index])
    assert MEASURES["snip"](network, batch) == pytest.approx(expected, rel=1e-12)


def test_grasp_is_the_product_with_the_whole_hessian() -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    images, labels = torch.randn(5, 1, 2, 2, dtype=torch.double), torch.tensor([0, 1, 1, 0, 1])
    names, sizes = ["1.weight", "3.weight"], [12, 6]

    def loss(flat: Tensor) -> Tensor:
        shapes = [(3, 4), (2, 3)]
        parts = {n: part.view(s) for n, part, s in zip(names, flat.split(sizes), shapes, strict=True)}
        return functional.cross_entropy(torch.func.functional_call(network, parts, (images,)), labels)

    flat = torch.cat([network.get_parameter(name).detach().flatten() for name in names])
    slope = torch.autograd.functional.jacobian(loss, flat)
    hessian = torch.autograd.functional.hessian(loss, flat)
    expected = 0.0
    for i in range(18):
        for j in range(18):
            expected -= float(flat[i] * hessian[i, j] * slope[j])
    assert MEASURES["grasp"](network, Batch(images, labels)) == pytest.approx(expected, rel=1e-10)


def test_synflow_counts_every_path_once_for_each_of_its_weights() -> None:
    torch.manual_seed(4)
    sizes = (3, 4, 5, 2)
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]
    network = nn.Sequential(layers[0], nn.BatchNorm1d(4), nn.ReLU(), layers[1], nn.ReLU(), nn.Dropout(), layers[2])
    network[1].weight.data.fill_(-7)  # normalisation is left out
    paths = 0.0
    first, second, third = (layer.weight.detach().double().abs().numpy() for layer in layers)
    for a, b, c, d in np.ndindex(*sizes):
        paths += first[b, a] * second[c, b] * third[d, c]
    assert MEASURES["synflow"](network, Batch(torch.randn(1, 3))) == pytest.approx(log(3 * paths), rel=1e-12)


def normalised_by(norm: nn.Module) -> nn.Module:
    """A small network with a normalisation, whose statistics and scales are as after a training."""
    torch.manual_seed(8)
    layers = (nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network = nn.Sequential(layers[0], norm, *layers[1:])
    with torch.no_grad():
        for one in (*norm.parameters(), *norm.buffers()):
            one.copy_(torch.rand(one.shape) + 0.5)
    return network


@pytest.mark.parametrize("frozen", [FrozenBatchNorm2d, lambda size: FrozenBatchNormAct2d(size, apply_act=False)])
def test_synflow_leaves_frozen_batch_norms_out_too(frozen: Callable[[int], nn.Module]) -> None:
    batch = Batch(torch.randn(2, 2, 5, 5))
    expected = MEASURES["synflow"](normalised_by(nn.Identity()), batch)
    for norm in (nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False, track_running_stats=False), frozen(4)):
        network = normalised_by(norm)
        before = copy.deepcopy(network.state_dict())
        assert MEASURES["synflow"](network, batch) == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    kept = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    assert MEASURES["synflow"](normalised_by(kept), batch) != pytest.approx(expected, rel=1e-3)


def test_synflow_keeps_the_activation_of_a_frozen_batch_norm() -> None:
    batch = Batch(torch.randn(2, 2, 5, 5))
    network = normalised_by(FrozenBatchNormAct2d(4, act_layer=nn.Sigmoid))
    expected = normalised_by(nn.Sigmoid())
    assert MEASURES["synflow"](network, batch) == pytest.approx(MEASURES["synflow"](expected, batch), rel=1e-12)


def test_synflow_refuses_biases_whose_absolute_values_it_cannot_set() -> None:
    network = nn.Sequential(prune.identity(nn.Linear(4, 3), "bias"), nn.Linear(3, 2))
    with pytest.raises(NotMeasured, match="parameters, but 0.bias is computed"):
        MEASURES["synflow"](network, Batch(torch.ones(1, 4)))


def test_synflow_holds_sums_beyond_single_precision_and_refuses_those_beyond_double() -> None:
    network = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(6)))
    for layer in network:
        layer.weight.data.fill_(1e30)
    batch = Batch(torch.ones(1, 1))
    assert MEASURES["synflow"](network, batch) == pytest.approx(log(6) + 6 * log(np.float32(1e30)), rel=1e-12)
    deep = nn.Sequential(*network, *copy.deepcopy(network))
    with pytest.raises(NotMeasured, match="flow that double precision holds, but got inf"):
        MEASURES["synflow"](deep, batch)


def test_fisher_squares_the_sum_over_each_channels_positions() -> None:
    network, batch = tiny(), four()
    twin = copy.deepcopy(network).train()
    convolved = twin[0](batch.images)
    final = twin[4](twin[3](functional.relu(twin[1](convolved))))
    loss = functional.cross_entropy(final, batch.labels)  # type: ignore[arg-type]
    expected = 0.0
    for layer, output, slopes in zip(
        (twin[0], twin[4]), (convolved, final), torch.autograd.grad(loss, [convolved, final]), strict=True
    ):
        for channel in range(output.shape[1]):
            for image in range(4):
                total = (output[image, channel] * slopes[image, channel]).sum().item()
                expected += layer.weight[channel].numel() * total**2 / (2 * 4)  # type: ignore[union-attr, operator, index]
    assert MEASURES["fisher"](network, batch) == pytest.approx(expected, rel=1e-12)


def test_fisher_sees_outputs_as_they_were_before_an_operation_in_place() -> None:
    class InPlace(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[1](functional.relu_(self[0](x).mul_(2)).flatten(1))

    class Plain(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[1](functional.relu(self[0](x) * 2).flatten(1))

    torch.manual_seed(5)
    layers = (nn.Conv2d(2, 3, 3).double(), nn.Linear(12, 3).double())
    one, other = (MEASURES["fisher"](kind(*layers), four()) for kind in (InPlace, Plain))
    assert one == pytest.approx(other, rel=1e-12)


class Row(nn.Module):
    """Layers one after the other, of which some may be the same."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x.flatten(2).mean(2) if x.dim() > 2 else x)


@pytest.mark.parametrize(
    "kind", [lambda: nn.Linear(4, 4), lambda: nn.Conv2d(4, 4, 3, padding=1)], ids=["linear", "conv"]
)
@pytest.mark.parametrize("name", ["grad_norm", "snip", "grasp", "synflow", "fisher", "zico"])
def test_layers_that_share_a_weight_are_a_layer_called_twice(kind: Callable[[], nn.Module], name: str) -> None:
    torch.manual_seed(6)
    one, other = kind(), kind()
    called_twice = Row(one, one).double()
    other.weight, other.bias = one.weight, one.bias  # type: ignore[assignment]
    sharing = Row(one, other).double()
    sharing.head = called_twice.head
    shape = (5, 4) if isinstance(one, nn.Linear) else (5, 4, 3, 3)
    batch = Batch(torch.randn(shape, dtype=torch.double), torch.tensor([0, 1, 2, 0, 1]))
    expected = MEASURES[name](called_twice, batch)
    assert MEASURES[name](sharing, batch) == pytest.approx(expected, rel=1e-12)


def test_fisher_is_the_information_of_a_factor_on_each_channel_wherever_it_is_used() -> None:
    torch.manual_seed(6)
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight  # each with a bias of its own
    network = Row(one, other).double()
    images, labels = torch.randn(5, 4, dtype=torch.double), torch.tensor([0, 1, 2, 0, 1])

    def slopes(image: Tensor, label: Tensor) -> tuple[Tensor, ...]:
        shared, last = torch.ones(4, dtype=torch.double), torch.ones(3, dtype=torch.double)
        shared.requires_grad_(), last.requires_grad_()
        hidden = torch.tanh(shared * other(torch.tanh(shared * one(image))))
        loss = functional.cross_entropy(last * network.head(hidden), label) / 5
        return torch.autograd.grad(loss, [shared, last])

    expected = sum(
        4 * float(slope.square().sum()) / (2 * 5)
        for image, label in zip(images, labels, strict=True)
        for slope in slopes(image, label)
    )
    assert MEASURES["fisher"](network, Batch(images, labels)) == pytest.approx(expected, rel=1e-12)


def test_fisher_refuses_a_weight_whose_layers_have_other_channels() -> None:
    one, other = nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3)
    other.weight = one.weight
    batch = Batch(torch.randn(5, 4, 5, 5), torch.tensor([0, 1, 2, 0, 1]))
    with pytest.raises(NotMeasured, match="share its channels, but those of layers.0 do not"):
        MEASURES["fisher"](Row(one, other), batch)
    assert MEASURES["grad_norm"](Row(one, other), batch) > 0


@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 4)], ids=["vector", "one row", "two rows"])
def test_a_layer_that_also_sees_something_else_than_images_has_gradients_and_no_fisher(shape: tuple[int, ...]) -> None:
    class Prompted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt, self.layer = nn.Parameter(torch.randn(shape)), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + self.layer(self.prompt).reshape(-1, 3).sum(0)

    network = Prompted()
    batch = Batch(torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))
    ((_, slopes),) = gradients(network, batch.images, batch.labels)
    assert MEASURES["grad_norm"](network, batch) == pytest.approx(float(np.linalg.norm(slopes)), rel=1e-5)
    with pytest.raises(NotMeasured, match=f"layer gives {2 if shape == (2, 4) else 1} and 5 of them"):
        MEASURES["fisher"](network, batch)


def test_jacobian_covariance_scores_the_eigenvalues_of_the_correlations() -> None:
    network, batch = tiny(), four()
    images = batch.images.clone().requires_grad_()
    copy.deepcopy(network).train()(images).sum().backward()
    assert images.grad is not None
    values = np.linalg.eigvalsh(np.corrcoef(images.grad.flatten(1).numpy()))
    expected = -sum(log(value + 1e-5) + 1 / (value + 1e-5) for value in values)
    assert MEASURES["jacob_cov"](network, batch) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("number", [4, 5])
def test_zico_takes_mean_and_deviation_over_two_halves(number: int) -> None:
    network = tiny()
    images = torch.randn(number, 2, 4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(7))
    labels = torch.tensor([0, 1, 2, 1, 0][:number])
    halves = [gradients(network, images[part], labels[part]) for part in (slice(2), slice(2, None))]
    expected = 0.0
    for (_, one), (_, other) in zip(*halves, strict=True):
        total = 0.0
        for a, b in zip(one.flatten(), other.flatten(), strict=True):
            deviation = np.std([a, b])
            total += np.mean(np.abs([a, b])) / deviation if deviation else 0
        expected += log(total)
    assert MEASURES["zico"](network, Batch(images, labels)) == pytest.approx(expected, rel=1e-9)


def test_zico_refuses_halves_that_are_the_same() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    twice = Batch(torch.ones(2, 1, 2, 2), torch.tensor([0, 0]))
    with pytest.raises(NotMeasured, match="got the same twice"):
        MEASURES["zico"](network, twice)


def test_jacobian_covariance_refuses_outputs_that_depend_on_nothing() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        network[1].weight.zero_()
    with pytest.raises(NotMeasured, match="depend on every image"):
        MEASURES["jacob_cov"](network, Batch(torch.randn(3, 1, 2, 2)))
