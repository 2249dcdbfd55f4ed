"""Finds where a computation would wait for a GPU, on a machine that has none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Of what these give, the host must know the size or the value.
_READING = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "bincount",
    "_unique2",
    "unique_dim",
    "repeat_interleave",
}


class _Waits(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: tuple = (), options: Any = None) -> Any:
        options = options or {}
        tensors = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, Tensor)]
        name = operation.overloadpacket.__name__
        devices = {tensor.device.type for tensor in tensors}
        if "cuda" in devices and name in _READING:
            self.found.append(name)
        if name == "_to_copy":
            devices.add(torch.device(options.get("device") or tensors[0].device).type)
        waited = not (options.get("non_blocking") or (name == "copy_" and len(arguments) > 2 and arguments[2]))
        if name in ("_to_copy", "copy_") and len(devices) > 1 and waited:
            self.found.append(f"{name} between {' and '.join(sorted(devices))}")
        return operation(*arguments, **options)


@contextmanager
def device_waits() -> Iterator[list[str]]:
    """Tensors without values within, on ``cuda`` where that is asked for; yields the list of waits, which grows."""
    waits = _Waits()
    with FakeTensorMode(), waits:
        yield waits.found
