"""The choice between the two passes of a network: module by module, or on shared outputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from torch import Tensor

__all__ = ["FastPass", "for_a_graph", "forward_by_choice", "is_wanted"]

_is_for_a_graph: ContextVar[bool] = ContextVar("is_for_a_graph", default=False)


class FastPass(Protocol):
    """A module with two ways forward to the same result.

    Attributes:
        share_outputs: The user's wish: True, False, or None for what was measured to be faster.
        ran_on_shared_outputs: Whether the newest pass was the fast one.
    """

    share_outputs: bool | None
    ran_on_shared_outputs: bool

    def forward_on_modules(self, x: Tensor) -> Tensor:
        """Run the modules one after the other."""

    def forward_on_shared_outputs(self, x: Tensor) -> Tensor:
        """Run the fast pass."""


def forward_by_choice(
    network: FastPass, x: Tensor, faster_in_a_graph: Callable[[Tensor], bool], can_share: Callable[[Tensor], bool]
) -> Tensor:
    """Run the fast pass of a network where it is wanted and possible, else its modules.

    Args:
        network: The network, which notes the pass that ran.
        x: Its input.
        faster_in_a_graph: As in :func:`is_wanted`.
        can_share: Tells of the input whether the fast pass can run; it is asked only where that is wanted.
    """
    if is_wanted(network.share_outputs, x, faster_in_a_graph) and can_share(x):
        network.ran_on_shared_outputs = True
        return network.forward_on_shared_outputs(x)
    if network.ran_on_shared_outputs:
        network.ran_on_shared_outputs = False
    return network.forward_on_modules(x)


def is_wanted(share_outputs: bool | None, x: Tensor, faster_in_a_graph: Callable[[Tensor], bool]) -> bool:
    """Return what ``share_outputs`` means for an input; None is what was measured to be right and faster.

    Args:
        share_outputs: The user's wish.
        x: The input.
        faster_in_a_graph: Tells of the input whether that goes for the network on GPUs, in a CUDA graph; without one,
            launches cost it more than they spare it where batches are small.
    """
    if type(x) is not Tensor:  # a trace's stand-in has no device that could be compared
        return False
    if share_outputs is not None:
        return share_outputs
    return x.device.type == "cpu" or (_is_for_a_graph.get() and faster_in_a_graph(x))


@contextmanager
def for_a_graph() -> Iterator[None]:
    """Run networks within this context as they are to run in a CUDA graph."""
    token = _is_for_a_graph.set(True)
    try:
        yield
    finally:
        _is_for_a_graph.reset(token)
