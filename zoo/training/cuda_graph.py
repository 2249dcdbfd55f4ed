"""Forward and backward pass of a network as CUDA graphs, which a GPU replays without waiting for Python."""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from nnmass.zoo.fast.choice import for_a_graph

__all__ = ["TrainingGraph", "can_replay"]


def can_replay(trainer: Trainer | None) -> bool:
    """Return whether a training is on one device and steps at every batch: a replay overwrites the last gradients.

    Args:
        trainer: The trainer, if there is one.
    """
    return (
        trainer is not None
        and isinstance(trainer.strategy, SingleDeviceStrategy)
        and trainer.accumulate_grad_batches == 1
    )


class TrainingGraph:
    """The training steps of a network, captured once and replayed.

    The first batch in training mode is captured, and every one of its shape replayed; evaluations and batches of
    another shape run as they would. The network's parameters, running statistics and random numbers are the ones that
    are used. A copy has captured nothing.

    Attributes:
        replays: Steps that were replayed.
    """

    def __init__(self) -> None:
        self.replays = 0
        self._key: tuple = ()
        self._state: list[tuple] = []
        self._tensors: list[Tensor] = []
        self._replay: Callable[[Tensor], Tensor] | None = None

    def __reduce__(self) -> tuple:
        return type(self), ()

    def __call__(self, network: nn.Module, x: Tensor) -> Tensor:
        """Map inputs (N, ...) to the network's outputs.

        Args:
            network: On a GPU its code must not look at the values of tensors.
            x: Its input.

        Raises:
            RuntimeError: If the network cannot be captured; the message says how to do without.
        """
        with for_a_graph():
            return self._run(network, x)

    def _run(self, network: nn.Module, x: Tensor) -> Tensor:
        if not (x.is_cuda and network.training and torch.is_grad_enabled()):
            return network(x)
        # It may have been moved since, or frozen in part.
        if self._replay is None or self._state != [_state(tensor) for tensor in self._tensors]:
            self._capture(network, x)
        if self._replay is None or self._key != _key(network, x):
            return network(x)
        self.replays += 1
        return self._replay(x)

    def _capture(self, network: nn.Module, x: Tensor) -> None:
        self._replay = None
        gc.collect()  # what was captured before would be freed at any time, which would end a capture
        shell = nn.Sequential(network)  # whose forward is replaced, and not the network's own
        before = [buffer.clone() for buffer in shell.buffers()]
        random = torch.cuda.get_rng_state(x.device)
        try:
            with torch.cuda.device(x.device), _autocast_without_cache(), _garbage_kept():
                replay: Any = torch.cuda.make_graphed_callables(shell, (x.detach().clone(),))
        except Exception as error:  # of whatever the network calls
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise RuntimeError(
                f"Expected a training step of {type(network).__name__} to run as a CUDA graph, but {reason}; "
                "--model.cuda_graph false runs it operation by operation."
            ) from error
        for buffer, value in zip(shell.buffers(), before, strict=True):  # moved by the steps before the capture
            buffer.copy_(value)
        torch.cuda.set_rng_state(random, x.device)
        # Where gradients end belongs to the stream of the capture, for which the user can do nothing.
        warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
        self._replay, self._key = replay, _key(network, x)
        self._tensors = [*shell.parameters(), *shell.buffers()]
        self._state = [_state(tensor) for tensor in self._tensors]


@contextmanager
def _garbage_kept() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _autocast_without_cache() -> torch.autocast:
    return torch.autocast(
        "cuda", torch.get_autocast_dtype("cuda"), enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False
    )


def _key(network: nn.Module, x: Tensor) -> tuple:
    """Everything but the values that a replay must have in common with what was captured."""
    precision = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    return id(network), x.shape, x.stride(), x.dtype, x.device, x.requires_grad, precision


def _state(tensor: Tensor) -> tuple[int, bool]:
    """Address of a tensor's numbers, and whether it has a gradient."""
    return tensor.data_ptr(), tensor.requires_grad
