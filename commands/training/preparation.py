"""From a parsed command line to a run: what can be refused comes first, and what is written comes after it."""

import os
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from nnmass import callbacks
from nnmass.callbacks.start_ups import StartUps
from nnmass.commands.options.lightning_options import require_optimizer, require_supported
from nnmass.commands.options.monitors import require_logged
from nnmass.commands.options.trainer_rules import require_devices
from nnmass.commands.training.lightning_cli import Built, TrainingCLI
from nnmass.commands.training.location import LocationRequest, shared_location
from nnmass.commands.training.run import TrainingRun
from nnmass.commands.training.trainer_parts import (
    evaluation_callbacks,
    run_loggers,
    run_plugins,
    shows_progress_bar,
    training_callbacks,
)
from nnmass.runtime.configuration import require_left_to_data, require_weights, settled_arguments
from nnmass.runtime.extension import extension_of
from nnmass.runtime.folders import RunLocation
from nnmass.runtime.identity import configuration_id
from nnmass.runtime.launch import Launch, launched, require_launcher
from nnmass.runtime.processes import number_of_devices
from nnmass.runtime.signals import StopSignals
from nnmass.zoo.networks.names import name_of
from nnmass.zoo.precision import tf32

__all__ = ["prepared_run"]


def prepared_run(cli: TrainingCLI, name: str, command: str, signals: StopSignals, cleanup: ExitStack) -> TrainingRun:
    """Build a run, and make its folder once nothing of it is to be refused any more.

    Args:
        cli: The command line, parsed.
        name: The configuration's name, for the folder.
        command: The command line as it was given, for the record.
        signals: Those that ask a training to stop; given back where nothing could be saved.
        cleanup: Where is noted what must be undone when the command ends, whichever way it does.

    Raises:
        ValueError: If the run cannot be, in one sentence.
        FileNotFoundError: If there is no such checkpoint.
    """
    subcommand, options = str(cli.subcommand), cli.options
    fits, on_disk = subcommand == "fit", not options.trainer.fast_dev_run
    require_devices(options.trainer)
    require_supported(options.trainer)
    launch = launched()
    signals.deaf_afterwards = launch.by == "SLURM"
    _fit_to_launch(options.trainer, launch)
    configuration = cli.configuration()
    start_ups = None
    if fits and on_disk:
        start_ups = StartUps(Path(options.output_dir).expanduser(), launch, configuration_id(configuration))
        start_ups.note()
    extension = extension_of(configuration) if fits else None
    with signals.before_the_first_step() if fits else nullcontext():
        built = cli.build()
        if extension is not None:
            built.model.first_epoch, built.trainer.max_epochs = extension.first, extension.last
        _require_sound(built, subcommand, options)
        _require_trainer(built.trainer, launch)
        cleanup.enter_context(tf32(options.tf32))
        location = RunLocation(None, None, 0)
        if on_disk:
            request = LocationRequest(subcommand, options, configuration, name, launch, built.model, built.data)
            location = shared_location(request, cleanup)
        if location.checkpoint is not None:
            built.model.weights = None  # the file to start from need not be there any more
        resumable = fits and location.folder is not None and built.trainer.enable_checkpointing is not False
        checkpoints = _checkpoints(location, signals, options.checkpoint_minutes) if resumable else ()
        shows_bar, facts = shows_progress_bar(built.trainer.enable_progress_bar), _facts(built, options, command)
        if fits:
            own = training_callbacks(built.trainer.callbacks, location, facts, start_ups, checkpoints, shows_bar)
            own.insert(0, _description(options, configuration, built))
        else:
            own = evaluation_callbacks(built.trainer.callbacks, facts, location.folder is not None, shows_bar)
        if not resumable:
            signals.give_back()
        trainer = _trainer(built.trainer, subcommand, launch, location, own, shows_bar)
    best = checkpoints[0] if checkpoints else None
    return TrainingRun(
        subcommand, options, configuration, built.model, built.data, trainer, location, best, start_ups, signals
    )


def _fit_to_launch(trainer: Namespace, launch: Launch) -> None:
    """Hold the configuration against the processes that were started, and complete it by their number.

    Raises:
        ValueError: If they do not fit together.
    """
    devices = trainer.devices
    if not launch.by:
        require_launcher(trainer.num_nodes, number_of_devices(-1 if devices == "auto" else devices))
        return
    if launch.by == "SLURM":
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(launch.per_node))  # Lightning asks for it
    if devices == "auto":
        trainer.devices = launch.per_node
    else:
        launch.require("devices", devices, number_of_devices(devices), launch.per_node)
    launch.require("num_nodes", trainer.num_nodes, trainer.num_nodes, launch.num_nodes)


def _require_sound(built: Built, subcommand: str, options: Namespace) -> None:
    """Refuse model, data and trainer that do not go together.

    Raises:
        ValueError: It says which.
    """
    if built.trainer.default_root_dir is not None:
        raise ValueError(
            "Expected --output_dir to say where the results go, but got trainer.default_root_dir "
            f"{built.trainer.default_root_dir}."
        )
    require_left_to_data(options.model.network.get("init_args") or {}, built.model.network, built.data)
    if subcommand == "fit":
        require_weights(built.model.network)
        require_logged(built.trainer.callbacks, built.data.num_classes)
        require_optimizer(built.model.optimizer, list(built.model.parameters()))


def _require_trainer(options: Namespace, launch: Launch) -> None:
    """Let Lightning refuse what this machine does not have, or what does not go together, while nothing is written.

    A strategy, an accelerator or a plugin of the user's own serves one trainer alone, and is left to that.
    """
    if isinstance(options.strategy, str) and isinstance(options.accelerator, str) and not options.plugins:
        parts = {"callbacks": [], "logger": False, "profiler": None, "plugins": run_plugins(None, launch.by)}
        Trainer(**{**options, **parts, "enable_checkpointing": False, "enable_progress_bar": False})


def _facts(built: Built, options: Namespace, command: str) -> dict[str, Any]:
    """Return what the record of a run says of it that no callback can know."""
    network = options.model.network
    return {
        "seed": options.seed_everything,
        "command": command,
        "network": type(built.model.network).__name__,
        "network_name": name_of(network.class_path, network.get("init_args") or {}),
        "data": type(built.data).__name__,
        "val_on_test": built.data.val_on_test,
    }


def _description(options: Namespace, configuration: Mapping[str, Any], built: Built) -> Callback:
    """Return what describes the network in each checkpoint."""
    network, accepted = options.model.network, vars(options.model.network.get("init_args") or Namespace())
    plain = configuration["model"]["network"]
    arguments = settled_arguments(plain, accepted, built.data, options.seed_everything)
    return callbacks.CheckpointDescription(network.class_path, arguments)


def _checkpoints(location: RunLocation, signals: StopSignals, minutes: float) -> tuple[ModelCheckpoint, Callback]:
    """Return what keeps the checkpoints of a training: the best, and the one to go on from."""
    assert location.folder is not None
    folder = location.folder / "checkpoints"
    best = ModelCheckpoint(folder, "best", "val/accuracy", mode="max", enable_version_counter=False)
    return best, callbacks.ResumeCheckpoint(folder, signals, minutes)


def _trainer(
    options: Namespace, subcommand: str, launch: Launch, location: RunLocation, own: list[Callback], shows_bar: bool
) -> Trainer:
    """Make the trainer with the run's callbacks, loggers and plugins in place of the configuration's."""
    folder = location.folder
    loggers = run_loggers(options.logger, location) if folder is not None and subcommand == "fit" else False
    changes: dict[str, Any] = {
        "default_root_dir": str(folder) if folder else None,
        "callbacks": own,
        "logger": loggers,
        "plugins": run_plugins(options.plugins, launch.by),
    }
    if not shows_bar:
        changes["enable_progress_bar"] = False
    return Trainer(**{**options, **changes})
