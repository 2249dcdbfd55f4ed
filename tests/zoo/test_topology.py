"""topology() and count_macs(): independent counts, and nothing disturbed."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nnmass.zoo import Classifier, RandomSkipDenseNet, count_macs, topology


def flop_counter_macs(network: nn.Module, input_size: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(network).eval()(torch.zeros(1, *input_size))
    return counter.get_total_flops() // 2


@settings(max_examples=8)
@given(st.integers(1, 6), st.sampled_from([1, 2]), st.integers(0, 40), st.sampled_from([8, 17]))
def test_macs_equal_torch_and_a_hand_product(depth: int, width_multiplier: int, tc: int, size: int) -> None:
    network = RandomSkipDenseNet(depth, width_multiplier, tc, num_classes=7, in_chans=1)
    macs = count_macs(network, (1, size, size))
    assert macs == flop_counter_macs(network, (1, size, size))
    expected, entering, side = 7 * network.widths[-1], 1, size
    for cell, width in enumerate(network.widths):
        side = side if cell == 0 else (side + 1) // 2
        expected += side * side * 9 * width * (entering + sum(width + n for n in network.cells[cell].num_links[1:]))  # type: ignore[union-attr, operator]
        entering = width
    assert macs == expected


def test_a_linear_layer_and_a_product_count_and_a_norm_does_not() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.BatchNorm1d(6), nn.Linear(6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(self.norm(x))
            return y.T @ y

    assert count_macs(Product(), (6,)) == 6 * 5 + 5 * 5


def test_measuring_leaves_everything_as_it_was() -> None:
    network = RandomSkipDenseNet(4, 1, 5).train()
    network.cells[0].eval()
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    random_state = torch.get_rng_state()
    topology(network)
    assert torch.equal(random_state, torch.get_rng_state())
    assert modes == [module.training for module in network.modules()]
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    for before, parameter in zip(gradients, network.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.equal(before, parameter.grad)


class Copied(nn.Linear):
    """A layer that counts its copies."""

    copies = 0

    def __reduce_ex__(self, protocol: Any) -> Any:
        Copied.copies += 1
        return super().__reduce_ex__(protocol)


class Followed(nn.Module):
    """A layer, and a function of what it gives."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.function = Copied(6, 4), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x))


def test_a_reading_makes_one_copy_and_a_second_one_only_where_an_operator_is_unknown() -> None:
    cases: list[tuple[nn.Module, int]] = [
        (Copied(6, 4), 1),
        (nn.Sequential(Copied(6, 4), nn.ReLU(), nn.Linear(4, 4)).to("meta"), 1),
        (Followed(lambda x: (x @ x.T) @ x), 1),
        (Followed(lambda x: torch.fft.fft(x).abs()), 2),
        (Followed(lambda x: torch.linalg.vecdot(x, x)), 2),
    ]
    for network, copies in cases:
        Copied.copies = 0
        record = topology(network, 6)
        assert (Copied.copies, record.macs) == (copies, count_macs(network, 6))


class DenseTokens(nn.Module):
    """Linear layers that read all outputs before them, position by position."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4 * (number + 1), 4) for number in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(torch.cat(outputs, -1)))
        return outputs[-1]


def test_skips_between_linear_layers_are_the_same_for_vectors_and_for_tokens() -> None:
    vectors = topology(DenseTokens(), 4)
    assert vectors.nn_mass > 0
    for size in ((7, 4), (3, 5, 4), np.array([7, 4]), torch.tensor([7, 4]), torch.Size([1, 4])):
        tokens = topology(DenseTokens(), size)  # type: ignore[arg-type]
        assert (tokens.nn_mass, tokens.cell_densities) == (vectors.nn_mass, vectors.cell_densities)


@pytest.mark.parametrize("model", [None, "resnet18", torch.relu])
def test_what_is_no_network_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="Expected model to be a torch.nn.Module, but got"):
        topology(model)


def test_a_network_that_calls_no_hooks_is_read_all_the_same() -> None:
    class Direct(nn.Sequential):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return self.forward(x)

    layers = [nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4)]
    assert topology(Direct(*layers), 6) == topology(nn.Sequential(*layers), 6)


def test_wrapped_networks_give_the_same_record() -> None:
    network = RandomSkipDenseNet(4, 1, 5)
    assert topology(Classifier(network)) == topology(network) == topology(nn.DataParallel(network))


def test_one_number_is_the_size_of_a_vector_and_the_default_is_named_where_it_does_not_fit() -> None:
    network = nn.Sequential(nn.Linear(20, 4), nn.ReLU(), nn.Linear(4, 2))
    assert topology(network, 20) == topology(network, (20,))
    with pytest.raises(ValueError, match="topology takes another as input_size"):
        topology(network)


def test_input_that_a_network_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes input of size \(5, 8, 8\)"):
        count_macs(RandomSkipDenseNet(3, 1, 2), (5, 8, 8))
    with pytest.raises(ValueError, match=r"can trace on one input of size \(5, 8, 8\)"):
        topology(RandomSkipDenseNet(3, 1, 2), (5, 8, 8))


def test_the_input_size_is_what_the_network_says_or_an_image() -> None:
    assert topology(RandomSkipDenseNet(3, 1, 2, in_chans=1)).input_size == (1, 32, 32)
    assert topology(nn.Conv2d(3, 1, 7, stride=7)).input_size == (3, 224, 224)
    assert topology(nn.Conv2d(3, 1, 7, stride=7), (3, 14, 14)).macs == 3 * 49 * 4


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    from nnmass.zoo import create_model

    with pytest.raises(ValueError, match="did you mean 'dense_40_w2_all'"):
        create_model("dense_40w2_all")
