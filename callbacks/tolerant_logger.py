"""A logger whose failure is printed once and does not end the training."""

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from nnmass.callbacks.recorder import reason

__all__ = ["TolerantLogger"]


class TolerantLogger(Logger):
    """Hands everything on to another logger; after that one's first failure, nothing more.

    A server that cannot be reached or a full disk may end a logger, but not a training of days.

    Args:
        logger: The other logger.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.logger, name)

    @property
    def name(self) -> str | None:
        """The other logger's name."""
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        """The other logger's version."""
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        """The other logger's folder."""
        return self.logger.save_dir

    @property
    def experiment(self) -> Any:
        """The object that the other logger writes to; None where it has failed or has none."""
        return self._try(lambda: getattr(self.logger, "experiment", None))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log numbers."""
        self._try(lambda: self.logger.log_metrics(metrics, step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log a configuration."""
        self._try(lambda: self.logger.log_hyperparams(params, *args, **kwargs))

    def save(self) -> None:
        """Save what was logged."""
        self._try(self.logger.save)

    def finalize(self, status: str) -> None:
        """End the log."""
        self._try(lambda: self.logger.finalize(status))

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Tell of a checkpoint."""
        self._try(lambda: self.logger.after_save_checkpoint(checkpoint_callback))

    def hand_to(self, action: Callable[[Logger], Any]) -> None:
        """Do something else with the other logger."""
        self._try(lambda: action(self.logger))

    def _try(self, action: Callable[[], Any]) -> Any:
        if self.failed:
            return None
        try:
            return action()
        except Exception as error:
            self.failed = True
            name = type(self.logger).__name__
            print(f"{name} has failed ({reason(error)}); the training goes on without.", file=sys.stderr)
            return None
