"""LightningCLI with a run folder, a recorded topology and resumable runs."""

import os
import shlex
import sys
from contextlib import ExitStack, nullcontext
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import yaml
from jsonargparse import ArgumentError, Namespace
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import (
    Callback,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
    TQDMProgressBar,
    WeightAveraging,
)
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from torch.nn.modules.batchnorm import _BatchNorm

from nnmass import callbacks, datamodules, zoo
from nnmass.callbacks.start_ups import StartUps
from nnmass.commands.options.errors import explain
from nnmass.commands.options.lightning_options import listed, require_optimizer, require_supported
from nnmass.commands.options.monitors import require_logged
from nnmass.commands.options.resumable import for_beginning, for_going_on
from nnmass.commands.options.trainer_rules import left_out, require_devices, require_sensible, require_work
from nnmass.commands.training.links import (
    link_data_to_network,
    require_left_to_data,
    require_network_class,
    require_weights,
)
from nnmass.commands.training.predictions import predictions_table, some_unread
from nnmass.runtime.checkpoints import AtomicCheckpointIO, read_checkpoint, require_resumable
from nnmass.runtime.csv_text import csv_text
from nnmass.runtime.files import read_run, update_run, write_atomically
from nnmass.runtime.folders import (
    Place,
    checkpoints,
    claim,
    continued_run,
    find_run,
    new_run,
    newest_intact,
    require_progress,
    run_of_job,
)
from nnmass.runtime.identity import configuration_id, plain
from nnmass.runtime.launch import PLACE_VARIABLE, Launch, launched, require_launcher
from nnmass.runtime.messages import sentence
from nnmass.runtime.partial import part_seen
from nnmass.runtime.processes import agreed, is_lost_connection, number_of_devices
from nnmass.runtime.signals import COME_BACK, Stopped, StopSignals
from nnmass.runtime.tables import results_table
from nnmass.runtime.written_config import readable_again, write_devices
from nnmass.zoo.precision import tf32

__all__ = ["TrainingCLI"]

_PREDICTING = ("images", "predictions")

# Loaded, so that a configuration may name them without their module.
_CALLBACKS = [getattr(callbacks, name) for name in dir(callbacks)]

# Defaults of some classes are words of an enumeration, such as that of Timer's interval.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, word: dumper.represent_data(word.value))

_STRICT = {"exit_on_error": False, "allow_abbrev": False}


class TrainingCLI(LightningCLI):
    """One configuration in, one run folder out.

    Args:
        name: The configuration's name, for the folder.
        arguments: The command line, every ``--config`` resolved.
        cleanup: What must be undone when the command ends, whichever way it does.
        signals: The signals that ask a training to stop; given back where nothing could be saved.
    """

    def __init__(self, name: str, arguments: list[str], cleanup: ExitStack, signals: StopSignals) -> None:
        self.name = name
        self.signals = signals
        self.launch = Launch()
        self.command = shlex.join(["nnmass", *arguments])
        self.cleanup = cleanup
        self.place = Place(None, None, 0)
        self.best: ModelCheckpoint | None = None
        self.start_ups: StartUps | None = None
        super().__init__(
            zoo.Classifier,
            datamodules.DataModule,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False},
            parser_kwargs={name: dict(_STRICT) for name in self.subcommands()} | _STRICT,
            auto_configure_optimizers=False,
            args=arguments,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse exactly these arguments, and put what is wrong with them into one sentence."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise ValueError(explain(error, self._subcommand_parsers[args[0]])) from error
        require_sensible(self.config[args[0]])
        require_work(args[0], self.config[args[0]])
        require_network_class(self.config[args[0]].model.network.class_path)

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The seed; an integer only, because Lightning takes ``true`` for the seed 0."""
        parser.add_argument(
            "--seed_everything", type=int, default=0, help="Decides links, initial weights, data order, augmentation."
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What the data decides is linked to the network, and the one seed to both."""
        parser.add_argument("--output_dir", type=str, default="runs", help="Folder in which each run gets its own.")
        parser.add_argument("--tf32", type=bool, default=True, help="On NVIDIA GPUs, round the factors of float32.")
        write_devices()
        link_data_to_network(parser)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's subcommands, and the arguments of each that are not the user's."""
        skipped = LightningCLI.subcommands()
        return {
            name: skipped[name] | {"verbose", "weights_only", "return_predictions"}
            for name in ("fit", "validate", "test", "predict")
        }

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration alone: a checkpoint never overrides what the command says."""

    def instantiate_classes(self) -> None:
        """Build data, network and trainer, so that the network can be copied: callbacks that average weights do."""
        require_devices(self.config[self.subcommand].trainer)
        require_supported(self.config[self.subcommand].trainer)
        self._fit_to_launch(self.config[self.subcommand].trainer)
        if self.subcommand == "fit" and not self.config.fit.trainer.fast_dev_run:
            output_dir = Path(self.config.fit.output_dir).expanduser()
            self.start_ups = StartUps(output_dir, self.launch, configuration_id(self._plain_config()))
            self.start_ups.note()
        with self.signals.before_the_first_step() if self.subcommand == "fit" else nullcontext():
            super().instantiate_classes()
        build = self.model.optimizer  # refers to this command, of which there can be no copy
        self.model.optimizer = lambda parameters: build(parameters)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Find or make the run folder, and put loggers, callbacks and checkpoints into it."""
        trainer_config = self.config_init[self.subcommand].trainer
        if trainer_config.default_root_dir is not None:
            raise ValueError(
                "Expected --output_dir to say where the results go, but got trainer.default_root_dir "
                f"{trainer_config.default_root_dir}."
            )
        described = self.config[self.subcommand].model.network.get("init_args") or {}
        require_left_to_data(described, self.model.network, self.datamodule)
        if self.subcommand == "fit":
            require_weights(self.model.network)
            require_logged(trainer_config.callbacks, self.datamodule.num_classes)
            require_optimizer(self.model.optimizer, list(self.model.parameters()))
        self.cleanup.enter_context(tf32(self.config[self.subcommand].tf32))
        if not trainer_config.fast_dev_run:
            self._decide_place()
        folder = self.place.folder
        plugins = listed(trainer_config.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        if self.subcommand == "predict":
            if self.launch.world_size > 1:
                message = f"Expected predict to run in one process, but {self.launch.by} has started"
                raise ValueError(f"{message} {self.launch.world_size}.")
            kwargs |= {"devices": _one_of(trainer_config.devices), "num_nodes": 1}
        if self.launch.by == "SLURM":
            plugins.append(SLURMEnvironment(auto_requeue=False))  # the job file does that
        elif not self.launch.by and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins.append(LightningEnvironment())  # else it may take what is left of a job for one
        return super().instantiate_trainer(
            default_root_dir=str(folder) if folder else None,
            callbacks=self._callbacks(trainer_config, folder),
            logger=self._loggers(trainer_config.logger, folder),
            plugins=plugins,
            **kwargs,
        )

    def before_fit(self) -> None:
        """Tell the loggers the configuration, once; warn of what is easily overlooked with several processes."""
        if not self.place.checkpoint:
            for logger in self.trainer.loggers:
                logger.log_hyperparams(self._plain_config())
        elif self.trainer.is_global_zero:
            print(f"Going on at step {self.place.resume_step:,} of the run in {self.place.folder}.")
        size, several = self.datamodule.batch_size, self.trainer.world_size > 1
        synchronised = self.config.fit.trainer.sync_batchnorm
        normalised = any(isinstance(part, _BatchNorm) for part in self.model.modules())
        if several and normalised and not synchronised and size < 32 and self.trainer.is_global_zero:
            print(
                f"Batch normalisation sees the {size} images of one process only; with fewer than 32, "
                "--trainer.sync_batchnorm true (GPUs) lets it see those of all."
            )

    def fit(self, **kwargs: Any) -> None:
        """Train, then test the last weights and the best checkpoint, then show what came out."""
        for line in left_out(self.config.fit) if self.trainer.is_global_zero else ():
            print(line)
        self._call(self.trainer.fit, **kwargs)
        self._say_why_early()
        trainer: Any = self.trainer
        # A callback that averages weights would put those of the last step in their place again.
        trainer.callbacks = [part for part in trainer.callbacks if not isinstance(part, WeightAveraging)]
        best = self.best.best_model_path or None if self.best else None
        for checkpoint in (None, best) if best else (None,):
            self._call(self.trainer.test, self.model, datamodule=self.datamodule, ckpt_path=checkpoint, verbose=False)
        self._note_the_end()
        if self.start_ups is not None:
            self.start_ups.forget()
        self._show_results()

    @rank_zero_only
    def _say_why_early(self) -> None:
        reason = read_run(self.place.folder).get("stopped_early") if self.place.folder else None
        if reason:
            epochs, planned = self.trainer.current_epoch, self.trainer.max_epochs
            print(f"The training has ended after {epochs} of {planned} epochs: {reason}")

    @rank_zero_only
    def _note_the_end(self) -> None:
        folder = self.place.folder
        if folder is not None and read_run(folder).get("status") == "trained":
            update_run(folder, status="finished")

    def validate(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the validation set."""
        self._call(self.trainer.validate, **kwargs, verbose=False)
        self._show_results()

    def test(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the test set."""
        self._call(self.trainer.test, **kwargs, verbose=False)
        self._show_results()

    def predict(self, **kwargs: Any) -> None:
        """Classify the images of a folder."""
        options = self.config.predict
        images, names = self.datamodule.choose_images(Path(options.images).expanduser()), self.datamodule.class_names
        file = Path(options.predictions).expanduser()
        if file.exists():
            raise ValueError(f"Expected --predictions to be a file that does not exist yet, but {file} does.")
        batches = self._call(self.trainer.predict, **kwargs)
        if not batches:
            raise ValueError("Expected trainer.limit_predict_batches to be more than 0, but got 0.")
        table = predictions_table(images.paths, images.read, torch.cat(batches), names)
        write_atomically(file, csv_text(table))
        part = f" of {len(images.paths):,}" if len(table) + len(images.unread) < len(images.paths) else ""
        print(f"Written to {file}: {len(table):,}{part} images.")
        if images.unread:
            raise Stopped(some_unread(images.unread, file), 1)

    def _prepare_subcommand_parser(self, klass: Any, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """``fit`` alone writes checkpoints; ``predict`` alone says what to predict, and where to write it."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            help_text = "Minutes between two checkpoints within an epoch."
            parser.add_argument("--checkpoint_minutes", type=float, default=15.0, help=help_text)
        if subcommand == "predict":
            parser.add_argument("--images", type=str, required=True, help="Folder of images to classify.")
            parser.add_argument("--predictions", type=str, default="predictions.csv", help="CSV to write.")
        return parser

    def _call(self, method: Any, *arguments: Any, **kwargs: Any) -> Any:
        try:
            return method(*arguments, weights_only=True, **kwargs)
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt(f"Stopped{self._how_to_go_on()}") from error
        except callbacks.TrainingStopped as stop:
            if PLACE_VARIABLE in os.environ and not self.trainer.is_global_zero:
                sys.exit(0)  # Lightning kills the first process as soon as one that it has started fails
            status = COME_BACK if stop.come_back else self.signals.exit_status
            if not self.trainer.is_global_zero:
                sys.exit(status)
            raise Stopped(f"{stop} by {self.signals.received_name}{self._how_to_go_on()}", status) from stop
        except Exception as error:
            if self.trainer.world_size == 1 or not is_lost_connection(error):
                raise Stopped(f"{sentence(error).removesuffix('.')}{self._how_to_go_on()}", 2) from error
            rank, size = self.trainer.global_rank, self.trainer.world_size
            message = f"Process {rank} of {size} stops, because it has lost the connection to another"
            raise Stopped(f"{message}{self._how_to_go_on()}", 1) from error

    def _how_to_go_on(self) -> str:
        folder = self.place.folder
        if folder is None or self.subcommand != "fit" or not checkpoints(folder):
            return "."
        if read_run(folder).get("status") != "finished":
            return "; continue the run with the same command and --ckpt_path last."
        return "."

    def _fit_to_launch(self, trainer_config: Namespace) -> None:
        """Hold the configuration against the processes that were started."""
        self.launch = launch = launched()
        devices = trainer_config.devices
        if not launch.by:
            if self.subcommand != "predict":  # which is one process whatever the configuration says
                number = number_of_devices(-1 if devices == "auto" else devices)
                require_launcher(trainer_config.num_nodes, number)
            return
        self.signals.deaf_afterwards = launch.by == "SLURM"
        if launch.by == "SLURM":
            os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(launch.per_node))  # Lightning asks for it
        if devices == "auto":
            trainer_config.devices = launch.per_node
        else:
            launch.require("devices", devices, number_of_devices(devices), launch.per_node)
        launch.require("num_nodes", trainer_config.num_nodes, trainer_config.num_nodes, launch.num_nodes)

    def _decide_place(self) -> None:
        """Decide run folder and checkpoint; the first process looks and makes, the others are told."""
        if self.launch.world_size > 1:
            on_gpu = torch.cuda.is_available() and self.config[self.subcommand].trainer.accelerator != "cpu"
            self.place = agreed(self.launch, self._choose_place, on_gpu, self.cleanup)
        elif getattr(rank_zero_only, "rank", 0) != 0:
            self.place = Place.from_json(os.environ[PLACE_VARIABLE])
        else:
            self.place = self._choose_place()
            self.cleanup.callback(os.environ.pop, PLACE_VARIABLE, None)
            os.environ[PLACE_VARIABLE] = self.place.to_json()
        self.config[self.subcommand].ckpt_path = self.place.checkpoint
        self.config_init[self.subcommand].ckpt_path = self.place.checkpoint

    def _choose_place(self) -> Place:
        config, dump = self.config[self.subcommand], self._plain_config()
        identity = configuration_id(dump)
        output_dir, checkpoint = Path(config.output_dir).expanduser(), config.ckpt_path
        fitting = self.subcommand == "fit"
        folder, content = None, None
        if fitting and self.launch.restarts:
            folder = run_of_job(output_dir, identity, self.launch.job)
        if folder is not None:
            checkpoint, content = newest_intact(folder, required=False)
            require_progress(folder, content["global_step"] if content else 0)
        elif checkpoint == "last":
            folder = find_run(output_dir, dump, self.name, checkpoint, fitting)
            checkpoint, content = newest_intact(folder)
        elif checkpoint == "best":
            folder = find_run(output_dir, dump, self.name, checkpoint, fitting)
            checkpoint = str(folder / "checkpoints" / "best.ckpt")
        elif checkpoint is not None:
            if not Path(checkpoint).expanduser().is_file():
                raise FileNotFoundError(f"Expected --ckpt_path to be a file, last or best, but got {checkpoint!r}.")
            checkpoint = str(Path(checkpoint).expanduser().resolve())
            folder = continued_run(Path(checkpoint), identity, dump, fitting)
        elif not fitting:
            raise ValueError(
                f"Expected {self.subcommand} to be given --ckpt_path (a file, last or best), but got none."
            )
        if checkpoint and content is None:
            content = read_checkpoint(Path(checkpoint))
        if content is not None:
            self._hold_against(content, Path(checkpoint))
        if fitting:
            self.datamodule.prepare_data()  # without its data no run begins
            if folder is None:
                folder = new_run(output_dir, self.name, identity)
        if folder is not None and self.subcommand in ("fit", "test"):  # which write into it
            self.cleanup.enter_context(claim(folder))
            for part in folder.rglob(".*.part"):  # of a process that was killed while it wrote
                part.unlink()
        if fitting and folder is not None:
            write_atomically(folder / "config.yaml", yaml.safe_dump(dump, sort_keys=False))
            job = self.launch.job
            update_run(folder, name=self.name, configuration_id=identity, configuration=plain(dump), job=job)
        return Place(folder, checkpoint, content["global_step"] if content and fitting else 0)

    def _hold_against(self, content: dict[str, Any], checkpoint: Path) -> None:
        """Whether a checkpoint fits the network; if not, where the configuration is that it fits."""
        if self.subcommand == "fit":
            require_resumable(content, checkpoint)
        try:
            self.model.on_load_checkpoint(content)
        except ValueError as error:
            config = checkpoint.parent.parent / "config.yaml"
            hint = f"; it was trained with --config {config}." if config.is_file() else "."
            raise ValueError(f"{str(error).rstrip('.')}{hint}") from error

    def _plain_config(self) -> dict[str, Any]:
        """The whole resolved configuration as plain values, without what the command alone decides."""
        parser = self._parser(self.subcommand)
        config = self.config[self.subcommand]
        dump = yaml.safe_load(parser.dump(config, skip_none=False, skip_link_targets=True))
        return {
            key: value
            for key, value in readable_again(dump, config).items()
            if key not in ("config", "ckpt_path", "checkpoint_minutes", *_PREDICTING)
        }

    def _loggers(self, chosen: Any, folder: Path | None) -> list[Logger] | bool:
        """metrics.csv always; TensorBoard unless the configuration names other loggers, or none."""
        if folder is None or self.subcommand != "fit":
            return False
        if chosen in (None, True):
            purge_step = self.place.resume_step or None
            chosen = TensorBoardLogger(
                folder, name="tensorboard", version="", purge_step=purge_step, default_hp_metric=False
            )
        others = chosen if isinstance(chosen, list) else [chosen] if chosen else []
        return [callbacks.MetricsTable(folder), *map(callbacks.TolerantLogger, others)]

    def _callbacks(self, trainer_config: Namespace, folder: Path | None) -> list[Callback]:
        """The configuration's callbacks and those that every run has."""
        own: list[Callback] = listed(trainer_config.callbacks)
        resumable = self.subcommand == "fit" and folder is not None and trainer_config.enable_checkpointing is not False
        if self.subcommand != "fit":
            own = [part for part in own if not isinstance(part, WeightAveraging)]  # a checkpoint holds the average
        if self.subcommand == "fit":
            if resumable:
                own = for_going_on(own) if self.place.checkpoint else for_beginning(own)
            own += [callbacks.CompleteResume(), callbacks.AverageNotes()]  # after those whose state is completed
        own = _with_progress([*own, callbacks.FiniteLoss(), callbacks.DataWait()], trainer_config)
        if self.subcommand == "fit":
            own += [callbacks.TopologyRecorder(), callbacks.GradientBuckets(), callbacks.StepProtocol()]
            own += [self.start_ups] if self.start_ups is not None else []
        if not resumable:
            self.signals.give_back()
        if folder is None or self.subcommand == "predict":
            return own
        own += [callbacks.RunRecorder(self._facts()), callbacks.ConfusionMatrix()]
        if self.subcommand == "fit":
            own += [LearningRateMonitor("epoch"), callbacks.MetricsHistory(), callbacks.LearningCurves()]
        if resumable:
            place, minutes = folder / "checkpoints", self.config[self.subcommand].checkpoint_minutes
            self.best = ModelCheckpoint(place, "best", "val/accuracy", mode="max", enable_version_counter=False)
            own += [callbacks.RandomState(), self.best, callbacks.ResumeCheckpoint(place, self.signals, minutes)]
        return own

    def _facts(self) -> dict[str, Any]:
        return {
            "seed": self.config[self.subcommand].seed_everything,
            "command": self.command,
            "network": type(self.model.network).__name__,
            "data": type(self.datamodule).__name__,
            "val_on_test": self.datamodule.val_on_test,
        }

    @rank_zero_only
    def _show_results(self) -> None:
        folder = self.place.folder
        if self.subcommand != "fit":
            status = read_run(folder).get("status", "finished") if folder else "finished"
            ended = "" if status in ("finished", "trained") else f", whose training was {status}"
            print(f"Of {self.place.checkpoint or 'the untrained network'}{ended}:")
        parts = {stage: part_seen(self.trainer, stage) for stage in ("val", "test")}
        Console().print(results_table(read_run(folder) if folder else {}, self.trainer.callback_metrics, parts))
        if folder is not None and self.subcommand != "validate":
            print(f"The results are in {folder}.")


def _one_of(devices: Any) -> Any:
    """The first of the devices that are named, else any one; Lightning takes ``"2,"`` for a list."""
    named = devices.split(",") if isinstance(devices, str) and "," in devices else devices
    return [int(named[0])] if isinstance(named, list) else 1


def _with_progress(own: list[Callback], trainer_config: Namespace) -> list[Callback]:
    """These callbacks with a progress bar, theirs or Lightning's; without a terminal, with a line per epoch instead."""
    if sys.stdout.isatty() and trainer_config.enable_progress_bar is not False:
        return own if any(isinstance(part, ProgressBar) for part in own) else [*own, TQDMProgressBar()]
    trainer_config.enable_progress_bar = False
    return [*(part for part in own if not isinstance(part, ProgressBar)), callbacks.EpochLines()]
