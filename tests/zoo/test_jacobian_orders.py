"""Values that an activation takes in another order, and products that torch.einsum writes: as the plain layers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nnmass.zoo import layer_spectra

F = nn.functional
Function = Callable[[Tensor], Tensor]


class Cell(nn.Module):
    """A convolution, whatever follows it, and a classifier of the mean over its px; all in double precision."""

    def __init__(self, after: Function, mean: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)
        self.after, self.mean = after, mean
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.after(self.conv(x)).mean(self.mean))


class Tokens(nn.Module):
    """A linear layer of tokens, whatever follows it, and a linear layer of all that they hold."""

    def __init__(self, after: Function) -> None:
        super().__init__()
        self.first, self.second, self.after = nn.Linear(6, 4), nn.Linear(20, 3), after

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.after(self.first(x)).flatten(1))


class Product(nn.Module):
    """Two matrices that are applied by a function, each with an activation."""

    def __init__(self, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(3, 4))
        self.product = product
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.product(torch.tanh(self.product(x, self.first)), self.second))


def singular_values(network: nn.Module, x: Tensor) -> list[Tensor]:
    return [torch.sort(layer.spectrum.values).values for layer in layer_spectra(network, x, bn="eval")]


def assert_alike(one: nn.Module, other: nn.Module, x: Tensor) -> None:
    ours, theirs = singular_values(one, x), singular_values(other, x)
    assert [len(values) for values in ours] == [len(values) for values in theirs]
    for values, expected in zip(ours, theirs, strict=True):
        assert torch.allclose(values, expected, atol=1e-9)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("activation", [torch.tanh, F.silu, F.hardswish, lambda x: x * torch.sigmoid(1.7 * x)])
@pytest.mark.parametrize("order", [(0, 2, 3, 1), (0, 3, 2, 1), (2, 3, 0, 1)])
def test_an_activation_of_a_permuted_value_belongs_to_the_layer(
    order: tuple[int, ...], activation: Function, samples: int
) -> None:
    rows = tuple(position for position, axis in enumerate(order) if axis > 1)
    permuted = Cell(lambda x: activation(x.permute(order)), rows)
    plain = Cell(lambda x: activation(x).permute(order), rows)
    assert_alike(permuted, plain, torch.randn(samples, 3, 4, 5, dtype=torch.float64))


def test_an_activation_of_flattened_features_belongs_to_the_layer() -> None:
    def network(*after: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), *after, nn.Linear(24, 5)).double()

    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert_alike(network(nn.Flatten(), nn.Tanh()), network(nn.Tanh(), nn.Flatten()), x)


@pytest.mark.parametrize(
    "after",
    [
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)),
        lambda x: x.permute(0, 2, 3, 1) * torch.tensor([1.0, 2.0, 3.0, 4.0]),
        lambda x: x.permute(0, 2, 3, 1) + 1,
    ],
    ids=["norm", "scale", "shift"],
)
def test_what_is_no_activation_of_each_number_is_not_the_permuted_layer_s(after: Function) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    network = Cell(after, (1, 2))
    bare = Cell(lambda x: x.permute(0, 2, 3, 1), (1, 2))
    assert torch.allclose(singular_values(network, x)[0], singular_values(bare, x)[0], atol=1e-9)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("activation", [torch.tanh, F.silu])
def test_an_activation_of_permuted_tokens_belongs_to_their_layer(activation: Function, samples: int) -> None:
    def network(after: Function) -> nn.Module:
        torch.manual_seed(0)
        return Tokens(after).double()

    x = torch.randn(samples, 5, 6, dtype=torch.float64)
    plain = network(lambda x: activation(x).transpose(1, 2))
    assert_alike(network(lambda x: activation(x.transpose(1, 2))), plain, x)
    # A norm over the tokens mixes them, and is no part of a layer that has each alone.
    normed = network(lambda x: F.layer_norm(activation(x.transpose(1, 2)), (5,)))
    assert torch.allclose(singular_values(normed, x)[0], singular_values(plain, x)[0], atol=1e-9)
    flat = network(lambda x: F.layer_norm(activation(x.flatten(1)), (20,)))
    assert torch.allclose(singular_values(flat, x)[0], singular_values(plain, x)[0], atol=1e-9)


def test_a_convolution_of_one_px_by_einsum_has_its_activation_in_each_px() -> None:
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    by_einsum = Product(lambda x, weight: torch.einsum("bchw,oc->bohw", x, weight))
    rows = singular_values(Product(F.linear), x.movedim(1, -1))
    for values, expected in zip(singular_values(by_einsum, x), rows, strict=True):
        assert torch.allclose(values, expected, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 6), (3, 6), (2, 5, 6), (1, 5, 6), (2, 2, 3, 6)])
def test_a_product_by_einsum_is_a_linear_layer(shape: tuple[int, ...]) -> None:
    letters = "nbhw"[: len(shape) - 1]
    by_einsum = Product(lambda x, weight: torch.einsum(f"{letters}c,oc->{letters}o", x, weight))
    x = torch.randn(shape, dtype=torch.float64)
    assert_alike(by_einsum, Product(F.linear), x)
    assert_alike(Product(lambda x, weight: x @ weight.T), Product(F.linear), x)
