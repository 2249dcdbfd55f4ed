"""The built network: its published size, its links counted by perturbation, its seed, its checkpoint."""

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnmass.zoo import RandomSkipCell, RandomSkipDenseNet, average_degree, cell_density, nn_mass, topology
from nnmass.zoo.networks.cells import RandomSkipLayer, draw_links


def layer_inputs(cell: RandomSkipCell) -> list[tuple[int, ...]]:
    return [tuple(layer.links.tolist()) for layer in cell.layers]  # type: ignore[union-attr, operator]


def without_relu(network: nn.Module) -> None:
    """Let no ReLU hide a disturbance."""
    for module in network.modules():
        if isinstance(module, RandomSkipLayer):
            module.activation = nn.Identity()


def affected_layers(cell: RandomSkipCell, source: int, channel: int, in_channels: int = 2) -> set[int]:
    """Layers whose convolution sees a different input when one channel of one layer's output is disturbed."""
    seen: dict[str, list[Tensor]] = {"plain": [], "disturbed": []}
    kind = "plain"

    def remember(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[kind].append(inputs[0].clone())

    def disturb(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        if kind == "plain":
            return output
        output = output.clone()
        output[:, channel] += 1
        return output

    def freeze(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        """Later layers give what they gave before, so that only direct links carry the disturbance."""
        if kind == "plain":
            outputs.append(output)
            return output
        return outputs[next(position)]

    outputs: list[Tensor] = []
    x = torch.rand(1, in_channels, 4, 4)
    handles = []
    for index, layer in enumerate(cell.layers):
        handles.append(layer.conv.register_forward_pre_hook(remember))  # type: ignore[union-attr]
        handles.append(layer.register_forward_hook(freeze))
        if index == source:
            handles.append(layer.register_forward_hook(disturb))
    with torch.no_grad():
        cell(x)
        kind, position = "disturbed", iter(range(cell.depth))
        cell(x)
    for handle in handles:
        handle.remove()
    pairs = zip(seen["plain"], seen["disturbed"], strict=True)
    return {layer for layer, (before, after) in enumerate(pairs) if not torch.equal(before, after)}


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 9), st.integers(0, 99))
def test_exactly_the_linked_layers_feel_a_channel(depth: int, width: int, tc: int, seed: int) -> None:
    cell = RandomSkipCell(in_channels=2, width=width, depth=depth, tc=tc, seed=seed).eval()
    without_relu(cell)
    links = degree = 0
    for source in range(depth):
        for channel in range(width):
            felt = affected_layers(cell, source, channel)
            expected = {i for i in range(depth) if source * width + channel in layer_inputs(cell)[i]}
            assert felt == expected | ({source + 1} & set(range(depth)))
            links += len(felt - {source + 1})
            degree += len(felt) * width
    possible = width * (depth - 1) * (depth - 2) / 2
    assert cell_density(depth, width, tc) == [pytest.approx(links / possible if depth > 2 else 0.0)]
    assert nn_mass(depth, width, tc) == pytest.approx(width * depth * links / possible if depth > 2 else 0.0)
    assert average_degree(depth, width, tc) == pytest.approx(degree / (width * depth))


@pytest.mark.parametrize("tc", [0, [2, 5, 90]])
def test_equations_1_and_2_hold_for_the_links_of_the_built_network(tc: int | list[int]) -> None:
    network = RandomSkipDenseNet(5, 1, tc, in_chans=2, base_widths=(2, 3, 4), seed=3).eval()
    masses, densities = [], []
    without_relu(network)
    for cell, entering in zip(network.cells, (2, 2, 3), strict=True):
        assert isinstance(cell, RandomSkipCell)
        felt = [
            affected_layers(cell, source, channel, entering) - {source + 1}
            for source in range(5)
            for channel in range(cell.width)
        ]
        densities.append(sum(map(len, felt)) / (cell.width * 4 * 3 / 2))
        masses.append(cell.width * 5 * densities[-1])
    record = topology(network, (2, 8, 8))
    assert record.cell_densities == pytest.approx(densities)
    assert record.nn_mass == pytest.approx(sum(masses))
    assert network.nn_mass == pytest.approx(sum(masses))


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 60), st.integers(0, 2**31))
def test_links_are_distinct_candidates_and_never_the_predecessor(depth: int, width: int, tc: int, seed: int) -> None:
    for layer, links in enumerate(draw_links(depth, width, tc, torch.Generator().manual_seed(seed))):
        chosen = links.tolist()
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(width * max(layer - 1, 0), tc)
        assert all(0 <= link < width * (layer - 1) for link in chosen)


def test_links_are_drawn_uniformly() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(12)
    for _ in range(4000):
        counts[draw_links(5, 4, 3, generator)[4]] += 1
    assert counts.sum() == 12000
    # Binomial(4000, 1/4): five standard deviations are 137.
    assert (counts - 1000).abs().max() < 137


@pytest.mark.parametrize(
    ("arguments", "params", "macs", "mass"),
    [
        ((12, 2, [60, 130, 170]), 5_019_894, 794_346_752, 755.345),
        ((9, 2, [50, 70, 145]), 3_174_358, None, 583.071),
    ],
)
def test_published_counts(arguments: tuple, params: int, macs: int | None, mass: float) -> None:
    network = RandomSkipDenseNet(*arguments)
    record = topology(network)
    assert record.num_params == params
    assert macs is None or record.macs == macs
    assert record.flops == 2 * record.macs
    assert record.nn_mass == pytest.approx(mass, abs=5e-4)
    assert network.nn_mass == pytest.approx(record.nn_mass, rel=1e-12)
    assert record.average_degree == pytest.approx(average_degree(arguments[0], network.widths, arguments[2]))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("tc", [0, 3, 10_000])
@pytest.mark.parametrize("batch", [1, 3])
def test_forward_and_backward_at_the_edges(depth: int, tc: int, batch: int) -> None:
    network = RandomSkipDenseNet(depth, 1, tc, num_classes=4, in_chans=2, base_widths=(1, 2, 3))
    logits = network(torch.rand(batch, 2, 16, 16))
    assert logits.shape == (batch, 4)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert torch.isfinite(logits).all()


def test_the_forward_pass_is_the_definition() -> None:
    """Spec by hand: conv, BN; ReLU, conv, BN; then concatenate, BN, ReLU, conv."""
    cell = RandomSkipCell(in_channels=2, width=3, depth=5, tc=4, stride=2, seed=5)
    x = torch.rand(2, 2, 8, 8)
    outputs: list[Tensor] = []
    for i, layer in enumerate(cell.layers):
        weight = layer.conv.weight  # type: ignore[union-attr]
        if i == 0:
            y = nn.functional.conv2d(x, weight, stride=2, padding=1)
            outputs.append(nn.functional.batch_norm(y, None, None, training=True))
        elif i == 1:
            y = nn.functional.conv2d(outputs[0].relu(), weight, padding=1)
            outputs.append(nn.functional.batch_norm(y, None, None, training=True))
        else:
            channels = [outputs[s // 3][:, s % 3] for s in layer_inputs(cell)[i]]
            y = torch.cat([outputs[-1], torch.stack(channels, 1)], 1)
            y = nn.functional.batch_norm(y, None, None, training=True)
            outputs.append(nn.functional.conv2d(y.relu(), weight, padding=1))
    torch.testing.assert_close(cell(x), outputs[-1])


def test_the_seed_decides_everything_and_global_state_stays() -> None:
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    first = RandomSkipDenseNet(6, 1, 9, seed=7)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.manual_seed(2)
    second, other = RandomSkipDenseNet(6, 1, 9, seed=7), RandomSkipDenseNet(6, 1, 9, seed=8)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert any(layer_inputs(a) != layer_inputs(b) for a, b in zip(first.cells, other.cells, strict=True))  # type: ignore[arg-type]


def test_numpy_integers_will_do() -> None:
    network = RandomSkipDenseNet(np.int64(4), 1, np.int64(5), seed=np.int64(3))  # type: ignore[arg-type]
    assert network.nn_mass == RandomSkipDenseNet(4, 1, 5, seed=3).nn_mass


def test_cells_do_not_share_links() -> None:
    network = RandomSkipDenseNet(6, 1, 9, base_widths=(16, 16, 16))
    assert len({tuple(layer_inputs(cell)) for cell in network.cells}) == 3  # type: ignore[arg-type]


def test_a_checkpoint_brings_its_links() -> None:
    source, target = RandomSkipDenseNet(5, 1, 7, seed=1).eval(), RandomSkipDenseNet(5, 1, 7, seed=2).eval()
    x = torch.rand(2, 3, 16, 16)
    assert not torch.allclose(source(x), target(x))
    target.load_state_dict(source.state_dict())
    assert torch.equal(source(x), target(x))
    assert torch.equal(copy.deepcopy(source)(x), source(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tc": [1, 2]}, "tc to be one number or one per cell \\(3 cells\\), but got 2"),
        ({"cell_depth": [3]}, "cell_depth to be one number or one per cell"),
        ({"cell_depth": -3}, "cell_depth to be an integer of at least 1, but got -3"),
        ({"tc": -1}, "tc to be an integer of at least 0, but got -1"),
        ({"cell_depth": 2.5}, "cell_depth to be an integer of at least 1, but got 2.5"),
        ({"width_multiplier": 0}, "width_multiplier times every base width"),
        ({"width_multiplier": 1.03}, "width_multiplier times every base width"),
        ({"base_widths": ()}, "base_widths to hold one width per cell"),
        ({"num_classes": -1}, "num_classes to be an integer of at least 0"),
        ({"in_chans": 0}, "in_chans to be an integer of at least 1"),
        ({"seed": -1}, "seed to be an integer of at least 0"),
        ({"seed": 2**63}, "seed to be below"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomSkipDenseNet(**{"cell_depth": 3, "width_multiplier": 1, "tc": 4, **arguments})
