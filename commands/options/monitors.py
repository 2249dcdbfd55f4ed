"""Figures that callbacks may watch, held against those that a training logs, before it begins."""

from difflib import get_close_matches
from typing import Any

from nnmass.commands.options.lightning_options import listed

__all__ = ["require_logged"]

_LOGGED = ("train/loss", "train/accuracy", "train/data_wait_s", "val/loss", "val/accuracy")
_MACRO = ("val/macro_accuracy", "val/macro_f1")
_WITH_TOP_5 = 6  # classes, from which on the five best answers say something
_OF_EVERY_RUN = ("epoch", "step", "lr")
_PACKAGES = ("pytorch_lightning.", "nnmass.callbacks.")


def require_logged(chosen: Any, num_classes: int) -> None:
    """Refuse a callback that would watch a figure of which nothing is heard.

    Where a callback of the user's own is among them, nothing is refused: it may log the figure.

    Args:
        chosen: The configuration's callbacks: several, one or None.
        num_classes: Classes of the data.

    Raises:
        ValueError: If one watches another figure; the message names the nearest.
    """
    callbacks = listed(chosen)
    if any(not type(callback).__module__.startswith(_PACKAGES) for callback in callbacks):
        return
    known = [*_LOGGED, *(["val/top5"] if num_classes >= _WITH_TOP_5 else []), *_MACRO]
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor is None or monitor in known or monitor.split("-")[0] in _OF_EVERY_RUN:
            continue
        near = get_close_matches(monitor, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(
            f"Expected {type(callback).__name__} to monitor one of {', '.join(known)}, but got {monitor}{hint}"
        )
