"""Distances from double precision, and the largest one that a fast pass may have."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["KINDS", "Error", "allowed", "errors", "kind_of"]

KINDS = ("buffers", "outputs", "weights", "inputs")
"""Kinds of results: buffers (running statistics), outputs, gradients of weights, gradients of inputs; in the order in
which a mistake would go from one to the next."""

_MULTIPLE = 8


class Error(NamedTuple):
    """The largest error among results of one kind.

    Attributes:
        distance: Largest difference from double precision, relative to the largest number of the kind.
        allowed: The largest distance that rounding explains.
        usual: Distance of the plain modules in the same precision.
        name: The tensor.
    """

    distance: float
    allowed: float
    usual: float
    name: str

    @property
    def share(self) -> float:
        """Distance as a share of what is allowed; above 1, or not a number, is a disagreement."""
        return self.distance / self.allowed


def kind_of(name: str) -> str:
    """Kind of a result, one of ``KINDS``.

    Args:
        name: Of the result: ``output``, ``gradient of the input``, ``gradient of NAME``, or a buffer's.
    """
    if name in ("output", "gradient of the input"):
        return {"output": "outputs"}.get(name, "inputs")
    return "weights" if name.startswith("gradient of ") else "buffers"


def allowed(usual: float, precision: torch.dtype) -> float:
    r"""The largest distance from double precision that is put down to rounding.

    .. math:: 8 \max(d, \epsilon)

    d is the distance of the plain modules in the same precision, :math:`\epsilon` the precision's rounding of 1.

    Args:
        usual: d.
        precision: float32, bfloat16 or float16.

    Example:
        >>> allowed(0.0, torch.float32) == 8 * 2**-23
        True
    """
    return _MULTIPLE * max(usual, torch.finfo(precision).eps)


def errors(
    fast: Mapping[str, Tensor],
    plain: Sequence[Mapping[str, Tensor]],
    exact: Mapping[str, Tensor],
    precision: torch.dtype,
) -> dict[str, Error]:
    """The error of each kind that is nearest to what is allowed, or furthest beyond it.

    Args:
        fast: Results of the fast pass, by name.
        plain: Results of the plain modules, once or several times; the worst counts.
        exact: Results of the plain modules in double precision.
        precision: In which the first two were computed.

    Raises:
        ValueError: If the fast pass lacks a result or gives it another shape.
    """
    largest = dict.fromkeys(KINDS, 0.0)
    for name, right in exact.items():
        largest[kind_of(name)] = max(largest[kind_of(name)], _largest(right))
    found: dict[str, Error] = {}
    for name, right in exact.items():
        if name not in fast or fast[name].shape != right.shape:
            raise ValueError(f"Expected a result {name} of shape {tuple(right.shape)}, but there is none.")
        kind = kind_of(name)
        # Not the tensor's own largest number: a gradient that vanishes next to the others has no digits of its own.
        scale = largest[kind] or 1.0
        distance, *others = (_largest(result[name].double() - right) / scale for result in (fast, *plain))
        error = Error(distance, allowed(max(others), precision), max(others), name)
        if kind not in found or not error.share <= found[kind].share:
            found[kind] = error
    return {kind: found[kind] for kind in KINDS if kind in found}


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
