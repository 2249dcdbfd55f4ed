"""The topology reader: joints of every verdict, and one mass however a network is written."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nnmass.zoo import RandomSkipCell, count_macs, create_model, topology
from nnmass.zoo.reader.flow import Flow
from nnmass.zoo.reader.tracing import trace

SIZE = (3, 6, 6)


class Rule(nn.Module):
    """Layers under a rule of the test's own."""

    def __init__(self, forward: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.rule = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.rule(x, *self.layers)


def conv(channels: int = 3, out: int = 3, **arguments: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 1, **arguments)


def attention(x: Tensor, layer: nn.Module) -> Tensor:
    tokens = layer(x).flatten(2)
    return x + (tokens.softmax(-1) @ tokens.transpose(1, 2) @ tokens).view_as(x)


def fused(x: Tensor, *layers: nn.Module) -> Tensor:
    """Two streams that exchange their values twice, as high-resolution networks do."""
    left, right = layers[1](layers[0](x)), layers[3](layers[2](x))
    left, right = left + layers[4](right), right + layers[5](left)
    return left + right


VERDICTS = {
    "identity": (Rule(lambda x, a, b: x + b(a(x)), conv(), conv()), "skip", "identity past 2 layers", 6.0),
    "in place": (Rule(lambda x, a, b: b(a(x)).add_(x), conv(), conv()), "skip", "identity past 2 layers", 6.0),
    "pooled identity": (
        Rule(lambda x, a, b: nn.functional.avg_pool2d(x, 2) + b(a(x)), conv(), conv(stride=2)),
        "skip",
        "identity, pooled, padded or cut, past 2 layers",
        6.0,
    ),
    "projection": (Rule(lambda x, a, b, c: c(x) + b(a(x)), conv(), conv(), conv()), "skip", "projection past 2", 6.0),
    "bottleneck": (
        Rule(lambda x, a, b, c: x + c(b(a(x))), conv(3, 2), conv(2, 2), conv(2, 3)),
        "skip",
        "identity past 3 layers",
        (3 + 2 + 2) * 3 / (2 * 3 + 2),
    ),
    "expansion of one": (
        Rule(lambda x, a, b: x + b(a(x)), conv(groups=3), conv()),
        "skip",
        "identity past 3 layers",
        9 * 3 / 9,
    ),
    "a single layer": (Rule(lambda x, a: x + a(x), conv()), "not a skip", "passes 1 layers", 0.0),
    "no layer": (Rule(lambda x: x + x.relu()), "not a skip", "passes 0 layers", 0.0),
    "fixed filters are no layers": (
        Rule(lambda x, a: x + a(nn.functional.conv2d(x, torch.ones(3, 3, 1, 1))), conv()),
        "not a skip",
        "passes 1 layers",
        0.0,
    ),
    "broadcast": (
        Rule(lambda x, a, b: x + b(a(x.mean((2, 3), keepdim=True))), conv(), conv()),
        "not a skip",
        "adds a smaller value",
        0.0,
    ),
    "parallel": (
        Rule(lambda x, a, b, c, d: b(a(x)) + d(c(x)), conv(), conv(), conv(), conv()),
        "not a skip",
        "parallel branches, each with layers",
        0.0,
    ),
    "pieces": (Rule(lambda x, a: a(x[:, :1]) + x[:, 1:2], conv(1, 1)), "not a skip", "different pieces", 0.0),
    "attention": (Rule(attention, conv()), "not judged", "attention lies between", 0.0),
    "inception": (
        Rule(lambda x, a, b, c: c(torch.cat([a(x), b(x)], 1)), conv(), conv(), conv(6)),
        "not a skip",
        "parallel branches joined once",
        0.0,
    ),
    "neighbours": (
        Rule(lambda x, a, b: torch.cat([y := a(x), b(y)], 1), conv(), conv()),
        "not a skip",
        "the units are neighbours",
        0.0,
    ),
    "joined at the end": (
        Rule(lambda x, a, b, c: torch.cat([x, y := a(x), z := b(y), c(z)], 1), conv(), conv(), conv()),
        "not a skip",
        "no unit reads the join",
        0.0,
    ),
    "one value": (Rule(lambda x, a: torch.cat([y := a(x), y[:, 1:]], 1), conv()), "not a skip", "pieces of one", 0.0),
    "positions": (Rule(lambda x, a: a(torch.cat([x, x.relu()], 2)), conv()), "not a skip", "joins positions", 0.0),
    "stack": (Rule(lambda x, a, b: torch.stack([a(x), b(x)]).sum(0), conv(), conv()), "not judged", "stacked", 0.0),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_every_joint_gets_its_verdict_and_a_reason(case: str) -> None:
    network, verdict, reason, mass = VERDICTS[case]
    record = topology(network, SIZE)
    assert [joint.verdict for joint in record.joints] == [verdict]
    assert reason in record.joints[0].reason
    assert record.nn_mass == pytest.approx(mass)
    assert len(record.not_judged) == (verdict == "not judged")


def test_a_block_that_passes_on_its_input_alone_says_how_that_becomes_a_layer() -> None:
    def forward(x: Tensor, first: nn.Module, second: nn.Module, *others: nn.Module) -> Tensor:
        kept = first(x)
        newest = second(kept)
        for layer in others:
            newest = layer(torch.cat([newest, kept], 1))
        return newest

    network = Rule(forward, conv(), conv(), conv(6), conv(6), conv(6))
    record = topology(network, SIZE)
    assert record.nn_mass == 0
    assert {joint.reason.partition(";")[0] for joint in record.joints} == {"only the block's input passes units"}
    network.is_cell = True  # type: ignore[assignment]
    assert topology(network, SIZE).nn_mass > 0


def test_streams_that_exchange_values_are_not_judged_and_add_nothing() -> None:
    record = topology(Rule(fused, *(conv() for _ in range(6))), SIZE)
    assert [joint.verdict for joint in record.joints] == ["not judged"] * 3
    assert all("no common ancestor chain" in joint.reason for joint in record.joints)
    assert record.nn_mass == 0


def test_a_cell_inside_a_network_of_ones_own_is_read_as_it_was_built() -> None:
    cell = RandomSkipCell(4, width=3, depth=6, tc=4)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(cell, nn.ReLU()), nn.Conv2d(3, 2, 1))
    record = topology(network, SIZE)
    links = sum(cell.num_links)
    assert [(block.links, block.possible_links) for block in record.blocks] == [(links, 3 * 5 * 4 // 2)]
    assert record.nn_mass == pytest.approx(3 * 6 * links / 30)
    assert record.average_degree is None


def test_a_module_that_states_itself_a_cell_counts_with_all_its_layers() -> None:
    class Cell(Rule):
        is_cell = True

    def joined(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
        first = a(x)
        second = b(first)
        return c(torch.cat([first, second], 1))

    layers = conv(3, 2), conv(2, 4), conv(6, 5)
    assert topology(Rule(joined, *layers), SIZE).nn_mass == 0
    assert topology(nn.Sequential(Cell(joined, *layers)), SIZE).nn_mass == 3 * (2 + 4) / 2


def test_of_paths_of_equal_length_the_one_of_most_channels_counts() -> None:
    network = Rule(lambda x, a, b, c: c(torch.cat([a(x), b(x[:, :2])], 1)), conv(3, 1), conv(2, 1), conv(2, 3))
    flow = Flow(trace(network, SIZE))
    path = flow.longest_path(0, len(flow.operations) - 1)
    assert [flow.operations[layer].in_channels for layer in path] == [3, 2]


def residual() -> Rule:
    return Rule(lambda x, a, b: x + b(a(x)), conv(), conv())


def test_compiled_networks_and_compiled_parts_are_read_too() -> None:
    plain = topology(residual(), SIZE)
    in_place = residual()
    in_place.compile()
    in_place.layers[0].compile()
    assert topology(in_place, SIZE) == topology(torch.compile(residual()), SIZE) == plain  # type: ignore[arg-type]
    part = residual()
    part.layers[1] = torch.compile(part.layers[1])  # type: ignore[assignment]
    assert topology(part, SIZE).nn_mass == plain.nn_mass == 6


def test_control_flow_that_hides_layers_is_refused() -> None:
    def branching(x: Tensor, a: nn.Module) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: a(y), lambda y: a(y) + 1, (x,))

    with pytest.raises(ValueError, match="hides layers in a branch"):
        trace(Rule(branching, conv()), SIZE)


def test_a_network_that_cannot_be_traced_is_refused_with_both_reasons() -> None:
    network = Rule(lambda x, a: a(x) if x.sum() > 0 else x, conv())
    with pytest.raises(ValueError, match=r"size \(3, 6, 6\), but torch.fx stopped with"):
        topology(network, SIZE)


def dense_steps(x: Tensor, *units: nn.Module) -> Tensor:
    """A dense block as plain code: every unit takes all earlier values."""
    for unit in units:
        x = torch.cat([x, unit(x)], 1)
    return x


class Wrapped(nn.Module):
    def __init__(self, inner: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.block = Rule(inner, *layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def test_a_dense_block_has_one_mass_however_it_is_written() -> None:
    """Four units of growth 4 behind a stem and before a transition: 16, wherever the modules' borders run."""
    stem, transition = conv(3, 6), conv(22, 5)
    units = [conv(6 + 4 * i, 4) for i in range(4)]
    writings = [
        nn.Sequential(stem, Wrapped(dense_steps, *units), transition),
        nn.Sequential(stem, Rule(lambda x, t, *units: t(dense_steps(x, *units)), transition, *units)),
        Rule(lambda x, s, t, *units: t(dense_steps(s(x), *units)), stem, transition, *units),
        Rule(lambda x, s, *units: dense_steps(s(x), *units).mean((2, 3)), stem, *units),
        Rule(  # the block's input is itself joined
            lambda x, s, *units: dense_steps(torch.cat([nn.functional.max_pool2d(x, 2), s(x)], 1), *units),
            conv(3, 3, stride=2),
            *units,
        ),
        Rule(dense_steps, *(conv(3 + 4 * i, 4) for i in range(4))),  # its input is the image
    ]
    assert [topology(network, SIZE).nn_mass for network in writings] == [16.0] * 6


def test_a_channel_is_the_same_after_activations_gates_and_slices() -> None:
    def written(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
        first = a(x)
        second = b(torch.cat([x, first.relu()], 1))
        gated = second * second.mean((2, 3), keepdim=True).sigmoid()
        third = c(torch.cat([first[:, 1:], gated, x], 1))
        return torch.cat([x, first, second, third], 1)

    record = topology(Rule(written, conv(3, 2), conv(5, 4), conv(8, 6)), SIZE)
    assert [(block.links, block.possible_links, block.channels) for block in record.blocks] == [(1, 2, 12)]


def test_a_sum_of_branches_is_one_block_in_any_order() -> None:
    layers = (conv(), conv(), conv())
    for rule in (
        lambda x, a, b, c: x + b(a(x)) + c(x),
        lambda x, a, b, c: x + c(x) + b(a(x)),
        lambda x, a, b, c: c(x) + b(a(x)) + x,
        lambda x, a, b, c: x - b(a(x)),
    ):
        assert topology(Rule(rule, *layers), SIZE).nn_mass == 6


def test_the_same_slice_taken_twice_is_one_value() -> None:
    def written(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        return x[:, :2, ::2] + b(a(x[:, :2, ::2]))

    assert topology(Rule(written, conv(2, 2), conv(2, 2)), SIZE).nn_mass == 4


def test_writing_through_a_view_is_seen() -> None:
    def filled(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        y = torch.zeros_like(x)
        y[:, :2] = b(a(x))[:, :2]
        y[:, 2:] = b(a(x))[:, 2:]
        return x + y

    def partial(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        y = x.clone()
        y[:, :2] = a(x[:, :2])
        return x + b(y)

    assert topology(Rule(filled, conv(), conv()), SIZE).nn_mass == 6
    assert topology(Rule(partial, conv(2, 2), conv()), SIZE).nn_mass > 0


def test_reading_changes_no_tensor_and_fires_no_hook() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = conv(), nn.Parameter(torch.ones(1))
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.add_(1)
            with torch.no_grad():
                self.scale.mul_(0.5)
            return self.layer(x * (self.calls * self.scale))

    network, seen = Counting(), []
    network.layer.register_forward_hook(lambda *arguments: seen.append(1))
    trace(network, SIZE)
    assert (network.calls.item(), network.scale.item(), seen) == (0, 1, [])


def test_tensors_that_are_no_buffers_do_not_stand_in_the_way() -> None:
    network = Rule(lambda x, a, b: x + b(a(x) * network.mask), conv(), conv())
    network.mask = torch.ones(6)
    assert topology(network, SIZE).nn_mass == 6


@pytest.mark.parametrize("name", ["dense_digits", "dsconv_31_w2_e1_10_35_50", "mlp_d16_w8_t2"])
def test_a_network_that_has_run_has_the_topology_that_it_was_built_with(name: str) -> None:
    network = create_model(name)
    before = topology(network)
    network(torch.rand(2, *before.input_size)).sum().backward()
    assert topology(network) == before


def test_sizes_that_are_none_are_refused() -> None:
    for size in ((3, -1, 6), (3, 6.0, 6), "abc"):
        with pytest.raises(ValueError, match="input_size to be"):
            topology(conv(), size)  # type: ignore[arg-type]


def test_attention_and_recurrence_count_alike_on_every_device() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    recurrent = Rule(lambda x, cell: cell(x)[0], nn.LSTM(4, 6, batch_first=True))
    assert count_macs(encoder, (5, 8)) == count_macs(encoder.to("meta"), (5, 8)) == 2960
    assert count_macs(recurrent, (5, 4)) == count_macs(recurrent.to("meta"), (5, 4)) == 5 * 4 * 6 * (4 + 6)
