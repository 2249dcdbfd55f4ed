"""Every tensor in what a forward returns, whatever holds it, and in what it leaves on its modules."""

from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Any

from torch import Tensor, fx, nn

__all__ = ["kept_by", "tensors_in"]

_PLAIN = (str, bytes, int, float, complex, type(None), type)
_MOST_ITEMS = 10_000  # of an iterator, which may have no end
# Where modules keep what was there before the forward ran.
_STATE = ("_parameters", "_buffers", "_modules")


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a value, each once: in mappings, sequences, sets, iterators, dataclasses and objects, nested.

    Args:
        value: Anything; modules are not entered.

    Example:
        >>> import torch
        >>> [len(tensor) for tensor in tensors_in({"logits": torch.zeros(2), "more": (torch.zeros(3), 1)})]
        [2, 3]
    """
    tensors: list[Tensor] = []
    waiting, seen = [value], {id(value): value}  # kept, so that no other object gets the same id
    while waiting:
        current = waiting.pop()
        if isinstance(current, Tensor):
            tensors.append(current)
            continue
        inside = [part for part in _parts(current) if id(part) not in seen]
        seen.update((id(part), part) for part in inside)
        waiting += reversed(inside)
    return tensors


def kept_by(network: nn.Module) -> list[Tensor]:
    """The tensors that a network's modules hold and that are neither parameters nor buffers nor modules' hooks."""
    return tensors_in(
        [
            value
            for module in network.modules()
            for name, value in vars(module).items()
            if name not in _STATE and "_hooks" not in name
        ]
    )


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, (*_PLAIN, nn.Module, fx.Graph)) or callable(value):
        return
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, Sequence | Set | Iterator):
        yield from islice(value, _MOST_ITEMS)
    yield from vars(value).values() if hasattr(value, "__dict__") else ()
    for owner in type(value).__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and not name.startswith("__"):
                yield getattr(value, name)
