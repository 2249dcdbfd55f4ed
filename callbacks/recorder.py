"""Callbacks that only record: their failures end neither the training nor another process's wait."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch.distributed
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from torch.utils._python_dispatch import TorchDispatchMode

from nnmass.callbacks.random_state import kept_random_states
from nnmass.runtime.hosts import hosts

__all__ = ["NetworkRecorder", "Recorder", "reason"]

# A measurement may take longer than the processes of a training wait for each other otherwise.
_PATIENCE = timedelta(days=7)


class Recorder(Callback):
    """A callback that only records: its first failure is printed, and the training goes on.

    Attributes:
        missed: How that line begins, such as ``No Jacobian is recorded``.
    """

    missed: str
    _has_said = False

    @contextmanager
    def tolerant(self) -> Iterator[None]:
        """Turn an exception within the block into one line of the output; later ones pass in silence."""
        try:
            yield
        except Exception as error:  # of the network, of the libraries that draw and write, of the disk
            self.say(reason(error))

    def say(self, why: str) -> None:
        """Print once what is missing and why."""
        if not self._has_said:
            print(f"{self.missed}: {why}")
        self._has_said = True


class NetworkRecorder(Recorder):
    """A recorder that measures the network: in the first process, while the others wait as long as it takes.

    Where no process holds the whole network, it is not measured, and that is said before the training.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print a line if the network cannot be measured."""
        if stage == "fit" and trainer.is_global_zero and not _holds_all(trainer):
            self.say(f"{type(trainer.strategy).__name__} does not keep the whole network in one process.")

    def measure(self, trainer: Trainer, record: Callable[[], None]) -> None:
        """Let the first process record; random states stay as they were, and a failure does no harm.

        Args:
            trainer: All its processes must come here.
            record: Measures and writes. What would exchange values with the other processes, which wait, is refused.
        """
        if not _holds_all(trainer):
            return
        several = trainer.world_size > 1
        group = hosts(trainer, _PATIENCE) if several else None
        if trainer.is_global_zero:
            alone = _Alone() if several else nullcontext()
            with self.tolerant(), kept_random_states(trainer.strategy.root_device), alone:
                record()
        if several:
            torch.distributed.barrier(group)


class _Alone(TorchDispatchMode):
    """Dispatch mode that refuses operators that exchange values with other processes."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace in ("c10d", "_c10d_functional"):
            raise ValueError(f"Expected a network that one process can run alone, but it calls {function}.")
        return function(*args, **(kwargs or {}))


def _holds_all(trainer: Trainer) -> bool:
    """Return whether a strategy is known to keep the whole network in each process."""
    strategy = trainer.strategy
    replicated = isinstance(strategy, DDPStrategy) and not isinstance(strategy, DeepSpeedStrategy)
    return replicated or isinstance(strategy, SingleDeviceStrategy)


def reason(error: Exception) -> str:
    """The message of an error in one line.

    Example:
        >>> reason(KeyError("val/loss"))
        "KeyError: 'val/loss'"
        >>> reason(OSError(28, "No space left on device", "curves.png"))
        'curves.png: No space left on device'
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if not text or isinstance(error, LookupError):
        return f"{type(error).__name__}: {text}".removesuffix(": ")
    return text
