"""Measurements of a study's networks before they are trained: topology, Jacobians, training-free measures."""

import json
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from nnmass.datamodules.base import DataModule
from nnmass.studies.choices import JacobianChoice
from nnmass.studies.definition import Row
from nnmass.studies.rows import Lacking
from nnmass.studies.sizes import size_by
from nnmass.zoo.jacobian.spectra import hidden_isometry, hidden_mean, layer_spectra
from nnmass.zoo.measures import Batch, measure_network
from nnmass.zoo.training.classifier import Classifier

__all__ = ["MEASURED_IMAGES", "Measurer"]

MEASURED_IMAGES = 64
"""Training images at which a row is measured, those that its seed draws first; all where there are fewer."""


class Measurer:
    """Topology, Jacobians and measures of one row after another.

    Topology is read once per architecture, the Jacobians' samples are taken once per data. Tracing is not for several
    threads at once: whoever measures holds the lock.

    Args:
        jacobian: How the Jacobians are measured; None for not at all.
        measures: Training-free measures.
    """

    def __init__(self, jacobian: JacobianChoice | None, measures: Sequence[str] = ()) -> None:
        self.wanted = Lacking(jacobian, list(measures))
        self.lock = Lock()
        self.sizes: dict[tuple[str, str], dict[str, Any]] = {}
        self.samples: dict[str, Tensor] = {}

    def __call__(self, row: Row, model: Classifier, data: DataModule) -> dict[str, Any]:
        """Measure the topology of the row's network, and whatever else is wanted.

        Args:
            row: The row.
            model: Holds its network, newly built.
            data: The data of its configuration, prepared.

        Returns:
            Columns of the row's record, as :meth:`added` returns them.
        """
        key = (row.config, row.network)
        if key not in self.sizes:
            self.sizes[key] = size_by(row, model, data)
        return self.added(self.sizes[key], self.wanted, row, model, data)

    def added(
        self, record: Mapping[str, Any], lacking: Lacking, row: Row, model: Classifier, data: DataModule
    ) -> dict[str, Any]:
        """Add to a row's record what it lacks, of the network with the weights that its training starts from.

        Args:
            record: What is known of the row.
            lacking: What to measure.
            row: The row.
            model: Holds its network, newly built.
            data: The data of its configuration, prepared.

        Returns:
            The record. ``jacobian`` and ``measures`` say what has been measured; a measure without a value is absent,
            and ``not_measured`` says why, as JSON.
        """
        record = dict(record)
        if any(lacking):
            model.load_weights(getattr(data, "class_names", None))
        if lacking.jacobian is not None:
            images = self._images(row.config, data, lacking.jacobian.samples)
            spectra = list(layer_spectra(model.network, images, lacking.jacobian.bn, seed=row.seed))
            record |= {"mean_singular_value": hidden_mean(spectra), "isometry": hidden_isometry(spectra)}
            record["jacobian"] = str(lacking.jacobian)
        if lacking.measures:
            batch = Batch(*data.first_samples(MEASURED_IMAGES, row.seed, or_all=True))
            found = measure_network(model.network, batch, lacking.measures, row.seed)
            record |= {name: one.value for name, one in found.items() if one.value is not None}
            reasons = json.loads(record.get("not_measured", "{}"))
            reasons |= {name: one.reason for name, one in found.items() if one.value is None}
            record |= {"not_measured": json.dumps(reasons)} if reasons else {}
            record["measures"] = " ".join([*record.get("measures", "").split(), *lacking.measures])
        return record

    def _images(self, config: str, data: DataModule, number: int) -> Tensor:
        """Return the first samples that the seed 0 would train on, the same for all rows of a configuration."""
        if config not in self.samples:
            parts: list[Tensor] = []
            seed, data.seed = data.seed, 0
            for batch in data.training_batches():
                parts.append(data.transfer_batch_to_device(batch, data.device, 0)[0])
                if sum(map(len, parts)) >= number:
                    break
            data.seed = seed
            self.samples[config] = torch.cat(parts)[:number]
        return self.samples[config]
