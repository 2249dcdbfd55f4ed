"""Placement of long-range links: counts and NN-Mass are the same, the channels are those that are named."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass.zoo import RandomSkipCell, RandomSkipDenseNet, RandomSkipMLP, closed_form, draw_links, link_counts, topology

PLACEMENTS = ["uniform", "newest", "oldest"]


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 60))
def test_each_placement_takes_as_many_candidates(depth: int, width: int, tc: int) -> None:
    for placement in PLACEMENTS:
        links = draw_links(depth, width, tc, torch.Generator().manual_seed(0), placement)  # type: ignore[arg-type]
        assert [len(taken) for taken in links] == link_counts(depth, width, tc)
        for layer, taken in enumerate(links):
            candidates = list(range(width * max(layer - 1, 0)))
            number = len(taken)
            by_hand = {"newest": candidates[len(candidates) - number :], "oldest": candidates[:number]}
            assert placement == "uniform" or taken.tolist() == by_hand[placement]


@pytest.mark.parametrize("links", PLACEMENTS)
def test_mass_is_read_off_the_built_network_alike_for_each_placement(links: str) -> None:
    network = RandomSkipDenseNet(6, 1, [3, 9, 40], base_widths=[4, 8, 8], links=links)  # type: ignore[arg-type]
    assert topology(network, (3, 16, 16)).nn_mass == pytest.approx(network.nn_mass)
    arguments = {"cell_depth": 6, "width_multiplier": 1, "tc": [3, 9, 40], "base_widths": [4, 8, 8], "links": links}
    form = closed_form("RandomSkipDenseNet", arguments, (3, 16, 16))
    assert form is not None
    assert form.nn_mass == pytest.approx(network.nn_mass)


@pytest.mark.parametrize("share_outputs", [False, True])
def test_both_ways_of_computing_read_the_links_that_are_placed(share_outputs: bool) -> None:
    given_links = [[], [], [1, 0], [3, 0], [5, 2]]
    mlp = RandomSkipMLP(5, 2, 2, in_features=3, num_classes=2, links=given_links, share_outputs=share_outputs)
    assert [layer.links.tolist() for layer in mlp.layers] == [sorted(channels) for channels in given_links]  # type: ignore[operator, union-attr]
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    outputs = [mlp.activation(mlp.layers[0].linear(x))]  # type: ignore[operator]
    for layer in list(mlp.layers)[1:]:
        earlier = torch.cat(outputs[:-1], dim=1) if len(outputs) > 1 else x[:, :0]
        entering = torch.cat([outputs[-1], earlier[:, layer.links]], dim=1)  # type: ignore[index]
        outputs.append(mlp.activation(layer.linear(entering)))  # type: ignore[operator]
    logits = layer.linear(entering)  # type: ignore[operator]
    torch.testing.assert_close(mlp(x), logits)


def test_the_weights_of_a_seed_do_not_depend_on_the_placement() -> None:
    uniform, newest = (RandomSkipMLP(6, 4, 3, links=links, seed=5).state_dict() for links in ("uniform", "newest"))  # type: ignore[arg-type]
    assert all(torch.equal(uniform[name], newest[name]) for name in uniform if not name.endswith("links"))
    assert any(not torch.equal(uniform[name], newest[name]) for name in uniform)


@pytest.mark.parametrize(
    ("links", "sentence"),
    [
        ("middle", "Expected links to be .*uniform.*newest.*oldest.* but got 'middle'"),
        ([[], []], "Expected links to have one list for each of 4 layers, but got 2."),
        ([[], [], [0], [0, 1]], r"Expected links of layer 2 to be 2 unlike channels from 0 to 1, but got \[0\]."),
        (
            [[], [], [0, 1], [4, 1, 2]],
            r"Expected links of layer 3 to be 3 unlike channels from 0 to 3, but got \[4, 1, 2\].",
        ),
        ([[], [], [0, 1], [1, 1, 2]], r"unlike channels from 0 to 3, but got \[1, 1, 2\]."),
        ([[0], [], [0, 1], [1, 3, 2]], r"Expected links of layer 0 to be 0 unlike channels"),
    ],
)
def test_links_that_a_cell_cannot_have_are_refused(links: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RandomSkipCell(3, width=2, depth=4, tc=3, links=links)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "sizes"), [("width", (5, -4, 2)), ("tc", (5, 4, -2)), ("depth", (-5, 4, 2))])
def test_sizes_below_0_are_refused(name: str, sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"Expected {name} to be an integer of at least 0"):
        draw_links(*sizes, torch.Generator())
