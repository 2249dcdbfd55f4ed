"""The topology reader on generated networks, against a count on the plans that they were built from."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnmass.zoo import topology

SIZE = (3, 6, 6)


# Plans: nested descriptions of networks, from which both a module and its expected mass follow.


@dataclass(frozen=True)
class Convolution:
    channels: int
    kernel: int = 1
    depthwise: bool = False
    normed: bool = False


@dataclass(frozen=True)
class Gate:
    """Squeeze and excitation: two layers that lie on no path."""


@dataclass(frozen=True)
class Residual:
    body: tuple
    projection: bool


@dataclass(frozen=True)
class Dense:
    """Units that each take the block's input and all earlier units."""

    units: tuple


@dataclass(frozen=True)
class Parallel:
    branches: tuple


class Named(nn.Module):
    """A module whose children bear arbitrary names."""

    def __init__(
        self, children: list[nn.Module], forward: Callable[[list[nn.Module], Tensor], Tensor], word: str
    ) -> None:
        super().__init__()
        self.names = [f"{word}{chr(97 + index)}" for index in range(len(children))]
        self.rule = forward
        for name, child in zip(self.names, children, strict=True):
            setattr(self, name, child)

    def forward(self, x: Tensor) -> Tensor:
        return self.rule([getattr(self, name) for name in self.names], x)


def chain(parts: list[nn.Module], x: Tensor) -> Tensor:
    for part in parts:
        x = part(x)
    return x


def dense(parts: list[nn.Module], x: Tensor) -> Tensor:
    values = [x]
    for part in parts:
        values.append(part(torch.cat(values, dim=1) if len(values) > 1 else x))
    return torch.cat(values, dim=1)


def gated(parts: list[nn.Module], x: Tensor) -> Tensor:
    return x * parts[1](parts[0](x.mean((2, 3), keepdim=True)).relu()).sigmoid()


@dataclass
class Counted:
    """A module, its output channels, the layers of its longest path, and the masses in it, by the layers they pass."""

    module: nn.Module
    channels: int
    path: list[nn.Conv2d]
    masses: dict[tuple, float] = field(default_factory=dict)


def build(plan: object, channels: int, word: str) -> Counted:
    """Both the module and the count, the latter on the plan alone."""
    if isinstance(plan, tuple):
        parts, path, masses = [], [], {}
        for step in plan:
            part = build(step, channels, word)
            parts.append(part.module)
            channels, path, masses = part.channels, path + part.path, {**masses, **part.masses}
        return Counted(Named(parts, chain, word), channels, path, masses)
    if isinstance(plan, Convolution):
        out, groups = (channels, channels) if plan.depthwise else (plan.channels, 1)
        layer = nn.Conv2d(channels, out, plan.kernel, padding=plan.kernel // 2, groups=groups)
        module = nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU(inplace=True)) if plan.normed else layer
        return Counted(module, out, [layer])
    if isinstance(plan, Gate):
        return Counted(Named([nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)], gated, word), channels, [])
    if isinstance(plan, Residual):
        body = build(plan.body, channels, word)
        project = plan.projection or body.channels != channels
        shortcut: nn.Module = nn.Conv2d(channels, body.channels, 1) if project else nn.Identity()
        module = Named([body.module, shortcut], lambda parts, x: parts[0](x) + parts[1](x), word)
        own = {tuple(map(id, body.path)): addition_mass(body.path)} if len(body.path) > 1 else {}
        longest = max(body.path, [shortcut] if isinstance(shortcut, nn.Conv2d) else [], key=measure)
        return Counted(module, body.channels, longest, {**body.masses, **own})
    if isinstance(plan, Dense):
        units, width, masses, path = [], channels, {}, []
        for step in plan.units:
            unit = build(step, width, word)
            units.append(unit)
            width, path, masses = width + unit.channels, path + unit.path, {**masses, **unit.masses}
        growth = [unit.channels for unit in units]
        if len(units) > 2:  # all of the possible skips are there
            masses[("dense", *(id(unit.module) for unit in units))] = float(sum(growth))
        return Counted(Named([unit.module for unit in units], dense, word), width, path, masses)
    assert isinstance(plan, Parallel)
    branches = [build(step, channels, word) for step in plan.branches]
    module = Named([b.module for b in branches], lambda parts, x: torch.cat([p(x) for p in parts], 1), word)
    longest = max((branch.path for branch in branches), key=measure)
    masses = {key: mass for branch in branches for key, mass in branch.masses.items()}
    return Counted(module, sum(branch.channels for branch in branches), longest, masses)


def measure(path: list[nn.Conv2d]) -> tuple[int, int]:
    return len(path), sum(layer.in_channels for layer in path)


def addition_mass(path: list[nn.Conv2d]) -> float:
    """Eq. 3, every possible skip counted one by one."""
    widths = [layer.in_channels for layer in path]
    if path[0].groups == path[0].in_channels > 1:
        widths.insert(0, widths[0])
    possible = sum(widths[source] for source in range(len(widths)) for _target in range(source + 1, len(widths)))
    return sum(widths) * widths[0] / possible


convolutions = st.builds(Convolution, st.integers(1, 4), st.sampled_from([1, 3]), st.booleans(), st.booleans())
whole = st.builds(Convolution, st.integers(1, 4), st.sampled_from([1, 3]), st.just(False), st.booleans())


def guarded(inner: st.SearchStrategy) -> st.SearchStrategy:
    """Steps between convolutions, so that what one block joins does not enter the next one's join."""
    return st.tuples(whole, inner, whole)


def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    bodies = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Residual, bodies, st.booleans()),
        guarded(st.builds(Dense, st.lists(guarded(inner), min_size=1, max_size=4).map(tuple))),
        guarded(st.builds(Parallel, st.lists(guarded(inner), min_size=2, max_size=3).map(tuple))),
    )


plans = st.recursive(convolutions | st.builds(Gate), nested, max_leaves=8)


@settings(max_examples=60)
@given(st.lists(plans, min_size=1, max_size=3).map(tuple), st.sampled_from(["layer", "block", "x", "resnet", "dense"]))
def test_the_mass_of_a_generated_network_is_that_of_its_plan(plan: tuple, word: str) -> None:
    expected = build(plan, SIZE[0], word)
    record = topology(expected.module, SIZE)
    assert sorted(block.nn_mass for block in record.blocks) == pytest.approx(sorted(expected.masses.values()))
    assert record.nn_mass == pytest.approx(sum(expected.masses.values()))
    assert not record.not_judged
