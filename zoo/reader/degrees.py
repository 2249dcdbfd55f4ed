"""Degree distributions of a cell's long-range links, against the Poisson distribution that the papers assume."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnmass.zoo.reader.blocks import Wiring

__all__ = ["DegreeDistribution", "degree_distributions"]


@dataclass(frozen=True)
class DegreeDistribution:
    """Numbers of long-range links of the neurons, or channels, of one cell.

    Attributes:
        scope: Dotted name of the module that the cell lies in.
        degree: ``in-degree``: links that enter a neuron. ``out-degree``: links that leave it; each layer that takes it
            counts with all its neurons. ``layers reached``: those layers themselves.
        values: One number per neuron, (neurons,).
    """

    scope: str
    degree: str
    values: np.ndarray

    @property
    def mean(self) -> float:
        """Mean degree."""
        return float(self.values.mean())

    @property
    def dispersion(self) -> float:
        """Variance over mean: 1 for a Poisson distribution, 0 where all degrees are equal."""
        return float(self.values.var() / self.mean) if self.mean else 0.0

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of the neurons of each degree 0, 1, ..., and a Poisson distribution of the same mean, both (n,)."""
        counts = np.bincount(self.values, minlength=int(self.mean + 6 * self.mean**0.5) + 2)
        return counts / len(self.values), stats.poisson.pmf(np.arange(len(counts)), self.mean)

    @property
    def distance_to_poisson(self) -> float:
        """Total variation distance to a Poisson distribution of the same mean: 0 equal, 1 disjoint."""
        observed, expected = self.shares()
        return float((np.abs(observed - expected).sum() + 1 - expected.sum()) / 2)


def degree_distributions(wiring: Wiring) -> list[DegreeDistribution]:
    """In-degrees, out-degrees and layers reached of every neuron of a cell, long-range links only.

    Each layer's neurons all receive the same channels, so in-degrees are l_i = min(w_c (i-1), t_c): the draw decides
    the out-degrees alone. The papers (ICLR 2021 submission, appendix C) call the degrees Poisson with mean m/2.

    Args:
        wiring: The links of a cell, from ``nnmass.zoo.topology(...).blocks``.

    Returns:
        The three distributions, over all neurons of the cell.

    Example:
        >>> from nnmass.zoo import RandomSkipDenseNet, topology
        >>> wiring = topology(RandomSkipDenseNet(5, 1, 9, base_widths=[4]), (3, 8, 8)).blocks[0].wiring
        >>> [(d.degree, d.mean) for d in degree_distributions(wiring)]
        [('in-degree', 4.2), ('out-degree', 4.2), ('layers reached', 1.05)]
    """
    entering = [sum(map(len, wiring.long_range(unit).values())) for unit in range(len(wiring.widths))]
    links = [np.zeros(width, dtype=np.int64) for width in wiring.widths]
    layers = [np.zeros(width, dtype=np.int64) for width in wiring.widths]
    for unit, width in enumerate(wiring.widths):
        for source, channels in wiring.long_range(unit).items():
            links[source][list(channels)] += width
            layers[source][list(channels)] += 1
    return [
        DegreeDistribution(wiring.scope, "in-degree", np.repeat(entering, wiring.widths)),
        DegreeDistribution(wiring.scope, "out-degree", np.concatenate(links)),
        DegreeDistribution(wiring.scope, "layers reached", np.concatenate(layers)),
    ]
