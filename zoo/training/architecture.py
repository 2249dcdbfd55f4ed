"""Comparison of a checkpoint's weights with a network: names and shapes must be the same."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["require_same_architecture"]


def require_same_architecture(ours: Mapping[str, Tensor], theirs: Mapping[str, Any], source: str | None = None) -> None:
    """Refuse the state of a checkpoint that does not fit a network, before it is loaded.

    Args:
        ours: The network's ``state_dict()``.
        theirs: The checkpoint's.
        source: Name of a file of weights, which need be no checkpoint.

    Raises:
        ValueError: If a name or a shape differs; the message names the first.

    Example:
        >>> from torch import nn
        >>> require_same_architecture(nn.Linear(2, 1).state_dict(), nn.Linear(2, 1).state_dict())
    """
    expected = "a checkpoint of this architecture" if source is None else f"weights of this architecture in {source}"
    where = "in the checkpoint" if source is None else "there"
    for name in [*ours, *theirs]:
        there, here = (_shape(state[name]) if name in state else "absent" for state in (theirs, ours))
        if there != here:
            raise ValueError(f"Expected {expected}, but {name} is {there} {where} and {here} in the network.")


def _shape(value: Any) -> tuple[int, ...] | str:
    if not isinstance(value, Tensor):
        return f"no tensor but {type(value).__name__}"
    if value.is_meta or value.is_complex() or value.layout is not torch.strided:
        return f"no tensor of plain numbers but of {value.dtype}, {value.layout}, on {value.device}"
    return tuple(value.shape)
