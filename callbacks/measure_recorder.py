"""Record of training-free measures of the network, before it is trained."""

from functools import partial
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from rich.console import Console

from nnmass.callbacks.recorder import NetworkRecorder
from nnmass.runtime.files import read_run, update_run
from nnmass.runtime.tables import measure_rows, rich_table
from nnmass.zoo.checks import require, require_integer
from nnmass.zoo.measures import Batch, find_measures, measure_network

__all__ = ["MeasureRecorder"]


class MeasureRecorder(NetworkRecorder):
    """Writes training-free measures once, before training, on rank 0.

    They go to every logger (as ``measures/...``), to ``run.json`` beside the topology, and as a table to the terminal;
    measures without a value for this network are listed with the reason. The images are the first that ``seed`` would
    train on alone, so that their number of processes and batch size do not matter. The network, its mode, its buffers
    and all random state stay as they were. A resumed run does not measure again.

    Args:
        measures: Names of measures; ``all`` stands for all of them.
        images: Training images to measure at.
        seed: Draws the images and what the measures draw.

    Raises:
        ValueError: If a measure is unknown, or a number is out of range.
    """

    missed = "No measures are recorded"

    def __init__(self, measures: list[str] | str = "all", images: int = 64, seed: int = 0) -> None:
        require(bool(measures), "measures", "name at least one measure, or all", repr(measures))
        self.measures = [one.name for one in find_measures(measures)]
        self.images = require_integer("images", images, 1)
        self.seed = require_integer("seed", seed, 0)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and write."""
        self.measure(trainer, partial(self._record, trainer, pl_module))

    def _record(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if "measures" in read_run(trainer.default_root_dir) and trainer.ckpt_path:
            return
        data: Any = getattr(trainer, "datamodule", None)
        if not hasattr(data, "first_samples"):
            raise ValueError(f"Expected a data module of nnmass to draw images from, but got {type(data).__name__}.")
        batch = Batch(*data.first_samples(self.images, self.seed))
        found = measure_network(pl_module, batch, self.measures, self.seed)
        values = {name: one.value for name, one in found.items() if one.value is not None}
        for logger in trainer.loggers:
            logger.log_metrics({f"measures/{name}": value for name, value in values.items()}, step=0)
        record: dict[str, Any] = {
            "images": self.images,
            "seed": self.seed,
            "values": values,
            "not_measured": {name: one.reason for name, one in found.items() if one.value is None},
            "seconds": {name: round(one.seconds, 6) for name, one in found.items()},
        }
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            update_run(trainer.default_root_dir, measures=record)
        console = Console()
        console.print(rich_table(f"Measures, {self.images} images", ("measure", "value"), measure_rows(record)))
        for name, why in record["not_measured"].items():
            console.print(f"{name} is not measured: {why}", highlight=False, markup=False)
