"""A study's own networks as a benchmark: those of its rows, with the accuracies that they have reached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import pandas as pd
from torch import nn

from nnmass.studies.benchmark.images import Images
from nnmass.studies.benchmark.known import KnownNetwork
from nnmass.studies.definition import Row
from nnmass.zoo.measures import Batch

__all__ = ["StudyImages", "study_networks"]

_ACCURACY = "test_accuracy_last"


@dataclass(frozen=True, eq=False)
class StudyImages:
    """The first training samples of a study's row, as :meth:`datamodules.DataModule.first_samples` takes them.

    Attributes:
        row: The row, whose data set must be there.
        number: Samples of a batch.
    """

    row: Row
    number: int

    def __str__(self) -> str:
        return f"{self.number} samples of {self.row.config}"

    def __call__(self, input_size: tuple[int, ...], num_classes: int) -> Batch:
        """Read the batch.

        Raises:
            ValueError: If the data set has too few samples.
            OSError: If it is not there.
        """
        return _first_samples(self)


@lru_cache(maxsize=4)
def _first_samples(images: StudyImages) -> Batch:
    _, data = images.row.build()
    data.prepare_data()
    return Batch(*data.first_samples(images.number, images.row.seed))


def study_networks(
    rows: Sequence[Row], results: pd.DataFrame, number: int, family: str | None = None
) -> list[tuple[list[KnownNetwork], Images]]:
    """List the networks of a study by their mean accuracy on the test set after the last epoch, over the seeds.

    Args:
        rows: The study's rows.
        results: Its ``results.csv``.
        number: Samples of a batch.
        family: Column of the results that says which networks are of one family; by default all are.

    Returns:
        For each configuration its networks, and its samples. A network is built with the initial weights and the links
        that the row of the seed began with.

    Raises:
        ValueError: If the results have no accuracies, or are those of other rows.
    """
    lacking = {"study", "row", _ACCURACY} - set(results.columns)
    if lacking:
        raise ValueError(f"Expected the results of a study, but they have no column {', '.join(sorted(lacking))}.")
    by_id = {row.id: row for row in rows}
    results = results[results[_ACCURACY].notna()]
    known = [name for name in results["row"] if name in by_id]
    if not known or len(known) < len(results):
        strange = next((name for name in results["row"] if name not in by_id), "none")
        raise ValueError(f"Expected the results of rows that the study has, but got {strange}.")
    results = results.assign(
        config=[by_id[name].config for name in results["row"]],
        network=[by_id[name].network for name in results["row"]],
        family=results[family].astype(str) if family in results else results["study"],
    )
    listed: list[tuple[list[KnownNetwork], Images]] = []
    for config, of_config in results.groupby("config", sort=False):
        study = of_config["study"].iloc[0]
        benchmark = study if results["config"].nunique() == 1 else f"{study} {config}"
        first = by_id[of_config["row"].iloc[0]]
        _, data = first.build()
        networks = [
            KnownNetwork(
                str(benchmark),
                str(name),
                str(part["family"].iloc[0]),
                100 * float(part[_ACCURACY].mean()),
                tuple(data.input_size),
                data.num_classes,
                partial(_of_rows, {by_id[one].seed: by_id[one] for one in part["row"]}),
            )
            for name, part in of_config.groupby("network", sort=False)
        ]
        listed.append((networks, StudyImages(first, number)))
    return listed


def _of_rows(rows: Mapping[int, Row], seed: int, input_size: tuple[int, ...]) -> nn.Module:
    if seed not in rows:
        raise ValueError(
            f"Expected a seed that the study has trained, one of {', '.join(map(str, rows))}, but got {seed}."
        )
    model, _ = rows[seed].build()
    return model.network
