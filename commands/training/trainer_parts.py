"""Callbacks, loggers and plugins of a run's trainer: the configuration's, and those that every run has."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateMonitor, ProgressBar, TQDMProgressBar, WeightAveraging
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.plugins.io import CheckpointIO

from nnmass import callbacks
from nnmass.callbacks.start_ups import StartUps
from nnmass.commands.options.lightning_options import listed
from nnmass.commands.options.resumable import for_beginning, for_going_on
from nnmass.runtime.checkpoints import AtomicCheckpointIO
from nnmass.runtime.folders import RunLocation

__all__ = [
    "evaluation_callbacks",
    "run_loggers",
    "run_plugins",
    "shows_progress_bar",
    "training_callbacks",
]


def training_callbacks(
    chosen: Any,
    location: RunLocation,
    facts: Mapping[str, Any],
    start_ups: StartUps | None,
    checkpoints: Sequence[Callback],
    shows_bar: bool,
) -> list[Callback]:
    """Return the callbacks of a training in the order in which the trainer calls them; checkpoints are written last.

    Args:
        chosen: The configuration's: several, one or None.
        location: Where the run is.
        facts: Of the run, for its record.
        start_ups: Keeps the starts of a job; None where none are counted.
        checkpoints: Keep the checkpoints; none where the run cannot be continued.
        shows_bar: Whether progress is a bar.

    Raises:
        ValueError: If the run can neither begin nor go on with one of the configuration's.
    """
    own: list[Callback] = listed(chosen)
    if checkpoints:
        own = for_going_on(own) if location.checkpoint else for_beginning(own)
    # After those whose state is completed.
    own += [callbacks.CompleteResume(), callbacks.KeptIntegers(), callbacks.AverageNotes()]
    own = _with_progress([*own, callbacks.FiniteLoss(), callbacks.DataWait()], shows_bar)
    own += [callbacks.TopologyRecorder(), callbacks.GradientBuckets(), callbacks.StepProtocol()]
    own += [start_ups] if start_ups is not None else []
    if location.folder is not None:
        own += [callbacks.RunRecorder(dict(facts)), callbacks.ConfusionMatrix()]
        own += [LearningRateMonitor("epoch"), callbacks.MetricsHistory(), callbacks.LearningCurves()]
    return [*own, callbacks.RandomState(), *checkpoints] if checkpoints else own


def evaluation_callbacks(chosen: Any, facts: Mapping[str, Any], records: bool, shows_bar: bool) -> list[Callback]:
    """Return the callbacks of an evaluation in the order in which the trainer calls them.

    Args:
        chosen: The configuration's: several, one or None.
        facts: Of the run, for its record.
        records: Whether the run's folder takes what comes out.
        shows_bar: Whether progress is a bar.
    """
    # A checkpoint holds the average of the weights already.
    own = [part for part in listed(chosen) if not isinstance(part, WeightAveraging)]
    own = _with_progress([*own, callbacks.FiniteLoss(), callbacks.DataWait()], shows_bar)
    return [*own, callbacks.RunRecorder(dict(facts)), callbacks.ConfusionMatrix()] if records else own


def shows_progress_bar(wanted: bool | None) -> bool:
    """Tell whether progress is shown as a bar: in a terminal, unless the configuration wants none."""
    return sys.stdout.isatty() and wanted is not False


def _with_progress(own: list[Callback], shows_bar: bool) -> list[Callback]:
    """These callbacks with a line per epoch, under it a progress bar where one is shown: theirs or Lightning's."""
    if not shows_bar:
        own = [part for part in own if not isinstance(part, ProgressBar)]
    elif not any(isinstance(part, ProgressBar) for part in own):
        own = [*own, TQDMProgressBar()]
    return [*own, callbacks.EpochLines()]


def run_loggers(chosen: Any, location: RunLocation) -> list[Logger]:
    """Return ``metrics.csv`` always; TensorBoard unless the configuration names other loggers, or none.

    Args:
        chosen: The configuration's loggers: several, one, None or false.
        location: Where the run is; it has a folder.
    """
    assert location.folder is not None
    if chosen in (None, True):
        purge_step = location.resume_step or None
        chosen = TensorBoardLogger(
            location.folder, name="tensorboard", version="", purge_step=purge_step, default_hp_metric=False
        )
    others = chosen if isinstance(chosen, list) else [chosen] if chosen else []
    return [callbacks.MetricsTable(location.folder), *map(callbacks.TolerantLogger, others)]


def run_plugins(chosen: Any, launcher: str) -> list[Any]:
    """Return the configuration's plugins, with whole checkpoints and the launcher's environment where it has none.

    Args:
        chosen: The configuration's plugins: several, one or None.
        launcher: ``SLURM``, ``torchrun``, or empty.
    """
    plugins = listed(chosen)
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(AtomicCheckpointIO())
    if launcher == "SLURM":
        plugins.append(SLURMEnvironment(auto_requeue=False))  # the job file does that
    elif not launcher and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        plugins.append(LightningEnvironment())  # else it may take what is left of a job for one
    return plugins
