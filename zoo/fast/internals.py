"""The private names of torch that the fast passes rely on, in this file alone.

A release of torch may rename or change them without notice. Where one is missing, the plain modules run, and the
user is told once.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as module_hooks

__all__ = [
    "available",
    "is_plain_eager",
    "recorded_by_the_tracer",
    "version",
]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

_MODULE = nn.Module()  # hooks are attributes of an instance

# By the object that holds them.
_NAMES: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    (
        "torch._C",
        torch._C,
        (
            "_autograd._top_saved_tensors_default_hooks",
            "_functorch.peek_interpreter_stack",
            "_len_torch_dispatch_stack",
            "_len_torch_function_stack",
        ),
    ),
    ("torch.autograd.forward_ad", forward_ad, ("_current_level",)),
    ("torch.nn.modules.module", module_hooks, tuple(f"_global{hook}" for hook in _HOOKS)),
    ("torch.nn.Module", _MODULE, _HOOKS),
    ("torch.Tensor", Tensor, ("_version",)),
)


def available() -> bool:
    """Look for everything that this file takes from torch; where something is missing, the user is told once."""
    lacking = _first_missing() or _first_changed()
    if lacking is not None:
        _tell(lacking)
    return lacking is None


def _first_missing() -> str | None:
    for owner, holder, names in _NAMES:
        for name in names:
            try:
                attrgetter(name)(holder)
            except AttributeError:
                return f"{owner}.{name}"
    return None


@cache
def _first_changed() -> str | None:
    """Name what is there, but cannot be called as this file does."""
    try:
        _nothing_looks_on(_MODULE)
    except TypeError as error:
        return f"such function any more: {error}"
    return None


@cache
def _tell(lacking: str) -> None:
    warnings.warn(
        f"Cells and MLPs run module by module, slower and in more memory, because torch {torch.__version__} has no "
        f"{lacking}, on which their fast passes rely; a newer nnmass may know its successor.",
        stacklevel=2,
    )


def is_plain_eager(parts: nn.Module, x: Tensor) -> bool:
    """Test for plain eager execution: no trace, export, function transform, dispatch mode, hook or replaced forward.

    Where torch lacks what tells it, the answer is no.

    Args:
        parts: The module that would run, with all its parts.
        x: Its input.
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing():
        return False
    return type(x) is Tensor and available() and _nothing_looks_on(parts)


def _nothing_looks_on(parts: nn.Module) -> bool:
    return (
        not any(_is_watched(part) for part in parts.modules())
        and not any(getattr(module_hooks, f"_global{hook}") for hook in _HOOKS)
        and torch._C._len_torch_dispatch_stack() == torch._C._len_torch_function_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    )


def _is_watched(part: nn.Module) -> bool:
    """Test for a hook on a module, or a forward that somebody has put over that of its class."""
    return "forward" in vars(part) or any(getattr(part, hook) for hook in _HOOKS)


def version(tensor: Tensor) -> int:
    """Count of the in-place changes of a tensor; -1 for one made in inference mode, which keeps none."""
    return -1 if tensor.is_inference() else tensor._version


@contextmanager
def recorded_by_the_tracer() -> Iterator[None]:
    """Let the tracer of torch.jit record what runs within this context, in a dispatch mode as outside of one."""
    included, excluded = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    tracer = torch._C.DispatchKeySet(torch._C._parse_dispatch_key("Tracer"))  # type: ignore[arg-type]
    with torch._C._ForceDispatchKeyGuard(included, excluded - tracer):
        yield
