"""Callbacks of Lightning with which a stopped run cannot be resumed."""

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    Callback,
    LearningRateFinder,
    ModelPruning,
    OnExceptionCheckpoint,
)
from pytorch_lightning.utilities.rank_zero import rank_zero_only

__all__ = ["CANNOT_GO_ON", "for_beginning", "for_going_on"]

CANNOT_GO_ON: dict[type[Callback], str] = {
    BaseFinetuning: "which layers it has set free",
    BatchSizeFinder: "the batch size that it has found",
    ModelPruning: "which weights it has pruned",
}
"""Callbacks whose runs cannot be continued, and what no checkpoint holds of them."""


def for_beginning(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks of a new run; prints which of them keep it from being continued.

    Raises:
        ValueError: If Lightning would begin the run from what an earlier one has left.
    """
    for callback in callbacks:
        if isinstance(callback, OnExceptionCheckpoint) and Path(callback.ckpt_path).exists():
            raise ValueError(
                f"Expected a new run to begin at its beginning, but {type(callback).__name__} would begin it from "
                f"{callback.ckpt_path}; without this file the run is new."
            )
    for callback, what in _that_cannot_go_on(callbacks):
        line = f"A stop ends this run for good: no checkpoint holds {what}, as {type(callback).__name__} would need."
        rank_zero_only(print)(line)
    return list(callbacks)


def for_going_on(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks of a run that is resumed; a LearningRateFinder's result is in the checkpoint.

    Raises:
        ValueError: If the run cannot go on with one of them.
    """
    for callback, what in _that_cannot_go_on(callbacks):
        raise ValueError(
            f"Expected a run without {type(callback).__name__} to go on, but no checkpoint holds {what}; test "
            "evaluates the checkpoint."
        )
    return [callback for callback in callbacks if not isinstance(callback, LearningRateFinder)]


def _that_cannot_go_on(callbacks: Sequence[Callback]) -> list[tuple[Callback, str]]:
    kinds = CANNOT_GO_ON.items()
    return [(callback, what) for callback in callbacks for kind, what in kinds if isinstance(callback, kind)]
