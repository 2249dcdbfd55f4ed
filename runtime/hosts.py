"""Communication between the processes of a training that waits for no GPU."""

from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

import torch.distributed
from pytorch_lightning import Trainer

__all__ = ["hosts"]

_GROUPS: WeakKeyDictionary[Trainer, dict[timedelta | None, Any]] = WeakKeyDictionary()


def hosts(trainer: Trainer, patience: timedelta | None = None) -> Any:
    """The process group of the hosts of a training, over gloo.

    Args:
        trainer: All its processes must ask together, the first time.
        patience: How long one of them waits for the others; by default as long as PyTorch thinks right.
    """
    groups = _GROUPS.setdefault(trainer, {})
    if patience not in groups:
        groups[patience] = torch.distributed.new_group(backend="gloo", timeout=patience)
    return groups[patience]
