"""The command line of a training or an evaluation: parsed by LightningCLI, and built when it is asked for."""

from enum import Enum
from typing import Any, NamedTuple

import yaml
from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from nnmass import callbacks, datamodules, zoo
from nnmass.commands.options.trainer_rules import require_sensible, require_work
from nnmass.commands.training.from_checkpoint import require_as_trained
from nnmass.runtime.class_paths import whole_arguments
from nnmass.runtime.configuration import (
    PARSER_OPTIONS,
    add_model_and_data,
    add_seed,
    errors_explained,
    require_network_class,
)
from nnmass.runtime.union_order import read_integers_first
from nnmass.runtime.written_config import readable_again, without_open_arguments
from nnmass.zoo.weights.description import Description

__all__ = ["Built", "TrainingCLI", "parsed_fit"]

# What a command alone decides, and no configuration.
_OF_THE_COMMAND = ("config", "ckpt_path", "checkpoint_minutes")

# Loaded, so that a configuration may name them in a list, without their module.
_CALLBACKS = [getattr(callbacks, name) for name in dir(callbacks)]

# Defaults of some classes are words of an enumeration, such as that of Timer's interval.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, word: dumper.represent_data(word.value))


class Built(NamedTuple):
    """Model, data and trainer that a command line describes.

    Attributes:
        model: The model, which can be copied: callbacks that average weights do.
        data: The data module; nothing is loaded yet.
        trainer: Arguments of the trainer, its callbacks and loggers made.
    """

    model: zoo.Classifier
    data: datamodules.DataModule
    trainer: Namespace


class TrainingCLI(LightningCLI):
    """A command line that is parsed, with the seed set; model and data are built by :meth:`build`, and nothing is run.

    Lightning's constructor calls back in this order:

    1. for each subcommand ``_prepare_subcommand_parser``, and from there ``add_default_arguments_to_parser``,
       ``add_core_arguments_to_parser`` and ``add_arguments_to_parser``;
    2. ``parse_arguments``, which also holds the options against what they may be;
    3. ``_parse_ckpt_path``, ``instantiate_classes`` and ``_run_subcommand``, which do nothing here.

    Args:
        arguments: Subcommand and options, every ``--config`` resolved.
        described: A trained network by which other data are to be evaluated.

    Attributes:
        subcommand: ``fit``, ``validate`` or ``test``.
        options: Its options, parsed.

    Raises:
        ValueError: If something is wrong with them, in one sentence.
    """

    def __init__(self, arguments: list[str], described: Description | None = None) -> None:
        self.described = described
        super().__init__(
            zoo.Classifier,
            datamodules.DataModule,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False},
            parser_kwargs={name: dict(PARSER_OPTIONS) for name in self.subcommands()} | dict(PARSER_OPTIONS),
            auto_configure_optimizers=False,
            args=arguments,
        )

    @property
    def options(self) -> Namespace:
        """The subcommand's options."""
        return self.config[self.config.subcommand]

    def configuration(self) -> dict[str, Any]:
        """Return the whole configuration as plain values, without what the command alone decides."""
        dump = self._parser(self.subcommand).dump(self.options, skip_unset=False, skip_link_targets=True)
        plain = readable_again(yaml.safe_load(dump), self.options)
        kept = {key: value for key, value in plain.items() if key not in _OF_THE_COMMAND}
        return without_open_arguments(kept)

    def build(self) -> Built:
        """Build model, data, callbacks and loggers, of which each has options in the configuration."""
        built = self.parser.instantiate(self.config)[self.subcommand]
        make = built.model.optimizer  # refers to this command, of which there can be no copy
        built.model.optimizer = lambda parameters: make(parameters)
        if self.described is not None:
            require_as_trained(built.data, self.described)
        return Built(built.model, built.data, built.trainer)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return Lightning's subcommands, and the arguments of each that are not the user's."""
        skipped = LightningCLI.subcommands()
        return {
            name: skipped[name] | {"verbose", "weights_only", "return_predictions"}
            for name in ("fit", "validate", "test")
        }

    def _prepare_subcommand_parser(self, klass: Any, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Add checkpoints to ``fit`` alone."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            help_text = "Minutes between two checkpoints within an epoch."
            parser.add_argument("--checkpoint_minutes", type=float, default=15.0, help=help_text)
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed."""
        add_seed(parser)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add trainer, model and data."""
        read_integers_first(Trainer.__init__)
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})
        add_model_and_data(parser)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that are neither Lightning's nor a class's."""
        parser.add_argument("--output_dir", type=str, default="runs", help="Folder in which each run gets its own.")
        parser.add_argument("--tf32", type=bool, default=True, help="On NVIDIA GPUs, round the factors of float32.")
        help_text = "Epochs to add to a finished run, as a new run."
        parser.add_argument("--extend", type=int | list[int] | None, default=None, help=help_text)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse exactly these arguments, and hold them against what they may be."""
        with errors_explained(self._subcommand_parsers[args[0]]):
            self.config = parser.parse_args(whole_arguments(args))
        require_sensible(self.options)
        require_work(args[0], self.options)
        require_network_class(self.options.model.network.class_path)

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration alone: a checkpoint never overrides what the command says."""

    def instantiate_classes(self) -> None:
        """Leave that to :meth:`build`."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Leave that to whoever has built the parts."""


def parsed_fit(arguments: list[str]) -> Namespace:
    """Return the whole configuration that ``fit`` would have with these arguments.

    Args:
        arguments: What follows ``fit``, every ``--config`` resolved.

    Raises:
        ValueError: If it is wrong; as ``fit`` would say it.
    """
    return TrainingCLI(["fit", *arguments]).options
