"""One training or evaluation: all that it has is given to it, and what it does stands here in its order."""

import os
import sys
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from torch.nn.modules.batchnorm import _BatchNorm

from nnmass import callbacks, datamodules, zoo
from nnmass.callbacks.start_ups import StartUps
from nnmass.commands.options.trainer_rules import left_out
from nnmass.runtime.files import read_run, update_run
from nnmass.runtime.folders import RunLocation, checkpoints
from nnmass.runtime.launch import LOCATION_VARIABLE
from nnmass.runtime.messages import sentence
from nnmass.runtime.partial import part_seen
from nnmass.runtime.processes import is_lost_connection
from nnmass.runtime.signals import COME_BACK, Stopped, StopSignals
from nnmass.runtime.tables import results_table

__all__ = ["TrainingRun"]

_FEW_IMAGES = 32  # for the statistics of batch normalisation


class TrainingRun:
    """One training, or one evaluation, of a model that is built, in a folder that is claimed.

    In a training Lightning calls back in this order, each time the callbacks in that of their list, then the model:

    1. ``on_load_checkpoint`` where the run goes on, of the model first; ``configure_optimizers``; ``on_fit_start``; the
       validation of a few batches, to see that it works; ``on_train_start``;
    2. in each epoch ``on_train_epoch_start``; for each batch ``training_step`` and then ``on_train_batch_end``, where
       :class:`~nnmass.callbacks.ResumeCheckpoint` saves or stops; the hooks of the validation; ``on_train_epoch_end``,
       of callbacks that write checkpoints or stop early only after the model's;
    3. ``on_save_checkpoint`` whenever a checkpoint is written;
    4. ``on_train_end`` and ``on_fit_end``, or ``on_exception`` in place of what is left; then the hooks of each test.

    Args:
        subcommand: ``fit``, ``validate`` or ``test``.
        options: Its options, parsed.
        configuration: The whole of it, as plain values.
        model: What is trained or evaluated.
        data: On what.
        trainer: By what, with all callbacks and loggers.
        location: Where the run is on disk, and from which checkpoint it starts.
        best: Keeps the best checkpoint; None where none is kept.
        start_ups: Keeps the starts of a job; None where none are counted.
        signals: Those that ask the training to stop.
    """

    def __init__(
        self,
        subcommand: str,
        options: Namespace,
        configuration: dict[str, Any],
        model: zoo.Classifier,
        data: datamodules.DataModule,
        trainer: Trainer,
        location: RunLocation,
        best: ModelCheckpoint | None,
        start_ups: StartUps | None,
        signals: StopSignals,
    ) -> None:
        self.subcommand, self.options, self.configuration = subcommand, options, configuration
        self.model, self.data, self.trainer = model, data, trainer
        self.location, self.best, self.start_ups, self.signals = location, best, start_ups, signals

    def run(self) -> None:
        """Do what the subcommand asks for, and show what came out.

        Raises:
            Stopped: If it ends before its time; the message says how to go on.
        """
        if self.subcommand == "fit":
            self._fit()
        else:
            self._evaluate()

    def _fit(self) -> None:
        """Train, then test the last weights and the best checkpoint."""
        self._announce()
        self._call(self.trainer.fit, self.model, datamodule=self.data, ckpt_path=self._checkpoint())
        self._say_why_early()
        trainer: Any = self.trainer
        # A callback that averages weights would put those of the last step in their place again.
        trainer.callbacks = [part for part in trainer.callbacks if not isinstance(part, WeightAveraging)]
        best = self.best.best_model_path or None if self.best else None
        for checkpoint in (None, best) if best else (None,):
            self._call(self.trainer.test, self.model, datamodule=self.data, ckpt_path=checkpoint, verbose=False)
        self._note_the_end()
        if self.start_ups is not None:
            self.start_ups.forget()
        self._show_results()

    def _evaluate(self) -> None:
        """Evaluate a checkpoint on the validation or the test set."""
        evaluate = self.trainer.validate if self.subcommand == "validate" else self.trainer.test
        self._call(evaluate, self.model, datamodule=self.data, ckpt_path=self._checkpoint(), verbose=False)
        self._show_results()

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        """Call a method of the trainer, and say of whatever ends it before its time how to go on."""
        try:
            return method(*arguments, weights_only=True, **options)
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt(f"Stopped{self._how_to_go_on()}") from error
        except callbacks.TrainingStopped as stop:
            if LOCATION_VARIABLE in os.environ and not self.trainer.is_global_zero:
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

    def _checkpoint(self) -> str | None:
        """Return the path to start from; where there is no run on disk, it is the user's own."""
        return self.options.ckpt_path if self.options.trainer.fast_dev_run else self.location.checkpoint

    def _how_to_go_on(self) -> str:
        """Return the end of a sentence: how a run that has ended before its time is continued, if it can be."""
        folder = self.location.folder
        if folder is None or self.subcommand != "fit" or not checkpoints(folder):
            return "."
        if read_run(folder).get("status") != "finished":
            return "; continue the run with the same command and --ckpt_path last."
        return "."

    def _announce(self) -> None:
        """Tell the loggers the configuration, once; print what is easily overlooked before a training."""
        if not self.location.checkpoint:
            for logger in self.trainer.loggers:
                logger.log_hyperparams(self.configuration)
        if not self.trainer.is_global_zero:
            return
        if self.location.checkpoint:
            print(f"Going on at step {self.location.resume_step:,} of the run in {self.location.folder}.")
        size, synchronised = self.data.batch_size, self.options.trainer.sync_batchnorm
        normalised = any(isinstance(part, _BatchNorm) for part in self.model.modules())
        if self.trainer.world_size > 1 and normalised and not synchronised and size < _FEW_IMAGES:
            print(
                f"Batch normalisation sees the {size} images of one process only; with fewer than {_FEW_IMAGES}, "
                "--trainer.sync_batchnorm true (GPUs) lets it see those of all."
            )
        if self.model.has_frozen_part:
            numbers = [(weights.numel(), weights.requires_grad) for weights in self.model.network.parameters()]
            learning, after = sum(number for number, learns in numbers if learns), self.model.unfreeze_epoch
            later = f", and all of them after epoch {after}" if after else ""
            print(f"{learning:,} of {sum(number for number, _ in numbers):,} parameters learn{later}.")
        for line in left_out(self.options):
            print(line)

    @rank_zero_only
    def _say_why_early(self) -> None:
        """Say why a training has ended before its last epoch, if it has."""
        folder = self.location.folder
        reason = read_run(folder).get("stopped_early") if folder else None
        if reason:
            epochs, planned = self.trainer.current_epoch, self.trainer.max_epochs
            print(f"The training has ended after {epochs} of {planned} epochs: {reason}")

    @rank_zero_only
    def _note_the_end(self) -> None:
        """Note that a run which was trained to its end is tested, too."""
        folder = self.location.folder
        if folder is not None and read_run(folder).get("status") == "trained":
            update_run(folder, status="finished")

    @rank_zero_only
    def _show_results(self) -> None:
        """Print the figures beside the topology."""
        folder = self.location.folder
        record = read_run(folder) if folder else {}
        if self.subcommand != "fit":
            status = record.get("status", "finished")
            ended = "" if status in ("finished", "trained") else f", whose training was {status}"
            print(f"Of {self.location.checkpoint or 'the untrained network'}{ended}:")
        parts = {stage: part_seen(self.trainer, stage) for stage in ("val", "test")}
        Console().print(results_table(record, self.trainer.callback_metrics, parts))
        if folder is not None and self.subcommand != "validate":
            print(f"The results are in {folder}.")
