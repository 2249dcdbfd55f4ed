"""fit, validate and test: find the configuration, then parse, prepare and run."""

import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack

from nnmass.commands.training.help import training_help
from nnmass.runtime.config_names import resolve_config_arguments
from nnmass.runtime.launch import launched
from nnmass.runtime.signals import StopSignals

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Run ``fit``, ``validate`` or ``test``.

    Args:
        arguments: The subcommand and what follows it on the command line.
    """
    words = list(arguments)
    if {"-h", "--help"} & set(words):
        print(training_help(words[0]), end="")
        return 0
    # Where to keep what it gets, if the configuration does not say: MLflow refuses its own default, a folder.
    os.environ.setdefault("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    everything = ["--help" if word == "--help-all" else word for word in words]
    # First of all, because loading torch takes seconds, in which a signal would end the process.
    with StopSignals() as signals:
        resolved, name = resolve_config_arguments(everything)
        launched()  # before Lightning is loaded, which reads the same variables
        # Only now, because it loads torch: a misspelt name is answered at once.
        from nnmass.commands.training.from_checkpoint import evaluation_words, names_checkpoint
        from nnmass.commands.training.lightning_cli import TrainingCLI
        from nnmass.commands.training.preparation import prepared_run
        from nnmass.runtime.quiet import quieten

        quieten()
        with ExitStack() as cleanup:
            described = None
            if names_checkpoint(resolved):
                whole, described = evaluation_words(resolved)
                resolved, name = resolve_config_arguments(whole)
            cli = TrainingCLI(resolved, described)
            prepared_run(cli, name, shlex.join(["nnmass", *resolved]), signals, cleanup).run()
    return 0
