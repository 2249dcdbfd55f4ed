"""What a study measures of its networks before they are trained: topology, Jacobians, training-free measures."""

import json
from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from nnmass.datamodules.base import DataModule
from nnmass.studies.choices import JacobianChoice
from nnmass.studies.definition import Row
from nnmass.studies.sizes import size_by
from nnmass.zoo.jacobian.spectra import hidden_isometry, hidden_mean, layer_spectra
from nnmass.zoo.measures import Batch, measure_network
from nnmass.zoo.training.classifier import Classifier

__all__ = ["MEASURED_IMAGES", "Measurer"]

MEASURED_IMAGES = 64
"""Training images at which the measures of a row are taken, those that its seed draws first."""


class Measurer:
    """Topology, Jacobians and measures of one row after another.

    Topology is read once per architecture, the Jacobians' samples are taken once per data. Tracing is not for several
    threads at once: whoever measures holds the lock.

    Args:
        jacobian: How the Jacobians are measured; None for not at all.
        measures: Training-free measures.
    """

    def __init__(self, jacobian: JacobianChoice | None, measures: Sequence[str] = ()) -> None:
        self.jacobian = jacobian
        self.measures = tuple(measures)
        self.lock = Lock()
        self.sizes: dict[tuple[str, str], dict[str, Any]] = {}
        self.samples: dict[str, Tensor] = {}

    def __call__(self, row: Row, model: Classifier, data: DataModule) -> dict[str, Any]:
        """Measure the row's network, with the weights that its training starts from.

        Args:
            row: The row.
            model: Holds its network, newly built.
            data: The data of its configuration, prepared.

        Returns:
            Columns of the row's record. A measure without a value is absent, and ``not_measured`` says why, as JSON.
        """
        key = (row.config, row.network)
        if key not in self.sizes:
            self.sizes[key] = size_by(row, model, data)
        record = dict(self.sizes[key])
        if self.jacobian is not None or self.measures:
            model.load_weights(getattr(data, "class_names", None))
        if self.jacobian is not None:
            images = self._images(row.config, data, self.jacobian.samples)
            spectra = list(layer_spectra(model.network, images, self.jacobian.bn, seed=row.seed))
            record["mean_singular_value"] = hidden_mean(spectra)
            record["isometry"] = hidden_isometry(spectra)
        if self.measures:
            record |= self._measured(row, model, data)
        return record

    def _measured(self, row: Row, model: Classifier, data: DataModule) -> dict[str, Any]:
        batch = Batch(*data.first_samples(MEASURED_IMAGES, row.seed))
        found = measure_network(model.network, batch, self.measures, row.seed)
        values = {name: one.value for name, one in found.items() if one.value is not None}
        reasons = {name: one.reason for name, one in found.items() if one.value is None}
        return values | ({"not_measured": json.dumps(reasons)} if reasons else {})

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
