"""Values of different layers, joined by any operator, are read with their mass or said to be not judged."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from nnmass import zoo
from nnmass.zoo import topology

SIZE = (8, 6, 6)
LAYERS = 16.0  # mass of a skip past two layers of eight channels: (8 + 8) x 8 / 8


class Joined(nn.Module):
    """x, two layers on it, a third one on it, and a rule that joins x (or another layer) and the two layers."""

    def __init__(self, rule: Callable[..., Any], size: tuple[int, ...] = SIZE) -> None:
        super().__init__()
        make = (lambda: nn.Linear(8, 8)) if len(size) == 1 else (lambda: nn.Conv2d(8, 8, 3, padding=1))
        self.first, self.second, self.beside, self.rule = make(), make(), make(), rule

    def forward(self, x: Tensor) -> Any:
        return self.rule(x, self.second(torch.relu(self.first(x))), self)


def gate(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


def halves(x: Tensor) -> Tensor:
    return torch.eye(x.shape[-1]).repeat(2, 1)


def written(x: Tensor, f: Tensor) -> Tensor:
    stack = x.new_zeros(len(x), 2, *x.shape[1:])
    stack[:, 0], stack[:, 1] = x, f
    return stack.sum(1)


class Own(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, f: Tensor) -> Tensor:
        return x + f

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], gradients[0]


class OwnMaximum(Own):
    @staticmethod
    def forward(context: Any, x: Tensor, f: Tensor) -> Tensor:
        return torch.maximum(x, f)


# Sums of a value and what two layers make of it, however they are written.
SUMS: dict[str, Callable[[Tensor, Tensor, Any], Any]] = {
    "addcmul, signal first": lambda x, f, m: torch.addcmul(x, f, gate(x)),
    "addcmul, gate first": lambda x, f, m: torch.addcmul(x, gate(x), f),
    "addcmul, the gate a layer": lambda x, f, m: torch.addcmul(x, gate(m.beside(x)), f),
    "addcdiv": lambda x, f, m: torch.addcdiv(x, f, gate(x) + 1),
    "lerp": lambda x, f, m: torch.lerp(x, f, gate(x)),
    "lerp the other way": lambda x, f, m: torch.lerp(f, x, gate(x)),
    "lerp by a number": lambda x, f, m: torch.lerp(x, f, 0.3),
    "lerp by a layer": lambda x, f, m: torch.lerp(x, f, gate(m.beside(x))),
    "written out": lambda x, f, m: x * (1 - gate(x)) + f * gate(x),
    "sum of a list": lambda x, f, m: sum([x, f]),
    "in place": lambda x, f, m: f.add_(x),
    "into a buffer": lambda x, f, m: torch.zeros_like(x).add_(x).add_(f),
    "of pieces of a batch": lambda x, f, m: torch.add(*torch.cat([x, f]).chunk(2)),
    "custom autograd function": lambda x, f, m: Own.apply(x, f),
    "copied": lambda x, f, m: torch.empty_like(x).copy_(x) + f,
}


@pytest.mark.parametrize("way", SUMS)
def test_a_gated_or_plain_sum_is_a_skip_however_it_is_written(way: str) -> None:
    record = topology(Joined(SUMS[way]), SIZE)
    assert (record.nn_mass, len(record.not_judged)) == (LAYERS, 0)


# Joints of which no table says what they join.
UNKNOWN: dict[str, Callable[[Tensor, Tensor, Any], Any]] = {
    "maximum": lambda x, f, m: torch.maximum(x, f),
    "minimum": lambda x, f, m: torch.minimum(x, f),
    "fmax": lambda x, f, m: torch.fmax(x, f),
    "where": lambda x, f, m: torch.where(x > 0, x, f),
    "hypot": lambda x, f, m: torch.hypot(x, f),
    "logaddexp": lambda x, f, m: torch.logaddexp(x, f),
    "atan2": lambda x, f, m: torch.atan2(x, f),
    "power": lambda x, f, m: torch.pow(x.abs() + 1, f),
    "distance": lambda x, f, m: torch.cdist(x.flatten(2), f.flatten(2)),
    "complex": lambda x, f, m: torch.view_as_real(torch.complex(x, f)).sum(-1),
    "index_add": lambda x, f, m: x.index_add(1, torch.arange(8), f),
    "index_add in place": lambda x, f, m: x.clone().index_add_(1, torch.arange(8).flip(0), f),
    "scatter_add": lambda x, f, m: x.scatter_add(1, torch.arange(8).view(1, 8, 1, 1).expand(1, 8, 6, 6), f),
    "scatter": lambda x, f, m: x.scatter(1, torch.arange(4).view(1, 4, 1, 1).expand(1, 4, 6, 6), f),
    "scatter_reduce": lambda x, f, m: x.scatter_reduce(
        1, torch.arange(8).view(1, 8, 1, 1).expand(1, 8, 6, 6), f, "sum"
    ),
    "index_put": lambda x, f, m: x.index_put((torch.tensor([0]), torch.tensor([1])), f[:, 1], accumulate=True),
    "index_put of channels": lambda x, f, m: (
        torch.zeros(1, 8, 6, 6)
        .index_put_((torch.tensor([0])[:, None], torch.arange(8)), x[:, :8])
        .index_put_((torch.tensor([0])[:, None], torch.arange(8)), f, accumulate=True)
    ),
    "masked_scatter": lambda x, f, m: x.masked_scatter(torch.ones(6, dtype=torch.bool), f),
    "stack, sum": lambda x, f, m: torch.stack([x, f]).sum(0),
    "stack, mean": lambda x, f, m: torch.stack([x, f], 1).mean(1),
    "stack, maximum": lambda x, f, m: torch.stack([x, f], -1).amax(-1),
    "stack, einsum": lambda x, f, m: torch.einsum("kbchw,k->bchw", torch.stack([x, f]), torch.ones(2)),
    "cat of a batch, sum": lambda x, f, m: torch.cat([x[None], f[None]]).sum(0),
    "cat, view, sum": lambda x, f, m: torch.cat([x, f], 1).view(1, 2, 8, 6, 6).sum(1),
    "cat, unflatten, mean": lambda x, f, m: torch.cat([x, f], 1).unflatten(1, (2, 8)).mean(1),
    "cat of positions, sum": lambda x, f, m: torch.cat([x.unsqueeze(2), f.unsqueeze(2)], 2).sum(2),
    "cat, fixed filter": lambda x, f, m: F.conv2d(torch.cat([x, f], 1), halves(x.new_zeros(8)).T[:, :, None, None]),
    "cat, running sum": lambda x, f, m: torch.cat([x, f], 1).cumsum(1)[:, 8:],
    "one layer for a batch of both": lambda x, f, m: torch.add(*m.beside(torch.cat([x, f])).chunk(2)),
    "cat of positions, pool": lambda x, f, m: F.avg_pool3d(torch.cat([x.unsqueeze(2), f.unsqueeze(2)], 2), (2, 1, 1)),
    "cat of positions, filter": lambda x, f, m: F.conv3d(
        torch.cat([x.unsqueeze(2), f.unsqueeze(2)], 2), torch.ones(8, 1, 2, 1, 1), groups=8
    ),
    "cat as complex numbers": lambda x, f, m: torch.view_as_real(
        torch.view_as_complex(torch.cat([x[..., None], f[..., None]], -1))
    ).sum(-1),
    "cat, pieces added": lambda x, f, m: torch.add(*torch.cat([x, f], 1).chunk(2, 1)),
    "cat, pieces of a view added": lambda x, f, m: torch.add(*torch.cat([x, f], 1).view(1, 2, 8, 6, 6).unbind(1)),
    "cat, weighted, sum": lambda x, f, m: (
        (torch.cat([x, f], 1) * torch.arange(16).view(-1, 1, 1)).view(1, 2, 8, 6, 6).sum(1)
    ),
    "cat, pixel shuffle, pool": lambda x, f, m: F.avg_pool2d(F.pixel_shuffle(torch.cat([x, f], 1), 4), 4),
    "cat of four, view, sum": lambda x, f, m: torch.cat([x, f, f, x], 1).view(1, 2, 16, 6, 6).sum(1),
    "cat of three, view, maximum": lambda x, f, m: torch.cat([x, f, f], 1).view(1, 3, 8, 6, 6).amax(1),
    "cat, pool, view, sum": lambda x, f, m: F.avg_pool2d(torch.cat([x, f], 1), 2).view(1, 2, 8, 3, 3).sum(1),
    "cat of positions, pool, sum": lambda x, f, m: F.avg_pool3d(
        torch.cat([x.unsqueeze(2), f.unsqueeze(2)], 2), (1, 2, 2)
    ).sum(2),
    "cat, rolled and added": lambda x, f, m: (y := torch.cat([x, f], 1)) + y.roll(8, 1),
    "cat, channels last, pool": lambda x, f, m: F.avg_pool1d(torch.cat([x, f, f], 1).flatten(2).mT, 3).mT.unflatten(
        2, (6, 6)
    ),
    "one buffer, added up": lambda x, f, m: (
        torch.zeros(1, 8, 6, 6).index_add_(1, torch.arange(8), x).index_add_(1, torch.arange(8), f)
    ),
    "slots of a buffer": lambda x, f, m: written(x, f),
    "custom autograd function": lambda x, f, m: OwnMaximum.apply(x, f),
}


@pytest.mark.parametrize("way", UNKNOWN)
def test_what_no_table_states_is_not_judged_and_listed(way: str) -> None:
    record = topology(Joined(UNKNOWN[way]), SIZE)
    assert (record.nn_mass, len(record.not_judged) > 0) == (0.0, True)


@pytest.mark.parametrize("product", ["matmul", "einsum", "linear"])
def test_a_sum_by_a_fixed_matrix_is_not_judged(product: str) -> None:
    ways: dict[str, Callable[[Tensor, Tensor, Any], Tensor]] = {
        "matmul": lambda x, f, m: torch.cat([x, f], 1) @ halves(x),
        "einsum": lambda x, f, m: torch.einsum("bc,ck->bk", torch.cat([x, f], 1), halves(x)),
        "linear": lambda x, f, m: F.linear(torch.cat([x, f], 1), halves(x).T),
    }
    record = topology(Joined(ways[product], (8,)), 8)
    assert (record.nn_mass, len(record.not_judged)) == (0.0, 1)


class ResidualOfMoved(nn.Module):
    """Two branches are joined, their channels put last, and a layer adds to them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.first(x), self.second(x)], 1).permute(0, 2, 3, 1)
        return joined + self.third(joined)


def test_a_residual_around_a_layer_mixes_no_parts_of_what_was_joined() -> None:
    assert not topology(ResidualOfMoved(), SIZE).not_judged


# One stream of values, or a gate: nothing is joined.
SINGLE: dict[str, Callable[[Tensor, Tensor, Any], Any]] = {
    "leaky by hand": lambda x, f, m: torch.where(f > 0, f, 0.1 * f),
    "swish by hand": lambda x, f, m: f * gate(f),
    "maxout of one layer": lambda x, f, m: torch.maximum(*f.chunk(2, 1)),
    "clamped by itself": lambda x, f, m: torch.maximum(f, f.mean((2, 3), keepdim=True)),
    "spatial gate": lambda x, f, m: f * gate(m.beside(f)),
    "masked": lambda x, f, m: f.masked_fill(x > 0, 0.0),
    "resampled": lambda x, f, m: F.grid_sample(f, m.beside(f)[:, :2].permute(0, 2, 3, 1), align_corners=False),
    "the largest tokens": lambda x, f, m: f.flatten(2).gather(2, m.beside(f).flatten(2).argsort(2)),
}


@pytest.mark.parametrize("way", SINGLE)
def test_one_stream_and_its_gates_are_no_joint(way: str) -> None:
    assert topology(Joined(SINGLE[way]), SIZE).joints == ()


class Links(nn.Module):
    """A stated cell of six layers of four neurons, t_c = 5; ``way`` is how a layer's links are taken."""

    is_cell = True

    def __init__(self, way: str) -> None:
        super().__init__()
        self.links = zoo.draw_links(6, 4, 5, torch.Generator().manual_seed(1))
        self.way = way
        widths = [4, *(4 + (4 * max(i - 1, 0) if way == "mask" else len(self.links[i])) for i in range(1, 6))]
        self.layers = nn.ModuleList(nn.Linear(width, 4) for width in widths)

    def taken(self, old: Tensor, link: Tensor) -> Tensor:
        chosen = F.one_hot(link, old.shape[1]).float()
        if self.way == "filter":
            return F.conv1d(old[:, :, None], chosen[:, :, None])[:, :, 0]
        if self.way == "mask":
            return old * chosen.sum(0)
        if self.way == "boolean mask":
            return old[:, chosen.sum(0) > 0]
        if self.way == "einsum":
            return torch.einsum("bc,lc->bl", old, chosen)
        return F.linear(old, chosen) if self.way == "linear" else old @ chosen.T

    def forward(self, x: Tensor) -> Tensor:
        outputs = [torch.relu(self.layers[0](x))]
        for layer, link in zip(self.layers[1:], self.links[1:], strict=True):
            parts = [outputs[-1]]
            if len(link):
                parts.append(self.taken(torch.cat(outputs[:-1], 1), link))
            outputs.append(torch.relu(layer(torch.cat(parts, 1) if len(parts) > 1 else parts[0])))
        return outputs[-1]


@pytest.mark.parametrize("way", ["matmul", "linear", "einsum", "filter", "mask", "boolean mask"])
def test_links_chosen_by_a_constant_matrix_filter_or_mask_have_their_mass_or_are_not_judged(way: str) -> None:
    record = topology(Links(way), 4)
    if way in ("einsum", "filter"):
        assert record.nn_mass == pytest.approx(zoo.nn_mass(6, 4, 5)) or record.not_judged
    else:
        assert record.nn_mass == pytest.approx(zoo.nn_mass(6, 4, 5))


class Dense(nn.Module):
    """Units that each read the input and all units before, joined by torch.cat or in a buffer."""

    def __init__(self, growth: list[int], way: str) -> None:
        super().__init__()
        self.way, self.widths = way, [4, *growth]
        self.units = nn.ModuleList(nn.Conv2d(sum(self.widths[: i + 1]), w, 1) for i, w in enumerate(growth))
        self.last = nn.Conv2d(sum(self.widths), 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "cat":
            for unit in self.units:
                x = torch.cat([x, unit(x).relu()], 1)
            return self.last(x)
        kept, end = x.new_empty(len(x), sum(self.widths), *x.shape[2:]), 4
        kept[:, :4] = x
        for unit, width in zip(self.units, self.widths[1:], strict=True):
            new, places = unit(kept[:, :end]).relu(), torch.arange(end, end + width)
            if self.way == "slices":
                kept[:, end : end + width] = new
            elif self.way == "indices":
                kept[:, places] = new
            elif self.way == "index_copy":
                kept = kept.index_copy(1, places, new)
            elif self.way == "narrow":
                kept.narrow(1, end, width).copy_(new)
            else:
                kept[:, end : end + width, :3], kept[:, end : end + width, 3:] = new[:, :, :3], new[:, :, 3:]
            end += width
        return self.last(kept)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sampled_from(["slices", "indices", "index_copy", "narrow"])
)
def test_a_dense_block_in_a_buffer_has_the_mass_of_one_that_concatenates(growth: list[int], way: str) -> None:
    expected = float(sum(growth)) if len(growth) > 2 else 0.0
    assert topology(Dense(growth, "cat"), (4, 5, 5)).nn_mass == expected
    record = topology(Dense(growth, way), (4, 5, 5))
    assert (record.nn_mass, record.not_judged) == (expected, [])


def test_a_buffer_written_piece_by_piece_in_both_directions_is_not_judged() -> None:
    record = topology(Dense([4, 4, 4], "tiles"), (4, 5, 5))
    assert record.nn_mass == 12 or record.not_judged


def test_what_a_buffer_held_before_counts_no_more_once_it_is_overwritten() -> None:
    def forward(x: Tensor, f: Tensor, module: Any) -> Tensor:
        kept = torch.zeros_like(x)
        kept[:] = module.beside(x)
        kept[:, :4], kept[:, 4:] = f[:, :4], f[:, 4:]
        return x + kept

    record = topology(Joined(forward), SIZE)
    assert [block.nn_mass for block in record.blocks] == [LAYERS]


def test_operators_of_other_libraries_are_not_judged() -> None:
    with torch.library._scoped_library("nnmasstest", "DEF") as library:
        library.define("mix(Tensor x, Tensor f) -> Tensor")
        library.impl("mix", lambda x, f: x + f, "CompositeExplicitAutograd")
        torch.library.register_fake("nnmasstest::mix", lambda x, f: torch.empty_like(x), lib=library)
        record = topology(Joined(lambda x, f, m: torch.ops.nnmasstest.mix(x, f)), SIZE)
    assert record.nn_mass == 0
    assert [joint.reason for joint in record.not_judged] == ["nothing is known of what nnmasstest::mix joins"]
