"""RandomSkipMLP: the published counts, the definition by hand, the edges."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass.zoo import RandomSkipMLP, average_degree, cell_density, topology


@pytest.mark.parametrize(
    ("depth", "tc", "params", "mass"),
    [
        (24, 2, 8310, 4.17),
        (32, 2, 9014, 4.13),
        (16, 8, 8290, 17.07),
        (20, 1, 7812, None),
        (32, 1, 8772, None),
        (20, 7, 8688, None),
    ],
)
def test_published_counts(depth: int, tc: int, params: int, mass: float | None) -> None:
    network = RandomSkipMLP(depth, 8, tc)
    record = topology(network)
    assert record.num_params == params
    assert record.macs == params - 8 * (depth - 1) - 10  # every weight once, no bias
    assert mass is None or round(record.nn_mass, 2) == mass
    assert network.nn_mass == pytest.approx(record.nn_mass)


@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_the_forward_pass_is_the_definition(activation: str) -> None:
    network = RandomSkipMLP(6, 3, 4, num_classes=5, in_features=7, activation=activation, seed=3).double()  # type: ignore[arg-type]
    phi = getattr(torch.nn.functional, activation)
    x = torch.randn(4, 7, dtype=torch.float64)
    s: list[torch.Tensor] = []
    for i, layer in enumerate(network.layers):
        weight, bias = layer.linear.weight, layer.linear.bias  # type: ignore[union-attr]
        entering = x if i == 0 else s[-1]
        for link in layer.links.tolist():  # type: ignore[union-attr, operator]
            assert link < 3 * (i - 1)
            entering = torch.cat([entering, s[link // 3][:, link % 3, None]], dim=1)
        s.append(entering @ weight.T + bias)  # type: ignore[operator, union-attr]
        if i < 5:
            s[-1] = phi(s[-1])
    torch.testing.assert_close(network(x), s[-1])


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 30))
def test_topology_is_that_of_the_closed_form(depth: int, width: int, tc: int) -> None:
    record = topology(RandomSkipMLP(depth, width, tc, in_features=5))
    assert list(record.cell_densities) == pytest.approx(cell_density(depth, width, tc))
    assert record.average_degree == pytest.approx(average_degree(depth, width, tc))


@pytest.mark.parametrize(("depth", "width", "tc", "batch"), itertools.product([2, 3, 5], [1, 4], [0, 2, 99], [1, 3]))
def test_every_parameter_gets_a_gradient(depth: int, width: int, tc: int, batch: int) -> None:
    network = RandomSkipMLP(depth, width, tc, num_classes=3, in_features=12)
    logits = network(torch.rand(batch, 1, 3, 4))
    assert logits.shape == (batch, 3)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@settings(max_examples=40)
@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 30), st.integers(1, 4), st.sampled_from(["elu", "relu"]))
def test_outputs_written_once_give_the_plain_pass(depth: int, width: int, tc: int, batch: int, activation: str) -> None:
    shared, plain = (
        RandomSkipMLP(depth, width, tc, in_features=5, activation=activation, share_outputs=share).double()  # type: ignore[arg-type]
        for share in (True, False)
    )
    found = []
    for network in (shared, plain):
        x = torch.randn(batch, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        logits = network(x)
        logits.square().sum().backward()
        found.append([logits, x.grad, *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_plain_pass_runs_where_somebody_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = RandomSkipMLP(5, 3, 4, in_features=6), torch.rand(2, 6)
    expected = network(x)
    with pytest.raises(RuntimeError, match="share_outputs=False for gradients of gradients"):
        torch.autograd.grad(network(x).square().sum(), [network.layers[2].linear.weight], create_graph=True)  # type: ignore[union-attr, list-item]
    monkeypatch.setattr("nnmass.zoo.fast.perceptron.run", None)
    seen: list[torch.Tensor] = []
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(network(x).float(), expected, atol=0.1)
    network.layers[2].linear.register_forward_hook(lambda module, given, found: seen.append(found))  # type: ignore[union-attr, operator]
    assert torch.allclose(network(x), expected)
    assert len(seen) == 1


def test_other_links_are_followed() -> None:
    network = RandomSkipMLP(6, 3, 4, in_features=5)
    plain = RandomSkipMLP(6, 3, 4, in_features=5, share_outputs=False, seed=1)
    x = torch.rand(2, 5)
    network(x)
    network.load_state_dict(plain.state_dict())
    torch.testing.assert_close(network(x), plain(x))


def test_seed_links_and_state() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = RandomSkipMLP(9, 8, 5, seed=1).eval(), RandomSkipMLP(9, 8, 5, seed=2).eval()
    assert torch.equal(before, torch.get_rng_state())
    x = torch.rand(2, 784)
    assert not torch.allclose(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 1}, "depth to be an integer of at least 2, but got 1"),
        ({"width": 0}, "width to be an integer of at least 1, but got 0"),
        ({"tc": -1}, "tc to be an integer of at least 0, but got -1"),
        ({"activation": "tanh"}, "activation to be one of elu, relu, but got 'tanh'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomSkipMLP(**{"depth": 4, "width": 2, "tc": 1, **arguments})
