"""Checkpoints that are whole or absent, and that are read as data, never as code."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from nnmass.runtime.files import write_atomically
from nnmass.zoo.weights.state import code_in, require_undamaged

__all__ = ["AtomicCheckpointIO", "read_checkpoint", "require_resumable"]

_KINDS: dict[str, type] = {
    "global_step": int,
    "epoch": int,
    "state_dict": dict,
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writer of checkpoints beside their path, renamed when whole, so that a crash leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``, replacing the file that is there."""
        # Lightning's own atomic save does not serve: it writes to the system's temporary folder and moves the file from
        # there, which across file systems is a copy over the last checkpoint; and it never calls fsync.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(Path(path), content.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint, onto the processor unless told otherwise."""
        return read_checkpoint(Path(path), map_location)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint as plain tensors and numbers.

    Raises:
        ValueError: If the file is damaged, is no Lightning checkpoint, carries code, or holds weights that are not
            numbers; the message names it.
    """
    try:
        require_undamaged(path)
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever foreign bytes provoke in the reader, the file is at fault
        code = code_in(error)
        what = f"it carries code ({code}), which is not run" if code else "the file is damaged or no checkpoint"
        raise ValueError(f"Expected a checkpoint in {path}, but {what}.") from error
    for key in ("state_dict", "global_step", "pytorch-lightning_version"):
        if not isinstance(checkpoint, dict) or key not in checkpoint:
            raise ValueError(f"Expected a Lightning checkpoint in {path}, but it has no {key}.")
    for key, kind in _KINDS.items():
        if key in checkpoint and not isinstance(checkpoint[key], kind):
            got = type(checkpoint[key]).__name__
            raise ValueError(f"Expected a Lightning checkpoint in {path}, but its {key} is of the type {got}.")
    for name, value in checkpoint["state_dict"].items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.isnan().any():
            raise ValueError(f"Expected weights that are numbers in {path}, but {name} holds NaN.")
    return checkpoint


def require_resumable(checkpoint: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint that lacks what a training is resumed from, beside the weights.

    Args:
        checkpoint: Its content.
        path: The file, for the message.

    Raises:
        ValueError: If something is missing.
    """
    for key in _KINDS:
        if key not in checkpoint:
            raise ValueError(f"Expected a checkpoint that a training can go on from in {path}, but it has no {key}.")
