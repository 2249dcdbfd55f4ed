"""Clustering and path lengths of a cell's graph of neurons, against a random graph and a ring lattice."""

from dataclasses import dataclass
from math import nan

import numpy as np
from scipy import sparse

from nnmass.zoo.reader.blocks import Wiring

__all__ = ["GraphStatistics", "graph_statistics", "neuron_graph"]

_CHUNK = 512  # neurons whose distances are computed at once
_RANDOM_GRAPHS = 3


@dataclass(frozen=True)
class GraphStatistics:
    """Small-world statistics of the neurons of one cell.

    Attributes:
        scope: Dotted name of the module that the cell lies in.
        neurons: Nodes.
        edges: Links, short-range and long-range, in either direction once.
        clustering: C: the share of the pairs of a neuron's neighbours that are linked, mean over the neurons.
        path_length: L: links on the shortest path between two neurons, mean over all pairs that are connected.
        random_clustering: C of random graphs of as many neurons and edges.
        random_path_length: L of these.
        lattice_clustering: C of a ring lattice of as many neurons and edges.
        lattice_path_length: L of this.
        clustering_error: Standard error of C where a sample of the neurons stands for all; 0 where it is exact.
        path_length_error: Standard error of L likewise.
    """

    scope: str
    neurons: int
    edges: int
    clustering: float
    path_length: float
    random_clustering: float
    random_path_length: float
    lattice_clustering: float
    lattice_path_length: float
    clustering_error: float = 0.0
    path_length_error: float = 0.0

    @property
    def sigma(self) -> float:
        """(C / C_random) / (L / L_random): above 1 in a small world (Humphries, Gurney 2008); NaN if C_random is 0."""
        if not self.random_clustering:
            return nan
        return self.clustering / self.random_clustering / (self.path_length / self.random_path_length)

    @property
    def omega(self) -> float:
        """L_random / L - C / C_lattice (Telesford et al. 2011).

        Near 0 in a small world, near 1 in a random graph, near -1 in a lattice; NaN where the lattice has no triangle.
        """
        if not self.lattice_clustering:
            return nan
        return self.random_path_length / self.path_length - self.clustering / self.lattice_clustering


def graph_statistics(wiring: Wiring, most_neurons: int = 4096, seed: int = 0) -> GraphStatistics:
    """Clustering and characteristic path length of a cell, beside those of random and regular graphs of its degree.

    The neurons of a unit are linked to all neurons of the unit before it that it takes channels from, and to the
    channels that its long-range links take; directions do not count. The papers call such cells small worlds, a lattice
    of short-range links with a random network upon it (ICLR 2021 submission, appendix A).

    Args:
        wiring: The links of a cell, from ``nnmass.zoo.topology(...).blocks``.
        most_neurons: Neurons up to which every neuron counts; of larger cells as many are sampled.
        seed: Decides the random graphs and the sample.

    Raises:
        ValueError: If the cell has fewer than three neurons, or ``most_neurons`` is below 1.

    Source:
        Watts, Strogatz: "Collective dynamics of small-world networks", Nature 1998.

    Example:
        >>> from nnmass.zoo import RandomSkipDenseNet, topology
        >>> wiring = topology(RandomSkipDenseNet(5, 1, 9, base_widths=[4]), (3, 8, 8)).blocks[0].wiring
        >>> statistics = graph_statistics(wiring)
        >>> statistics.neurons, statistics.edges, round(statistics.clustering, 2), round(statistics.path_length, 2)
        (20, 148, 0.73, 1.22)
    """
    graph = neuron_graph(wiring)
    neurons, edges = graph.shape[0], graph.nnz // 2
    if neurons < 3:
        raise ValueError(f"Expected a cell of at least 3 neurons, but got {neurons}.")
    if most_neurons < 1:
        raise ValueError(f"Expected most_neurons to be at least 1, but got {most_neurons}.")
    generator = np.random.default_rng(seed)
    clustering, path_length = _statistics(graph, most_neurons, generator)
    randoms = [
        _statistics(_random_graph(neurons, edges, generator), most_neurons, generator) for _ in range(_RANDOM_GRAPHS)
    ]
    lattice = _statistics(_ring_lattice(neurons, edges), most_neurons, generator)
    return GraphStatistics(
        wiring.scope,
        neurons,
        edges,
        clustering[0],
        path_length[0],
        float(np.mean([value[0] for value, _ in randoms])),
        float(np.mean([value[0] for _, value in randoms])),
        lattice[0][0],
        lattice[1][0],
        clustering[1],
        path_length[1],
    )


def neuron_graph(wiring: Wiring) -> sparse.csr_array:
    """Adjacency of a cell's neurons, symmetric, (neurons, neurons), with ones.

    Args:
        wiring: The links of a cell; neurons are numbered unit by unit.
    """
    first = np.concatenate([[0], np.cumsum(wiring.widths)])
    nothing = np.zeros(0, dtype=np.int64)
    sources, targets = [nothing], [nothing]
    for unit, entering in enumerate(wiring.entering):
        own = np.arange(first[unit], first[unit + 1])
        for source, channels in entering.items():
            taken = first[source] + np.asarray(channels, dtype=np.int64)
            sources.append(np.repeat(taken, len(own)))
            targets.append(np.tile(own, len(taken)))
    return _adjacency(int(first[-1]), np.concatenate(sources), np.concatenate(targets))


def _adjacency(neurons: int, sources: np.ndarray, targets: np.ndarray) -> sparse.csr_array:
    ones = np.ones(len(sources), dtype=np.float32)
    half = sparse.coo_array((ones, (sources.astype(np.int64), targets.astype(np.int64))), shape=(neurons, neurons))
    graph = (half + half.T).tocsr()
    graph.data[:] = 1
    return graph


def _random_graph(neurons: int, edges: int, generator: np.random.Generator) -> sparse.csr_array:
    """Draw a graph of so many edges, all such graphs being equally likely."""
    pairs = generator.choice(neurons * (neurons - 1) // 2, size=edges, replace=False, shuffle=False)
    # Pair number p of the triangle below the diagonal: row r holds the numbers r (r-1) / 2 to r (r+1) / 2 - 1.
    rows = ((1 + np.sqrt(1 + 8 * pairs.astype(np.float64))) / 2).astype(np.int64)
    rows -= rows * (rows - 1) // 2 > pairs
    rows += rows * (rows + 1) // 2 <= pairs
    return _adjacency(neurons, rows, pairs - rows * (rows - 1) // 2)


def _ring_lattice(neurons: int, edges: int) -> sparse.csr_array:
    """Link each neuron to its nearest on a ring, as far as the edges reach; the last are spread evenly."""
    whole, rest = divmod(edges, neurons)
    everyone = np.arange(neurons)
    # Half way round, each pair is met from both ends.
    span = neurons // 2 if 2 * (whole + 1) == neurons else neurons
    sources = [np.tile(everyone, whole), np.linspace(0, span, rest, endpoint=False).astype(np.int64)]
    steps = [everyone + step for step in range(1, whole + 1)]
    targets = [*steps, sources[1] + whole + 1]
    return _adjacency(neurons, np.concatenate(sources), np.concatenate(targets) % neurons)


def _statistics(
    graph: sparse.csr_array, most_neurons: int, generator: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Clustering and path length, each with its standard error over the neurons if these are sampled."""
    neurons = graph.shape[0]
    is_exact = neurons <= most_neurons
    chosen = np.arange(neurons) if is_exact else generator.choice(neurons, most_neurons, replace=False)
    matrix = graph.toarray() if is_exact else graph  # products of whole matrices are the faster ones
    clustering, lengths, reached = [], [], []
    for start in range(0, len(chosen), _CHUNK):
        rows = graph[chosen[start : start + _CHUNK]].toarray()
        clustering.append(_local_clustering(rows, matrix))
        total, number = _distances(rows, chosen[start : start + _CHUNK], matrix)
        lengths.append(total)
        reached.append(number)
    local = np.concatenate(clustering)
    total, number = np.concatenate(lengths), np.concatenate(reached)
    left = 0.0 if is_exact else np.sqrt((1 - len(chosen) / neurons) / len(chosen))
    means = total[number > 0] / number[number > 0]
    path_length = float(total.sum() / number.sum()) if number.any() else nan
    return (float(local.mean()), float(local.std() * left)), (path_length, float(means.std() * left))


def _local_clustering(rows: np.ndarray, matrix: "np.ndarray | sparse.csr_array") -> np.ndarray:
    """Share of linked pairs among the neighbours of the neurons of some rows (chosen, neurons); 0 without pairs."""
    degree = rows.sum(axis=1, dtype=np.float64)
    linked = ((rows @ matrix) * rows).sum(axis=1, dtype=np.float64)
    pairs = degree * (degree - 1)
    return np.divide(linked, pairs, out=np.zeros_like(pairs), where=pairs > 0)


def _distances(
    rows: np.ndarray, chosen: np.ndarray, matrix: "np.ndarray | sparse.csr_array"
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the distances to all neurons that can be reached, and their number, for each chosen neuron."""
    seen = rows > 0
    seen[np.arange(len(chosen)), chosen] = True
    number = rows.sum(axis=1, dtype=np.float64)
    total, front, distance = number.copy(), rows, 1
    while front.any():
        distance += 1
        front = ((front @ matrix > 0) & ~seen).astype(np.float32)
        seen |= front > 0
        newly = front.sum(axis=1, dtype=np.float64)
        total += distance * newly
        number += newly
    return total, number
