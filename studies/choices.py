"""Parts of a study's definition: what is measured before training, the report, and the primary endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["EXPLAINED", "FITTED", "PROPERTIES", "Endpoint", "JacobianChoice", "ReportChoice", "chosen_measures"]

EXPLAINED = {
    "test accuracy": ("last epoch", "best epoch by validation", "mean after the first third"),
    "mean singular value": ("before training",),
}
"""Explained numbers by the names of the tables of fits, and the epochs that each may be of."""

PROPERTIES = (
    *("log NN-Mass", "log(1 + NN-Mass)", "log t", "links per layer", "NN-density", "average degree"),
    *("log parameters", "log MACs", "depth", "layers"),
)
"""Properties of networks as ``baselines.csv`` names them; a study's measures and their logarithms come to them."""

FITTED = ("log NN-Mass", "log parameters", "log MACs", "NN-Mass", "parameters")
"""Properties as ``fits.csv`` names them."""

# Columns that every study has, and those that its ``jacobian`` gives.
_COLUMNS = ("params", "macs", "nn_mass", "nn_density", "mean_singular_value", "isometry")


@dataclass(frozen=True)
class JacobianChoice:
    """Settings of the layerwise Jacobians that are measured before training.

    Attributes:
        samples: Training samples to measure at.
        bn: Statistics that batch norms use, as in :func:`zoo.layer_spectra`.
    """

    samples: int = 4
    bn: Literal["eval", "batch"] = "batch"

    def __str__(self) -> str:
        return f"{self.samples} samples, bn {self.bn}"


@dataclass(frozen=True)
class Endpoint:
    """Primary endpoint of a study, to be declared before its trainings; every other fit is exploratory.

    Attributes:
        explained: What is explained.
        epoch: Of it, as the tables of fits name it.
        networks: ``all``, or ``NN-Mass > 0``, those with links.
        measure: The property that explains it, as ``baselines.csv`` names it.
        group: The configuration or group whose networks it is about.
        given: Properties beside the measure, of which each is to be told from all others: the endpoint is then the
            partial correlation given these, in place of R2.
    """

    explained: str = "test accuracy"
    epoch: str = "last epoch"
    networks: str = "all"
    measure: str = "log NN-Mass"
    group: str = "all"
    given: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ReportChoice:
    """Contents of a study's report beside the figures that all reports have.

    Attributes:
        endpoint: The primary endpoint; None where all is exploratory.
        group: Column whose values get fits of their own, such as ``width_multiplier``.
        colour: Column that colours the points.
        published: R2 that the papers print, by what is fitted and by predictor, as the fits name them.
        curves: Sets of networks whose training is drawn in one panel, by the letter that the papers give each.
    """

    endpoint: Endpoint | None = None
    group: str | None = None
    colour: str = "depth"
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: list[dict[str, str]] = field(default_factory=list)


def chosen_measures(names: Sequence[str]) -> list[str]:
    """Return the measures that a study names, each once.

    Args:
        names: Names; ``all`` stands for all that are no columns of the table anyway.

    Raises:
        ValueError: If a measure is unknown, or is a column anyway.
    """
    from nnmass.zoo.measures import find_measures  # loads torch, for studies with measures alone

    try:
        found = [one.name for one in find_measures(names)]
    except ValueError as error:
        raise ValueError(f"Expected the study's measures to have known names; {error}") from error
    for name in names:
        if name in _COLUMNS:
            columns = f"to be none of {', '.join(_COLUMNS)}, which have columns of their own"
            raise ValueError(f"Expected the study's measures {columns}, but got {name}.")
    return [name for name in found if name not in _COLUMNS]
