"""Networks of a benchmark within a budget, as subjects to be measured, and the table of what was measured."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
from torch import nn

from nnmass.studies.benchmark.images import Images
from nnmass.studies.benchmark.known import KnownNetwork, one_of_each_family
from nnmass.studies.benchmark.macs import macs_of
from nnmass.studies.measuring import Row, Subject
from nnmass.zoo.measures import Batch

__all__ = ["Considered", "measured_table", "resized", "sampled", "subject_of"]


class Considered(NamedTuple):
    """A network that was looked at for a sample.

    Attributes:
        network: The network.
        reason: Why it is left out; None if it is chosen.
        is_broken: Whether that is because it could not be built or counted.
    """

    network: KnownNetwork
    reason: str | None = None
    is_broken: bool = False


def sampled(
    networks: Iterable[KnownNetwork],
    number: int,
    max_macs: float | None,
    seed: int = 0,
    count: Callable[[KnownNetwork], int] = macs_of,
) -> Iterator[Considered]:
    """Choose networks of as many families as there are, within a budget.

    Args:
        networks: All of a benchmark.
        number: How many to choose.
        max_macs: Multiply-adds of one image of the network's own size; None for no limit.
        seed: Decides which.
        count: Counts multiply-adds.

    Yields:
        Each network that was looked at before enough were chosen.
    """
    chosen = 0
    for network in one_of_each_family(networks, seed):
        if chosen >= number:
            return
        considered = _considered(network, max_macs, count)
        chosen += considered.reason is None
        yield considered


def _considered(network: KnownNetwork, max_macs: float | None, count: Callable[[KnownNetwork], int]) -> Considered:
    if max_macs is None:
        return Considered(network)
    try:
        macs = count(network)
    except Exception as error:  # a stranger's network may fail in any way: the reason is the result
        return Considered(network, f"{type(error).__name__}: {' '.join(str(error).split())}"[:300], is_broken=True)
    return Considered(network, None if macs <= max_macs else f"its {macs:,} MACs are too many")


def resized(network: KnownNetwork, side: int | None) -> KnownNetwork:
    """Let a network have images whose sides are at most so long, in px; None leaves it its own."""
    channels, *sides = network.input_size
    return network if side is None else replace(network, input_size=(channels, *(min(side, one) for one in sides)))


def subject_of(network: KnownNetwork, seed: int, images: Images) -> Subject:
    """Make what is measured of a network and a seed.

    Args:
        network: The network.
        seed: Decides its initial weights.
        images: Makes its batch.
    """
    name = f"{network.benchmark}/{network.name}"
    setting = f"{'x'.join(map(str, network.input_size))} {images}"
    return Subject(name, seed, setting, partial(_prepared, network, images))


def _prepared(network: KnownNetwork, images: Images, seed: int) -> tuple[nn.Module, Batch]:
    batch = images(network.input_size, network.num_classes)
    return network.build(seed, network.input_size), batch


def measured_table(
    networks: Sequence[KnownNetwork], rows: Iterable[Row], measures: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put measures beside accuracies.

    Args:
        networks: That were to be measured.
        rows: What :mod:`nnmass.studies.measuring` has measured, of these networks in one setting each.
        measures: Their names.

    Returns:
        One row per network that was measured: its accuracy, each measure's mean over the seeds (NaN unless every seed
        has a value) and median of seconds; and one row per benchmark, measure and reason for which ``networks`` have
        no value.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if "measured" in row:
            by_name.setdefault(row["network"], []).append(row["measured"])
    lines, untold = [], []
    for network in networks:
        seeds = by_name.get(f"{network.benchmark}/{network.name}", [])
        if not seeds or any(name not in one for one in seeds for name in measures):
            continue
        about = {key: getattr(network, key) for key in ("benchmark", "name", "family", "accuracy")}
        size = "x".join(map(str, network.input_size))
        line: dict[str, Any] = {**about, "input_size": size, "seeds": len(seeds)}
        for name in measures:
            values = pd.Series([one[name]["value"] for one in seeds], dtype=float)
            line[name] = values.mean(skipna=False)
            reasons = [one[name]["reason"] for one in seeds if one[name]["reason"] is not None]
            untold += [(network.benchmark, name, reason) for reason in reasons[:1]]
        for name in measures:
            line[f"seconds_{name}"] = pd.Series([one[name]["seconds"] for one in seeds]).median()
        lines.append(line)
    counted = pd.Series(untold, dtype=object).value_counts(sort=False)
    reasons = [{"benchmark": one, "measure": two, "reason": three} for one, two, three in counted.index]
    return pd.DataFrame(lines), pd.DataFrame(reasons, columns=["benchmark", "measure", "reason"]).assign(
        networks=counted.to_numpy()
    )
