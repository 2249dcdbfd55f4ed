"""The configuration of a training that is not to begin here, such as one that is handed to SLURM."""

from contextlib import ExitStack

from jsonargparse import Namespace

from nnmass.commands.training.lightning_cli import TrainingCLI
from nnmass.runtime.signals import StopSignals

__all__ = ["parsed_fit"]


class _ParsedOnly(TrainingCLI):
    """The command line, read and no more."""

    def instantiate_classes(self) -> None:
        """Nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing."""


def parsed_fit(arguments: list[str]) -> Namespace:
    """The whole configuration that ``fit`` would have with these arguments.

    Args:
        arguments: What follows ``fit``, every ``--config`` resolved.

    Raises:
        ValueError: If it is wrong; as ``fit`` would say it.
    """
    with ExitStack() as cleanup:
        return _ParsedOnly("", ["fit", *arguments], cleanup, StopSignals()).config.fit
