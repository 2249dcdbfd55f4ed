"""Entries of a value that an operator takes, keeps or writes to, where constants of the graph decide it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, fx

from nnmass.zoo.reader.constants import Constants

__all__ = ["Entries", "shape_of"]


class Entries:
    """Entries along one dimension, read off the arguments of operators.

    Args:
        constants: The values of the graph's constants.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def selected(
        self, node: fx.Node, name: str, arguments: list[Any], shape: tuple[int, ...]
    ) -> tuple[int, Sequence[int] | None]:
        """The dimension along which a node takes entries of a value of this shape, and the entries; None: unknown."""
        if name == "index":
            return self._indexed(node, arguments[1], shape)
        given: Any = arguments[1] if len(arguments) > 1 else node.kwargs.get("dim", 0)
        axis = given % len(shape)
        if name == "slice":
            return axis, range(shape[axis])[slice(*arguments[2:5])]
        if name == "narrow":
            return axis, range(arguments[2], arguments[2] + arguments[3])
        if name == "select":
            return axis, [arguments[2] % shape[axis]]
        return axis, self._listed(node, arguments[2], shape[axis])

    def written(
        self, node: fx.Node, name: str, arguments: list[Any], shape: tuple[int, ...]
    ) -> tuple[int, Sequence[int] | None]:
        """The dimension along which a node writes to a value of this shape, and the entries; None: unknown."""
        axis, taken = 0, None
        if name == "copy":
            taken = range(shape[0]) if shape else None
        elif name == "slice_scatter":
            axis = (arguments[2] if len(arguments) > 2 else 0) % len(shape)
            taken = range(shape[axis])[slice(*arguments[3:6])]
        elif name == "index_put" and not any(arguments[3:4]):
            return self._indexed(node, arguments[1], shape)
        elif name == "index_copy":
            axis = arguments[1] % len(shape)
            return axis, self._listed(node, arguments[2], shape[axis])
        return axis, taken

    def chosen_by(self, matrix: np.ndarray | None) -> list[int] | None:
        """The rows that a matrix, (entries, results), chooses by one 1 in every column; None where it does not."""
        if matrix is None or matrix.ndim != 2 or not matrix.size:
            return None
        only_ones = ((matrix == 0) | (matrix == 1)).all() and (matrix.sum(0) == 1).all()
        return matrix.argmax(0).tolist() if only_ones else None

    def filter_matrix(self, weight: Any) -> np.ndarray | None:
        """The fixed weight of a 1x1 convolution as a matrix, (entries, results); None of any other weight."""
        value = self._constants.numbers(weight)
        return value.reshape(value.shape[:2]).T if value is not None and set(value.shape[2:]) <= {1} else None

    def factor_matrix(self, factor: Any, transposed: bool) -> np.ndarray | None:
        """The fixed factor of a matrix product as a matrix; None of a batch of several."""
        value = self._constants.numbers(factor)
        while value is not None and value.ndim > 2 and len(value) == 1:
            value = value[0]
        return value.T if value is not None and transposed else value

    def zeroed(self, factor: Any, dimensions: int) -> tuple[int, list[int]] | None:
        """The one dimension along which a fixed factor is zero at some entries, and those entries."""
        mask = self._constants.numbers(factor)
        if mask is None or sum(size > 1 for size in mask.shape) != 1:
            return None
        axis = dimensions - mask.ndim + next(dimension for dimension, size in enumerate(mask.shape) if size > 1)
        zeros = np.flatnonzero(mask == 0).tolist()
        return (axis, zeros) if zeros else None

    def _indexed(
        self, node: fx.Node, indices: Sequence[Any], shape: tuple[int, ...]
    ) -> tuple[int, Sequence[int] | None]:
        """The one dimension that a list of indices, one per dimension, is about, and the entries."""
        indexed = [dimension for dimension, index in enumerate(indices) if index is not None]
        if len(indexed) != 1:
            return 0, None
        return indexed[0], self._listed(node, indices[indexed[0]], shape[indexed[0]])

    def _listed(self, node: fx.Node, indices: fx.Node, size: int) -> Sequence[int] | None:
        """The entries of a constant list of indices, or where a constant mask is true; None for any other.

        Raises:
            ValueError: If the links of a stated cell have no values: its mass would be missed.
        """
        value = self._constants.value(indices)
        if value is None or value.ndim != 1:
            return None
        if value.is_meta and node.meta.get("cell"):
            raise ValueError("a cell's channels are taken by indices on the meta device, where they have no values")
        numbers = self._constants.numbers(indices)
        if numbers is None:
            return None
        return np.flatnonzero(numbers).tolist() if numbers.dtype == bool else (numbers % size).tolist()


def shape_of(node: Any) -> tuple[int, ...]:
    """Shape of a node's value; of several, as a normalisation returns them, the first one's; () of no node."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    value = value[0] if isinstance(value, list | tuple) and value else value
    return tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else ()
