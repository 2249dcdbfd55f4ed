"""fit, validate, test and predict: find the configuration, then hand over to Lightning."""

from collections.abc import Sequence
from contextlib import ExitStack

from commands.config_names import resolve_config_arguments
from commands.stop_signals import StopSignals

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Run ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        arguments: The subcommand and what follows it on the command line.
    """
    resolved, name = resolve_config_arguments(list(arguments))
    # First of all, because loading torch takes seconds, in which a signal would end the process.
    with StopSignals() as signals:
        # Only now, because it loads torch: a misspelt name is answered at once.
        from commands.lightning_cli import TrainingCLI, quieten

        quieten()
        with ExitStack() as cleanup:
            TrainingCLI(name, resolved, cleanup, signals)
    return 0
