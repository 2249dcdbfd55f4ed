"""State of every global random generator in each checkpoint: dropout goes on as if the run had not been stopped."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed
from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["RandomState", "kept_random_states"]


class RandomState(Callback):
    """Saves and restores the generators of torch, NumPy and Python, and the device's, of every process.

    A run that goes on with another number of processes keeps the generators as they are.
    """

    def __init__(self) -> None:
        self._restored: list[dict[str, Any]] = []

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the states of all processes into the checkpoint."""
        states = [_state(trainer.strategy.root_device)]
        if trainer.world_size > 1:
            mine, states = states[0], [{}] * trainer.world_size
            torch.distributed.all_gather_object(states, mine)
        checkpoint["random_states"] = states

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep them for the start of the training: what is built until then must not use them up."""
        self._restored = checkpoint.get("random_states", [])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore this process's states."""
        if len(self._restored) == trainer.world_size:
            _restore(self._restored[trainer.global_rank], trainer.strategy.root_device)
        self._restored = []


@contextmanager
def kept_random_states(device: torch.device) -> Iterator[None]:
    """Put every global random generator back afterwards, a GPU's too.

    Args:
        device: On which a training runs.
    """
    state = _state(device)
    try:
        yield
    finally:
        _restore(state, device)


def _state(device: torch.device) -> dict[str, Any]:
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    on_device = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"torch": torch.get_rng_state(), "numpy": numpy_state, "python": random.getstate(), **on_device}


def _restore(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    key = np.array(state["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": key}})
    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
