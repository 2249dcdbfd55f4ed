"""All measures by name, and several of them for one network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from time import perf_counter
from types import MappingProxyType

from torch import nn

from nnmass.zoo.measures.batch import Batch, NotMeasured
from nnmass.zoo.measures.codes import naswot
from nnmass.zoo.measures.constants import epsilon
from nnmass.zoo.measures.covariance import jacob_cov
from nnmass.zoo.measures.definition import Measure
from nnmass.zoo.measures.gradients import fisher, grad_norm, grasp, snip, zico
from nnmass.zoo.measures.jacobians import isometry, mean_singular_value
from nnmass.zoo.measures.passes import Passes
from nnmass.zoo.measures.perturbation import zen
from nnmass.zoo.measures.structure import macs, nn_degree, nn_density, nn_mass, params
from nnmass.zoo.measures.synflow import synflow

__all__ = ["MEASURES", "Measured", "find_measures", "measure_network"]

# Every measure of the house, in the order of its columns; a new one is added here.
MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        one.name: one
        for one in (
            params,
            macs,
            nn_mass,
            nn_density,
            nn_degree,
            mean_singular_value,
            isometry,
            grad_norm,
            snip,
            grasp,
            synflow,
            fisher,
            jacob_cov,
            naswot,
            zen,
            zico,
            epsilon,
        )
    }
)


@dataclass(frozen=True)
class Measured:
    """The outcome of one measure.

    Attributes:
        value: Its value; None if it has none here.
        reason: Why it has none, in one sentence; None if it has one.
        seconds: Time it took. Passes that several measures share count for the first of them.
    """

    value: float | None
    reason: str | None
    seconds: float


def find_measures(names: Iterable[str | Measure] | str) -> tuple[Measure, ...]:
    """Find measures by name, each once, in the order given.

    Args:
        names: Names, of which ``all`` stands for all of them; measures of your own may stand among them.

    Raises:
        ValueError: If there is no measure of a name; the message lists the nearest.

    Example:
        >>> [one.title for one in find_measures(["params", "nn_mass"])]
        ['parameters', 'NN-Mass']
    """
    found: dict[str, Measure] = {}
    for name in [names] if isinstance(names, str) else names:
        if isinstance(name, Measure):
            found.setdefault(name.name, name)
        elif name == "all":
            found.update({key: one for key, one in MEASURES.items() if key not in found})
        elif name in MEASURES:
            found.setdefault(name, MEASURES[name])
        else:
            nearest = get_close_matches(name, MEASURES, n=3, cutoff=0.4) or MEASURES
            raise ValueError(f"Expected the name of a measure, but got {name!r}; the nearest: {', '.join(nearest)}.")
    return tuple(found.values())


def measure_network(
    network: nn.Module, batch: Batch, names: Iterable[str | Measure] | str | None = None, seed: int = 0
) -> dict[str, Measured]:
    """Measure a network, with each pass that several measures need made once.

    Args:
        network: Any network, bare or wrapped, on any device; it stays exactly as it was.
        batch: Images, and labels for the measures that need them.
        names: Measures as in :func:`find_measures`; None for all.
        seed: Decides all that is drawn.

    Returns:
        The outcome of each measure by its name. One that has no value for this network or batch has a reason instead.

    Raises:
        ValueError: If a name is unknown, or the network is no ``torch.nn.Module``.

    Example:
        >>> import torch
        >>> from nnmass.zoo import RandomSkipMLP
        >>> found = measure_network(RandomSkipMLP(24, 8, 2), Batch(torch.zeros(1, 784)), ["params", "grad_norm"])
        >>> found["params"].value, found["grad_norm"].reason
        (8310.0, 'Expected a batch with labels, but got none.')
    """
    passes = Passes(network, batch, seed)
    measured = {}
    for one in find_measures("all" if names is None else names):
        value, reason, start = None, None, perf_counter()
        try:
            value = one.of(passes)
        except NotMeasured as error:
            reason = str(error)
        measured[one.name] = Measured(value, reason, perf_counter() - start)
    return measured
