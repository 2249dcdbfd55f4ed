"""The private names of Lightning that callbacks rely on, in this file alone; where one is gone, nothing is changed."""

from typing import Any

from pytorch_lightning import Trainer

__all__ = ["leave_signals_to_us"]

_BROADCAST = "_broadcast_sigterm_tensor"


def leave_signals_to_us(trainer: Trainer) -> None:
    """Keep Lightning from asking before each batch of several processes whether SIGTERM has reached the first.

    It asks by a number on the device, for which the host must wait until the device has done all that it was given: no
    step could be prepared while the one before is computed.

    Args:
        trainer: Whose processes agree about signals in another way.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    if hasattr(loop, _BROADCAST):
        setattr(loop, _BROADCAST, lambda: None)
