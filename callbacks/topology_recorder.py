"""Record of the network's topology, before it is trained."""

from functools import partial
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from rich.console import Console

from nnmass.callbacks.recorder import NetworkRecorder
from nnmass.runtime.files import read_run, update_run
from nnmass.runtime.tables import topology_table
from nnmass.zoo.reader.topology import topology

__all__ = ["TopologyRecorder"]


class TopologyRecorder(NetworkRecorder):
    """Writes NN-Mass, densities, average degree, parameters and MACs once, before training, on rank 0.

    They go to every logger (as ``topology/...``), to ``run.json`` in the trainer's ``default_root_dir`` and, as a
    table, to the terminal; a network whose topology cannot be read is trained all the same, and a line says why. The
    network, its mode, its buffers and all random state stay as they were. A resumed run does not write them again.
    """

    missed = "No topology is recorded"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and write."""
        self.measure(trainer, partial(_record, trainer, pl_module))


def _record(trainer: Trainer, pl_module: LightningModule) -> None:
    if "topology" in read_run(trainer.default_root_dir) and trainer.ckpt_path:
        return
    datamodule: Any = getattr(trainer, "datamodule", None)
    record = topology(pl_module, getattr(datamodule, "input_size", None))
    metrics = {f"topology/{name}": value for name, value in record.as_dict().items() if isinstance(value, int | float)}
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=0)
    if not trainer.fast_dev_run:  # type: ignore[attr-defined]
        update_run(trainer.default_root_dir, topology=record.as_dict())
    Console().print(topology_table(record.as_dict()))
