"""Cases where the pass on shared outputs stands aside, refuses, or meets hard numbers, against the plain modules."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_shared_outputs import assert_close, memory_of_outputs, pair, step
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks, save_on_cpu

from nnmass.zoo import Classifier, RandomSkipMLP
from nnmass.zoo.fast import processor
from nnmass.zoo.fast.channels import Outputs
from nnmass.zoo.networks import cells
from nnmass.zoo.training.weighted_mean import WeightedMean

CELL: dict[str, Any] = {"in_channels": 3, "width": 4, "depth": 5, "tc": 6}


class Turned(nn.Module):
    """A convolution of the transposed image: what it keeps for its gradient lies where its input lies."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        turned: Tensor = self.convolution(x.transpose(2, 3))
        return turned.transpose(2, 3)


def test_a_convolution_of_ones_own_is_run_as_it_is() -> None:
    cell, plain = pair(**CELL)
    for network in (cell, plain):
        for layer in network.layers[2:]:
            layer.conv = Turned(layer.conv)  # type: ignore[arg-type]
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert_close(step(cell, x), step(plain, x), 1e-10)


@pytest.mark.parametrize("wrapped", [save_on_cpu, lambda: disable_saved_tensors_hooks("not here")])
def test_who_keeps_saved_tensors_elsewhere_keeps_those_of_the_modules(wrapped: Callable[[], Any]) -> None:
    cell, plain = pair(**CELL)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    with wrapped():
        found = step(cell, x)
    assert_close(found, step(plain, x), 1e-10)


def test_one_row_far_off_does_not_blur_the_variance_of_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    output = 1 + 1e-3 * torch.randn(131_072, 3, generator=generator)
    output[0] = -1000
    mean, variance = torch.empty(2, 3)
    processor.store(output, Outputs(torch.empty(1, 131_072, 3), mean, variance, torch.empty(0)), 0, True)
    exact = output.double()
    assert torch.allclose(mean.double(), exact.mean(0), rtol=1e-6)
    assert torch.allclose(variance.double(), exact.var(0, correction=0), rtol=1e-6)


@pytest.mark.parametrize("free", [2, 3, 4])
def test_with_the_first_layers_frozen_the_others_learn_alike_and_memory_is_freed(
    free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "is_proved", lambda *_: True)  # whose own pass would be watched too
    made = memory_of_outputs(monkeypatch)
    cell, plain = pair(**CELL)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    losses, gradients = [], []
    for network in (cell, plain):
        for index, layer in enumerate(network.layers):
            layer.requires_grad_(index >= free)
        losses.append(network(x).square().sum())  # held on to, as a training loop holds the last loss
        losses[-1].backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert made
    assert all(memory.expired() for memory in made)
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def test_gradients_of_gradients_are_refused() -> None:
    cell, _ = pair(in_channels=3, width=4, depth=5, tc=6)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="share_outputs=False for gradients of gradients"):
        torch.autograd.grad(cell(x).square().sum(), [x], create_graph=True)


@pytest.mark.parametrize("expansion", [None, 1])
def test_the_gradient_is_that_of_the_weights_of_the_forward_pass(expansion: int | None) -> None:
    """Weights that stand in for the module's own during one pass are gone when it goes back."""
    cell, plain = pair(**CELL, expansion=expansion)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    gradients = []
    for network in (cell, plain):
        others = {name: (1.5 * value).detach().requires_grad_() for name, value in network.named_parameters()}
        torch.func.functional_call(network, others, (x,)).square().sum().backward()
        gradients.append([value.grad for value in others.values()])
    assert cell.ran_on_shared_outputs
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("part", ["layers.3.conv.weight", "layers.3.norm_in.weight", "layers.3.norm_in.bias"])
def test_weights_that_change_before_the_step_back_are_noticed(part: str) -> None:
    cell, _ = pair(in_channels=3, width=4, depth=5, tc=6)
    loss = cell(torch.randn(2, 3, 6, 6, dtype=torch.float64)).square().sum()
    with torch.no_grad():
        cell.get_parameter(part).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_many_gradients_at_once_are_refused_by_a_cell_and_given_by_an_mlp() -> None:
    cell, _ = pair(**CELL)
    with pytest.raises(RuntimeError, match="share_outputs=False for many gradients at once"):
        torch.autograd.functional.jacobian(cell, torch.randn(2, 3, 4, 4, dtype=torch.float64), vectorize=True)
    network = RandomSkipMLP(4, 3, 2, in_features=5).double()
    x = torch.randn(2, 5, dtype=torch.float64)
    found, expected = (torch.autograd.functional.jacobian(network, x, vectorize=way) for way in (True, False))
    assert torch.allclose(found, expected, rtol=1e-10)


def test_links_that_are_exchanged_are_noticed() -> None:
    network = RandomSkipMLP(5, 3, 4, in_features=5)
    plain = copy.deepcopy(network)
    plain.share_outputs = False
    x = torch.randn(2, 5)
    network(x)
    for either in (network, plain):
        links: Tensor = either.layers[3].links  # type: ignore[assignment]
        links.data = torch.arange(len(links))
    assert torch.allclose(network(x), plain(x), atol=1e-6)


def test_a_mean_of_half_precision_losses_does_not_overflow() -> None:
    model = Classifier(nn.Linear(1, 2), num_classes=2)
    mean = WeightedMean()
    batch = torch.zeros(10_000, 1), torch.zeros(10_000, dtype=torch.int64)
    model._classified(batch, lambda *_: torch.tensor(7.0, dtype=torch.float16), mean)  # type: ignore[arg-type]
    assert mean.compute().item() == 7
