"""One operation of a traced network."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

__all__ = ["Kind", "Operation", "common_names"]

Kind = Literal["input", "layer", "addition", "concatenation", "stack", "unknown", "slice", "product", "other"]


@dataclass(frozen=True)
class Operation:
    """One operation on values that depend on the network's input.

    Attributes:
        kind: ``layer`` has learnable weights (convolution, linear); ``addition`` and ``concatenation`` join two or more
            values, ``stack`` does along a new dimension, ``unknown`` in a way that no table states; ``slice`` takes
            part of one; ``product`` multiplies two values as matrices, as attention does.
        inputs: Positions of the operations whose values it takes. Of a signal and the gate that scales it, only the
            signal: a gate lies on no path. -1 stands for a constant among concatenated values.
        shape: Shape of its value, with a batch of one.
        scope: Dotted name of the module that ran it; empty for the network itself.
        cell: Dotted name of the innermost module around it that states itself a cell (``is_cell``), if one does.
        operator: Name of the ATen operator.
        axis: Dimension that a concatenation joins, or that a slice cuts.
        taken: Entries along ``axis`` that a slice takes; dimensions that a reduction (sum, mean) takes together.
        written: Entries along ``axis`` of the first input that the second one replaces: both lie in one buffer.
        in_channels: Channels, or features, that enter a layer.
        is_convolution: Whether a layer is a convolution.
        depthwise: Whether a layer is a convolution of each channel on its own.
        keeps_channels: Whether channel k of the value is channel k of its one input, activated or normalised.
        rearranges: Whether it moves or takes entries of its input in a way that is not followed further.
        mixes: Whether it takes entries of its input together in a way that is not followed further.
        is_view: Whether its value is its input's in another shape.
    """

    kind: Kind
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    scope: str
    cell: str | None = None
    operator: str = ""
    axis: int = 0
    taken: tuple[int, ...] = ()
    written: tuple[int, ...] = ()
    in_channels: int = 0
    is_convolution: bool = False
    depthwise: bool = False
    keeps_channels: bool = False
    rearranges: bool = False
    mixes: bool = False
    is_view: bool = False


def common_names(scopes: Iterable[str]) -> list[str]:
    """The names that all of these dotted names begin with.

    Example:
        >>> common_names(["cells.0.layers.1", "cells.0.layers.2.conv"])
        ['cells', '0', 'layers']
    """
    columns = zip(*(scope.split(".") for scope in scopes), strict=False)
    return [names[0] for names in takewhile(lambda names: len(set(names)) == 1, columns)]
