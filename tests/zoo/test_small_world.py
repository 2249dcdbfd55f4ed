"""Clustering and path lengths of neuron graphs against networkx and against formulas of regular graphs."""

import math
from dataclasses import asdict

import networkx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nnmass.zoo import RandomSkipDenseNet, RandomSkipMLP, average_degree, graph_statistics, topology
from nnmass.zoo.reader.blocks import Wiring
from nnmass.zoo.reader.small_world import _random_graph, _ring_lattice, _statistics, neuron_graph


def wiring_of(depth: int, width: int, tc: int) -> Wiring:
    network = RandomSkipDenseNet(depth, 1, tc, base_widths=[width])
    (block,) = (block for block in topology(network, (3, 8, 8)).blocks if block.wiring)
    assert block.wiring is not None
    return block.wiring


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 7), st.integers(1, 5), st.integers(1, 12), st.integers(0, 10**6))
def test_a_cell_has_networkxs_clustering_and_path_length(depth: int, width: int, tc: int, seed: int) -> None:
    wiring = wiring_of(depth, width, tc)
    graph = networkx.from_scipy_sparse_array(neuron_graph(wiring))
    statistics = graph_statistics(wiring, seed=seed)
    assert statistics.clustering == pytest.approx(networkx.average_clustering(graph))
    assert statistics.path_length == pytest.approx(networkx.average_shortest_path_length(graph))
    assert statistics.edges / statistics.neurons == pytest.approx(average_degree(depth, width, tc))
    assert statistics.clustering_error == statistics.path_length_error == 0


def test_an_mlp_is_read_too() -> None:
    (block,) = topology(RandomSkipMLP(10, 4, tc=5, in_features=12, num_classes=4), 12).blocks
    assert block.wiring is not None
    graph = networkx.from_scipy_sparse_array(neuron_graph(block.wiring))
    assert graph_statistics(block.wiring).path_length == pytest.approx(networkx.average_shortest_path_length(graph))


def test_layers_without_long_range_links_have_no_triangle() -> None:
    widths = (3, 3, 3, 3)
    chain = Wiring("", widths, (0, 1, 2, 3), ({}, *({unit: (0, 1, 2)} for unit in range(3))))
    statistics = graph_statistics(chain)
    assert statistics.clustering == 0
    # Neurons of one layer are two links apart, of unlike layers as many as there are layers between them.
    apart = [2] * 4 * 3 + [1] * 9 * 3 + [2] * 9 * 2 + [3] * 9
    assert statistics.path_length == pytest.approx(np.mean(apart))
    assert statistics.sigma == 0


@pytest.mark.parametrize(("neurons", "neighbours"), [(20, 4), (31, 6)])
def test_a_ring_lattice_has_the_clustering_and_path_length_of_the_formulas(neurons: int, neighbours: int) -> None:
    (clustering, _), (path_length, _) = _statistics(
        _ring_lattice(neurons, neurons * neighbours // 2), 4096, np.random.default_rng(0)
    )
    assert clustering == pytest.approx(3 * (neighbours - 2) / (4 * (neighbours - 1)))
    steps = [math.ceil(min(step, neurons - step) / (neighbours / 2)) for step in range(1, neurons)]
    assert path_length == pytest.approx(np.mean(steps))


@settings(max_examples=50, deadline=None)
@example(4, 5)
@example(8, 28)
@given(st.integers(3, 40), st.integers(0, 780))
def test_the_references_have_as_many_edges(neurons: int, edges: int) -> None:
    edges %= neurons * (neurons - 1) // 2 + 1
    for graph in (_random_graph(neurons, edges, np.random.default_rng(0)), _ring_lattice(neurons, edges)):
        assert graph.nnz == 2 * edges
        assert graph.diagonal().sum() == 0
        assert (graph != graph.T).nnz == 0


def test_every_random_graph_is_as_likely() -> None:
    generator = np.random.default_rng(0)
    counts = sum(_random_graph(5, 4, generator).toarray() for _ in range(3000))
    above = counts[np.triu_indices(5, 1)] / 3000
    assert above == pytest.approx(0.4, abs=5 * math.sqrt(0.24 / 3000))


def test_a_sample_of_the_neurons_states_its_error() -> None:
    wiring = wiring_of(10, 12, 20)
    exact = graph_statistics(wiring)
    for seed in range(5):
        sampled = graph_statistics(wiring, most_neurons=40, seed=seed)
        assert abs(sampled.clustering - exact.clustering) < 4 * sampled.clustering_error
        assert abs(sampled.path_length - exact.path_length) < 4 * sampled.path_length_error
        assert sampled.clustering_error > 0


def test_the_same_seed_gives_the_same_statistics_and_leaves_the_global_generator_alone() -> None:
    wiring, state = wiring_of(6, 4, 5), np.random.get_state()[1].copy()
    assert asdict(graph_statistics(wiring, seed=3)) == asdict(graph_statistics(wiring, seed=3))
    assert (np.random.get_state()[1] == state).all()


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 neurons, but got 2"):
        graph_statistics(Wiring("", (1, 1), (0, 1), ({}, {0: (0,)})))
    with pytest.raises(ValueError, match="most_neurons to be at least 1, but got 0"):
        graph_statistics(wiring_of(4, 2, 2), most_neurons=0)
