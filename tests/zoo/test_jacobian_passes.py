"""Spectra of one forward of a network as it is: its buffers, functions, comparisons and compiled parts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnmass.zoo import RandomSkipMLP, layer_spectra
from nnmass.zoo.jacobian.estimates import estimate_spectrum
from nnmass.zoo.jacobian.exact import circular_convolution_singular_values


def means(network: nn.Module, batch: Tensor, **options: Any) -> list[float]:
    return [layer.spectrum.mean.value for layer in layer_spectra(network, batch, **options)]


def dense_mean(function: Callable[[Tensor], Tensor], batch: Tensor) -> float:
    """Mean singular value of the function's Jacobian, over the samples, in double precision."""
    rows = [torch.autograd.functional.jacobian(lambda x: function(x[None])[0], x) for x in batch.double()]
    return torch.stack([torch.linalg.svdvals(jacobian) for jacobian in rows]).mean().item()  # type: ignore[arg-type]


class Counting(nn.Module):
    """A layer whose output is multiplied by the number of passes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 5)
        self.register_buffer("passes", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return (self.layer(x) * self.passes).relu()


@pytest.mark.parametrize("bn", ["eval", "batch"])
def test_buffers_that_the_forward_changes_are_those_of_its_first_pass(bn: str) -> None:
    torch.manual_seed(0)
    network, batch = Counting(), torch.randn(6, 8)
    weight, bias = network.layer.weight.double(), network.layer.bias.double()
    expected = dense_mean(lambda x: F.linear(x, weight, bias).relu(), batch)
    for _ in range(2):
        assert means(network, batch, bn=bn) == [pytest.approx(expected, rel=1e-5)]
    assert network.passes == 0


class Normalised(nn.Module):
    def __init__(self, norm: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn, self.head, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), norm

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.head(self.norm(self, self.conv(x)).relu().mean((2, 3)))
        return value


def functional(network: Any, x: Tensor) -> Tensor:
    bn = network.bn
    return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, network.training)


def test_a_batch_norm_that_is_no_module_is_refused_with_the_batchs_statistics() -> None:
    torch.manual_seed(0)
    network, batch = Normalised(functional), torch.randn(6, 3, 6, 6)
    with pytest.raises(ValueError, match="Expected batch norms that are modules for bn='batch', but a function norm"):
        means(network, batch, bn="batch")
    by_function = means(network, batch, bn="eval")
    network.norm = lambda self, x: self.bn(x)
    assert means(network, batch, bn="eval") == pytest.approx(by_function)
    assert means(network, batch, bn="batch") != pytest.approx(by_function)


GATES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "where": lambda gate, value, x: torch.where(gate > 0, value, x),
    "product": lambda gate, value, x: (gate > 0) * value,
    "masked": lambda gate, value, x: value.masked_fill(gate > 0, 0.0),
    "long": lambda gate, value, x: (gate > 0).long() * value + x,
}


class Gated(nn.Module):
    def __init__(self, rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.gate, self.layer, self.rule = nn.Linear(5, 5), nn.Linear(5, 5), rule

    def forward(self, x: Tensor) -> Tensor:
        return self.rule(self.gate(x), self.layer(x), x)


@pytest.mark.parametrize("rule", GATES)
def test_a_comparison_belongs_to_no_layer(rule: str) -> None:
    torch.manual_seed(0)
    network, batch = Gated(GATES[rule]), torch.randn(4, 5)
    found = means(network, batch)
    assert found[0] == pytest.approx(torch.linalg.svdvals(network.gate.weight).mean().item(), rel=1e-5)
    assert len(found) == 2


def test_an_activation_that_is_not_elementwise_takes_the_general_way() -> None:
    torch.manual_seed(0)
    network, batch = RandomSkipMLP(3, 4, 0, num_classes=2, in_features=5), torch.randn(4, 5)
    network.activation = nn.Softmax(-1)
    weight, bias = (value.double() for value in network.layers[0].linear.parameters())
    expected = dense_mean(lambda x: F.linear(x, weight, bias).softmax(-1), batch)
    assert means(network, batch)[0] == pytest.approx(expected, rel=1e-4)


def test_compiled_parts_are_read() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
    batch = torch.randn(2, 3, 4, 4)
    compiled = nn.Sequential(torch.compile(plain[0]), *plain[1:])  # type: ignore[arg-type]
    assert means(compiled, batch) == pytest.approx(means(nn.Sequential(*plain), batch))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: means(None, torch.zeros(1, 3)), "Expected model to be a torch.nn.Module, but got NoneType"),  # type: ignore[arg-type]
        (lambda: means(nn.Linear(3, 2), torch.zeros(0, 3)), r"Expected batch to hold at least one input, but got \(0"),
        (lambda: means(nn.Linear(1, 2), torch.tensor([[torch.nan]])), "Expected batch to be finite, but got NaN"),
        (
            lambda: estimate_spectrum(torch.relu, torch.zeros(1, 3), torch.Generator(), probes=0),
            "Expected probes to be an integer of at least 1, but got 0",
        ),
        (
            lambda: estimate_spectrum(torch.relu, torch.zeros(1, 3), torch.Generator(), steps=0),
            "Expected steps to be an integer of at least 1, but got 0",
        ),
        (
            lambda: circular_convolution_singular_values(torch.zeros(1, 1, 3), (4, 4)),
            "Expected weight to have four dimensions, but got 3",
        ),
        (
            lambda: circular_convolution_singular_values(torch.zeros(1, 1, 3, 3), 5),  # type: ignore[arg-type]
            r"Expected size to be height and width of at least the kernel's \(3, 3\), but got 5",
        ),
    ],
)
def test_bad_arguments_are_one_sentence(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
