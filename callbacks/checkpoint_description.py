"""Description of the network in each checkpoint, so that the file is enough to classify with."""

import json
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from nnmass.callbacks.recorder import Recorder
from nnmass.zoo.weights.description import DESCRIPTION_KEY, Description

__all__ = ["CheckpointDescription"]


class CheckpointDescription(Recorder):
    """Writes network, preprocessing and classes into each checkpoint; :func:`nnmass.zoo.load` reads them.

    Args:
        class_path: The network's class.
        arguments: Of the class, plain values, with those that the data have decided.
    """

    missed = "The checkpoints do not describe the network"

    def __init__(self, class_path: str, arguments: Mapping[str, Any]) -> None:
        self.class_path, self.arguments = class_path, dict(arguments)
        self._description: dict[str, Any] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the data module what its samples and classes are."""
        with self.tolerant():
            self._description = self._described(trainer.datamodule)  # type: ignore[attr-defined]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the description."""
        if self._description is not None:
            checkpoint[DESCRIPTION_KEY] = self._description

    def _described(self, data: Any) -> dict[str, Any]:
        described = Description(
            self.class_path,
            self.arguments,
            tuple(data.input_size),
            data.preprocessing,
            tuple(map(str, data.class_names)),
            type(data).__name__,
        )
        plain: dict[str, Any] = json.loads(json.dumps(described.as_dict()))  # a checkpoint must be readable as data
        return plain
