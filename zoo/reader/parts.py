"""Parts of values: entries that a graph cuts out of a value, or writes into one."""

from collections.abc import Sequence
from typing import Any

from torch import fx

from nnmass.zoo.reader.entries import Entries, shape_of
from nnmass.zoo.reader.operation import Kind
from nnmass.zoo.reader.record import Record

__all__ = ["Parts"]


class Parts:
    """Slices of values, and values whose entries are written one part after the other, as operations.

    Args:
        record: The operations so far, which it adds to.
        entries: Tells which entries an operator takes or writes.
    """

    def __init__(self, record: Record, entries: Entries) -> None:
        self._record = record
        self._entries = entries
        self._pieces: dict[fx.Node, list[tuple[int, Sequence[int]]]] = {}  # (axis, entries) of a cut's outputs
        self._slices: dict[tuple, int] = {}  # the operation that takes these entries of that value

    def is_cut(self, node: fx.Node) -> bool:
        """Return whether a node has several outputs that :meth:`cut` has recorded."""
        return node in self._pieces

    def take_piece(self, node: fx.Node, cut: fx.Node, number: int) -> None:
        """Record a node that is one of the outputs of a cut."""
        axis, taken = self._pieces[cut][number]
        self.take(node, self._record.position[cut], axis, taken)

    def cut(self, node: fx.Node, source: int, axis: int) -> None:
        """Record a node with several outputs, each some entries along one dimension; only these become operations."""
        start = 0
        pieces: list[tuple[int, Sequence[int]]] = []
        for piece in node.meta["val"]:
            size = piece.shape[axis] if piece.ndim == len(self._record.shape(source)) else 1
            pieces.append((axis, range(start, start + size)))
            start += size
        self._pieces[node] = pieces
        self._record.position[node] = source

    def take(self, node: fx.Node, source: int, axis: int, taken: Sequence[int]) -> None:
        """Record a slice: entries taken twice are one value, and those of one part of a buffer are that part's."""
        while (part := self._part(source, axis, taken)) is not None:
            source, taken = part
            if source < 0:
                return  # a constant
        shape = self._record.shape(source)
        key = (source, axis, tuple(taken), shape_of(node))
        if key in self._slices:
            self._record.position[node] = self._slices[key]
        elif list(taken) == list(range(shape[axis])) and shape_of(node) == shape:
            self._record.position[node] = source
        else:
            self._record.add(node, "slice", (source,), axis=axis, taken=tuple(taken))
            self._slices[key] = self._record.position[node]

    def _part(self, source: int, axis: int, taken: Sequence[int]) -> tuple[int, list[int]] | None:
        """The one part that holds all these entries of a written or concatenated value, and their indices in it."""
        operation = self._record.operations[source]
        if operation.axis != axis or not taken:
            return None
        if operation.written:
            positions = {entry: position for position, entry in enumerate(operation.written)}
            if all(entry in positions for entry in taken):
                return operation.inputs[1], [positions[entry] for entry in taken]
            return None if any(entry in positions for entry in taken) else (operation.inputs[0], list(taken))
        if operation.kind != "concatenation" or axis > 0 or -1 in operation.inputs:
            return None
        start = 0
        for part in operation.inputs:  # of a batch
            end = start + self._record.shape(part)[axis]
            if all(start <= entry < end for entry in taken):
                return part, [entry - start for entry in taken]
            start = end
        return None

    def write(self, node: fx.Node, name: str, arguments: list[Any], inputs: tuple[int, ...]) -> None:
        """Record entries of one value that are overwritten by another one.

        Overwriting all entries leaves what was written; scattered writes are joints that are not judged.
        """
        base, source = arguments[0], arguments[2 if name == "index_put" else 3 if name == "index_copy" else 1]
        shape = shape_of(base)
        axis, taken = self._entries.written(node, name, arguments, shape)
        whole = name == "copy" or (taken is not None and list(taken) == list(range(shape[axis])))
        expected = shape if whole or taken is None else (*shape[:axis], len(taken), *shape[axis + 1 :])
        written = self._viewed(self._record.position.get(source, -1), expected)
        fits = written < 0 or self._record.shape(written) == expected
        parts = (self._record.position.get(base, -1), written)
        if whole and fits:
            if written >= 0:
                self._record.position[node] = written
        elif name == "copy":
            self._record.add(node, "other", (written,))
        elif taken is not None and fits and len(set(taken)) == len(taken):
            kind: Kind = "other" if -1 in parts else "concatenation"
            if parts != (-1, -1):
                self._record.add(node, kind, parts, axis=axis, written=tuple(taken))
        elif name == "select_scatter" and -1 not in parts:
            self._record.add(node, "stack", inputs)
        else:
            self._record.join(node, inputs)

    def _viewed(self, position: int, shape: tuple[int, ...]) -> int:
        """The value that another one is a view of, where it has the wanted shape."""
        operation = self._record.operations[position]
        if position >= 0 and operation.is_view and self._record.shape(operation.inputs[0]) == shape:
            return operation.inputs[0]
        return position
