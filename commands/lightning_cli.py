"""LightningCLI with a run folder, a recorded topology and resumable runs."""

import logging
import os
import shlex
import sys
import warnings
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console

import callbacks
import datamodules
import zoo
from callbacks.checkpoint_io import read_checkpoint
from callbacks.run_file import read_run, update_run, write_atomically
from callbacks.tables import results_table
from commands.option_errors import explain
from commands.run_folders import claim, configuration_id, find_run, new_run, run_of_checkpoint

__all__ = ["TrainingCLI", "quieten"]

_STRICT = {"exit_on_error": False, "allow_abbrev": False}

# Processes that Lightning starts for further devices inherit the folder that the first one made.
_FOLDER_VARIABLE = "NNMASS_RUN_FOLDER"


class TrainingCLI(LightningCLI):
    """One configuration in, one run folder out.

    Args:
        name: The configuration's name, for the folder.
        arguments: The command line, every ``--config`` resolved.
        cleanup: What must be undone when the command ends, whichever way it does.
    """

    def __init__(self, name: str, arguments: list[str], cleanup: ExitStack) -> None:
        self.name = name
        self.cleanup = cleanup
        self.folder: Path | None = None
        self.resume_step = 0
        super().__init__(
            zoo.Classifier,
            datamodules.ImageDataModule,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
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

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The seed; an integer only, because Lightning takes ``true`` for the seed 0."""
        parser.add_argument(
            "--seed_everything", type=int, default=0, help="Decides links, initial weights, data order, augmentation."
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What the data decides is linked to the network, and the one seed to both."""
        parser.add_argument("--output_dir", type=str, default="runs", help="Folder in which each run gets its own.")
        for fact in ("num_classes", "in_chans"):
            parser.link_arguments(f"data.{fact}", f"model.network.init_args.{fact}", apply_on="instantiate")
        for key in ("model.network", "data"):
            parser.link_arguments("seed_everything", f"{key}.init_args.seed")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's subcommands, and the arguments of each that are not the user's."""
        ours = {"verbose", "weights_only", "return_predictions"}
        return {name: skipped | ours for name, skipped in LightningCLI.subcommands().items()}

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration alone: a checkpoint never overrides what the command says."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Find or make the run folder, and put loggers, callbacks and checkpoints into it."""
        config = self.config[self.subcommand]
        trainer_config = self.config_init[self.subcommand].trainer
        if trainer_config.fast_dev_run:
            return super().instantiate_trainer(callbacks=self._own_callbacks(trainer_config, None), **kwargs)
        self._choose_folder(config)
        folder = self.folder or Path(config.output_dir)
        if trainer_config.plugins is None:
            kwargs["plugins"] = [callbacks.AtomicCheckpointIO()]
        return super().instantiate_trainer(
            default_root_dir=str(folder),
            callbacks=self._own_callbacks(trainer_config, self.folder),
            logger=self._loggers(trainer_config.logger) if self.subcommand == "fit" and self.folder else False,
            **kwargs,
        )

    def fit(self, **kwargs: Any) -> None:
        """Train, then test the best checkpoint, then show what came out."""
        try:
            self.trainer.fit(**kwargs, weights_only=True)
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from error
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "") or None
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best, weights_only=True, verbose=False)
        self._show_results()

    def validate(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the validation set."""
        self.trainer.validate(**kwargs, weights_only=True, verbose=False)
        self._show_results()

    def test(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the test set."""
        self.trainer.test(**kwargs, weights_only=True, verbose=False)
        self._show_results()

    def predict(self, **kwargs: Any) -> None:
        """Class probabilities of the test set."""
        self.trainer.predict(**kwargs, weights_only=True)

    def _choose_folder(self, config: Namespace) -> None:
        """Decide the run folder and the checkpoint; only the first process looks and makes."""
        if getattr(rank_zero_only, "rank", 0) != 0:
            folder, checkpoint = os.environ.get(_FOLDER_VARIABLE, os.pathsep).split(os.pathsep)
            self.folder = Path(folder) if folder else None
            self._set_checkpoint(checkpoint or None)
            return
        dump = self._plain_config()
        identity = configuration_id(dump)
        output_dir, checkpoint = Path(config.output_dir), config.ckpt_path
        fitting = self.subcommand == "fit"
        if checkpoint in ("last", "best"):
            self.folder = find_run(output_dir, identity, self.name, checkpoint, unfinished=fitting)
            checkpoint = str(self.folder / "checkpoints" / f"{checkpoint}.ckpt")
        elif checkpoint is not None:
            if not Path(checkpoint).is_file():
                raise FileNotFoundError(f"Expected --ckpt_path to be a file, last or best, but got {checkpoint}.")
            self.folder = run_of_checkpoint(Path(checkpoint).absolute(), identity)
        elif not fitting:
            raise ValueError(
                f"Expected {self.subcommand} to be given --ckpt_path (a file, last or best), but got none."
            )
        if self.folder is None and fitting:
            self.folder = new_run(output_dir, self.name, identity)
        elif fitting:
            self.resume_step = read_checkpoint(Path(checkpoint))["global_step"]
        if self.folder is not None:
            self.cleanup.enter_context(claim(self.folder))
            if fitting:
                write_atomically(self.folder / "config.yaml", yaml.safe_dump(dump, sort_keys=False))
                update_run(self.folder, configuration_id=identity)
        self._set_checkpoint(checkpoint)
        self.cleanup.callback(os.environ.pop, _FOLDER_VARIABLE, None)
        os.environ[_FOLDER_VARIABLE] = f"{self.folder or ''}{os.pathsep}{checkpoint or ''}"

    def _set_checkpoint(self, checkpoint: str | None) -> None:
        self.config[self.subcommand].ckpt_path = checkpoint
        self.config_init[self.subcommand].ckpt_path = checkpoint

    def _plain_config(self) -> dict[str, Any]:
        """The whole resolved configuration as plain values, without what the command alone decides."""
        parser = self._parser(self.subcommand)
        config = self.config[self.subcommand]
        dump = yaml.safe_load(parser.dump(config, skip_none=False, skip_link_targets=True))
        return {key: value for key, value in dump.items() if key not in ("config", "ckpt_path", "weights_only")}

    def _loggers(self, chosen: Any) -> list[Logger]:
        """metrics.csv always; TensorBoard unless the configuration names other loggers, or none."""
        assert self.folder is not None
        table = callbacks.MetricsTable(self.folder, self.resume_step)
        if chosen in (None, True):
            events = TensorBoardLogger(self.folder, name="tensorboard", version="", purge_step=self.resume_step or None)
            return [table, events]
        others = chosen if isinstance(chosen, list) else [chosen] if chosen else []
        return [table, *others]

    def _own_callbacks(self, trainer_config: Namespace, folder: Path | None) -> list[Callback]:
        """The configuration's callbacks and those that every run has."""
        chosen = trainer_config.callbacks or []
        own: list[Callback] = [*(chosen if isinstance(chosen, list) else [chosen])]
        own += [callbacks.FiniteLoss(), _progress(trainer_config)]
        if self.subcommand == "fit":
            own.append(callbacks.TopologyRecorder())
        if folder is None:
            return own
        own.append(callbacks.RunRecorder(self._facts()))
        if self.subcommand == "fit":
            checkpoint = partial(ModelCheckpoint, folder / "checkpoints", enable_version_counter=False)
            own += [
                LearningRateMonitor("epoch"),
                callbacks.LearningCurves(),
                checkpoint("best", monitor="val/accuracy", mode="max"),
                checkpoint("last", save_on_train_epoch_end=True),
            ]
        return own

    def _facts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "seed": self.config[self.subcommand].seed_everything,
            "command": shlex.join(sys.argv),
            "network": type(self.model.network).__name__,
            "data": type(self.datamodule).__name__,
        }

    @rank_zero_only
    def _show_results(self) -> None:
        run = read_run(self.folder) if self.folder else {}
        Console().print(results_table(run, self.trainer.callback_metrics))
        if self.folder is not None:
            print(f"The results are in {self.folder}.")


def _progress(trainer_config: Namespace) -> Callback:
    if sys.stderr.isatty() and trainer_config.enable_progress_bar is not False:
        return TQDMProgressBar()
    trainer_config.enable_progress_bar = False
    return callbacks.EpochLines()


def quieten() -> None:
    """Keep Lightning's advice and banners out of the way of this program's own words."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks used to create")
    warnings.filterwarnings("ignore", message="The dirpath has changed from")
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
