"""Cells and MLPs that a user has changed: the fast pass gives what the modules give, and refuses where they refuse."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnmass.zoo import RandomSkipCell, RandomSkipMLP
from nnmass.zoo.networks.expansion import ExpansionBlock

CELL: dict[str, Any] = {"in_channels": 3, "width": 4, "depth": 6, "tc": 6}
MLP: dict[str, Any] = {"depth": 6, "width": 4, "tc": 6, "in_features": 5}
Change = Callable[[Any], None]


class DoubledLayer(type(RandomSkipCell(3, 1, 1, 0).layers[0])):  # type: ignore[misc]
    """A layer with a forward of its own."""

    def forward(self, previous: Tensor, earlier: Tensor | None) -> Tensor:
        doubled: Tensor = 2 * super().forward(previous, earlier)
        return doubled


class DoubledLinear(type(RandomSkipMLP(2, 1, 0).layers[0])):  # type: ignore[misc]
    """A linear layer that takes twice the numbers."""

    def entering(self, previous: Tensor, earlier: list[Tensor]) -> Tensor:
        doubled: Tensor = 2 * super().entering(previous, earlier)
        return doubled


class DoubledBlock(ExpansionBlock):
    """An expansion block with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def linked_to(link: int, written: Callable[[Tensor], Tensor] = lambda links: links) -> Change:
    """Change a link of layer 4, which has those to the 12 channels of layers 0 to 2."""

    def change(network: Any) -> None:
        written(network.layers[4].links)[0] = link

    return change


def with_fewer_links(network: Any) -> None:
    network.layers[4].links = network.layers[4].links[:-1].clone()


def without_two_filters(position: int) -> Change:
    def change(cell: Any) -> None:
        layer = cell.layers[position]
        layer.conv.weight = nn.Parameter(layer.conv.weight[:2].detach().clone())
        if position < 2:
            layer.norm_out = nn.BatchNorm2d(2)

    return change


def with_more_filters(cell: Any) -> None:
    cell.layers[3].conv = nn.Conv2d(cell.layers[3].norm_in.num_features, 8, 3, padding=1)


def without_padding(cell: Any) -> None:
    cell.layers[3].conv.padding = (0, 0)


def with_another_precision(cell: Any) -> None:
    cell.layers[1].double()


def with_short_statistics(cell: Any) -> None:
    cell.layers[3].norm_in.running_mean = torch.zeros(2)


def with_a_patched_forward(part: Callable[[Any], Any]) -> Change:
    def change(network: Any) -> None:
        module = part(network)
        forward = module.forward
        module.forward = lambda x: 2 * forward(x)

    return change


def of_class(kind: type, part: Callable[[Any], Any]) -> Change:
    def change(network: Any) -> None:
        part(network).__class__ = kind

    return change


def with_a_longer_block(cell: Any) -> None:
    cell.layers[3].conv.append(nn.Tanh())


CELL_CHANGES: dict[str, tuple[Change, dict[str, Any]]] = {
    "link_too_large": (linked_to(25), {}),
    "link_far_too_large": (linked_to(10**7), {}),
    "link_below_0": (linked_to(-1), {}),
    "link_to_the_newest": (linked_to(12), {}),
    "link_written_to_data": (linked_to(25, lambda links: links.data), {}),
    "another_link": (linked_to(11), {}),
    "fewer_links": (with_fewer_links, {}),
    "filters_of_layer_0": (without_two_filters(0), {}),
    "filters_of_layer_1": (without_two_filters(1), {}),
    "filters_of_layer_3": (without_two_filters(3), {}),
    "more_filters": (with_more_filters, {}),
    "no_padding": (without_padding, {}),
    "precision": (with_another_precision, {}),
    "statistics": (with_short_statistics, {}),
    "forward_of_a_convolution": (with_a_patched_forward(lambda cell: cell.layers[-1].conv), {}),
    "forward_of_a_norm": (with_a_patched_forward(lambda cell: cell.layers[3].norm_in), {}),
    "class_of_a_layer": (of_class(DoubledLayer, lambda cell: cell.layers[3]), {}),
    "class_of_a_block": (of_class(DoubledBlock, lambda cell: cell.layers[3].conv), {"expansion": 2}),
    "class_of_the_first_block": (of_class(DoubledBlock, lambda cell: cell.layers[0].conv), {"expansion": 2}),
    "longer_block": (with_a_longer_block, {"expansion": 2}),
}


def without_two_neurons(mlp: Any) -> None:
    linear = mlp.layers[2].linear
    linear.weight, linear.bias = nn.Parameter(linear.weight[:2].clone()), nn.Parameter(linear.bias[:2].clone())


MLP_CHANGES: dict[str, Change] = {
    "link_too_large": linked_to(25),
    "link_below_0": linked_to(-1),
    "link_to_the_newest": linked_to(12),
    "another_link": linked_to(11),
    "fewer_links": with_fewer_links,
    "neurons": without_two_neurons,
    "forward_of_a_linear_layer": with_a_patched_forward(lambda mlp: mlp.layers[2].linear),
    "class_of_a_layer": of_class(DoubledLinear, lambda mlp: mlp.layers[2]),
}


def assert_alike(shared: Any, plain: Any, change: Change, x: Tensor) -> None:
    """Change two networks of the same weights; both give the same numbers, or neither gives any."""
    plain.load_state_dict(shared.state_dict())
    for network in (shared, plain):
        change(network)
    for training in (True, False):
        results = []
        for network in (shared.train(training), plain.train(training)):
            try:
                with torch.set_grad_enabled(training):
                    results.append(network(x))
            except (RuntimeError, ValueError):
                results.append(None)
        one, other = results
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("change", CELL_CHANGES)
def test_a_changed_cell_gives_what_its_modules_give(change: str) -> None:
    changed, arguments = CELL_CHANGES[change]
    shared, plain = (RandomSkipCell(**CELL, **arguments, share_outputs=share) for share in (True, False))
    assert_alike(shared, plain, changed, torch.randn(2, 3, 6, 6))


@pytest.mark.parametrize("change", MLP_CHANGES)
def test_a_changed_mlp_gives_what_its_modules_give(change: str) -> None:
    shared, plain = (RandomSkipMLP(**MLP, share_outputs=share) for share in (True, False))
    assert_alike(shared, plain, MLP_CHANGES[change], torch.randn(3, 5))


def test_links_are_followed_by_the_fast_pass_where_they_exist() -> None:
    cell = RandomSkipCell(**CELL, share_outputs=True)
    linked_to(11)(cell)
    cell(torch.randn(2, 3, 6, 6))
    assert cell.ran_on_shared_outputs


def test_a_last_layer_of_another_width_stays_on_the_fast_pass() -> None:
    shared, plain = (RandomSkipCell(**CELL, share_outputs=share, seed=0) for share in (True, False))
    plain.load_state_dict(shared.state_dict())
    wider = torch.randn(9, shared.layers[5].norm_in.num_features, 3, 3, generator=torch.Generator().manual_seed(0))
    x, gradients = torch.randn(2, 3, 6, 6), []
    for cell in (shared, plain):
        cell.layers[5].conv.weight = nn.Parameter(wider)
        output = cell(x)
        assert output.shape == (2, 9, 6, 6)
        gradients.append(torch.autograd.grad(output.square().sum(), [*cell.parameters()]))
    assert (shared.ran_on_shared_outputs, plain.ran_on_shared_outputs) == (True, False)
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-3)
