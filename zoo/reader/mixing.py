"""Treatment of joined values before a layer reads them: mixed with each other, moved, or neither."""

from math import prod

from nnmass.zoo.reader.flow import Flow, members
from nnmass.zoo.reader.operation import Operation
from nnmass.zoo.reader.operators import REDUCTIONS

__all__ = ["is_mixed", "is_moved"]


def is_mixed(flow: Flow, position: int) -> bool:
    """Return whether joined values are added to each other, or multiplied by fixed numbers, before a layer reads them.

    Args:
        flow: The trace.
        position: A concatenation.
    """
    joined = flow.operations[position]
    parts = _sizes(flow, joined)
    # A step is a value, an operation that takes it, and whether the joined dimension has been moved on the way.
    waiting = [(position, user, False) for user in flow.users[position]]
    seen = set(waiting)
    while waiting:
        _, reader, moved = waiting.pop()
        operation = flow.operations[reader]
        if operation.kind == "addition":
            arrived = {(source, turned) for source, user, turned in seen if user == reader}
            if len({source for source, _ in arrived}) > 1 and any(turned for _, turned in arrived):
                return True
        if operation.kind not in ("other", "slice", "concatenation"):
            continue
        before = flow.operations[operation.inputs[0]].shape
        if operation.mixes or _takes_together(operation, before, joined, parts, moved):
            return True
        if not _passes(operation) and (moved or not _is_pooled(operation, joined)):
            continue
        if operation.kind == "other" and (operation.is_view or operation.rearranges) and not operation.keeps_channels:
            kept = _keeps_dimension(operation, before, joined) or _is_taken_as_a_batch(flow, reader, joined)
            moved = moved or not kept
        steps = [(reader, user, moved) for user in flow.users[reader]]
        waiting += [step for step in steps if step not in seen]
        seen.update(steps)
    return False


def is_moved(flow: Flow, position: int) -> bool:
    """Return whether a joined value's dimensions are permuted before a convolution, whose channels they then may be.

    Args:
        flow: The trace.
        position: A concatenation.
    """
    later = range(position + 1, len(flow.operations))
    ends = (end for end in later if flow.operations[end].kind in ("layer", "product") and flow.is_above(position, end))
    end = next(ends, position)
    region = flow.between(position, end) if flow.operations[end].is_convolution else 0
    return any(flow.operations[inner].rearranges for inner in members(region) if inner != position)


def _sizes(flow: Flow, joined: Operation) -> set[int]:
    """Numbers of entries of the values that a concatenation joins."""
    if joined.written:
        return {prod(joined.shape) // joined.shape[joined.axis] * len(joined.written)}
    return {prod(flow.operations[part].shape) for part in joined.inputs if part >= 0}


def _passes(operation: Operation) -> bool:
    """Return whether an operation passes the entries of its input on, one by one."""
    if operation.kind != "other":
        return True
    return operation.keeps_channels or operation.is_view or operation.rearranges or bool(operation.written)


def _takes_together(
    operation: Operation, before: tuple[int, ...], joined: Operation, parts: set[int], moved: bool
) -> bool:
    """Return whether an operation combines entries that may lie in different parts of the joined value."""
    if _passes(operation) or len(operation.inputs) > 1:
        return False
    if moved:
        return prod(operation.shape) < prod(before)
    # The result is as large as one part, so the parts are added up, unless the joined dimension is kept.
    left = prod(operation.shape) * prod(joined.shape)
    return not _is_pooled(operation, joined) and left in {part * prod(before) for part in parts}


def _keeps_dimension(operation: Operation, before: tuple[int, ...], joined: Operation) -> bool:
    """Return whether the dimension that a concatenation joined stays the same one in another shape."""
    return operation.is_view and before[: joined.axis + 1] == operation.shape[: joined.axis + 1]


def _is_taken_as_a_batch(flow: Flow, reader: int, joined: Operation) -> bool:
    """Return whether a view only takes positions together, each with its channels last, for layers that follow."""
    operation = flow.operations[reader]
    before = flow.operations[operation.inputs[0]].shape
    return (
        operation.is_view
        and joined.axis == len(joined.shape) - 1
        and before[-1:] == operation.shape[-1:] == joined.shape[-1:]
        and all(flow.operations[user].kind == "layer" for user in flow.users[reader])
    )


def _is_pooled(operation: Operation, joined: Operation) -> bool:
    """Return whether an operator on joined values pools entries, but not along the joined dimension."""
    if operation.operator in REDUCTIONS:
        return joined.axis not in operation.taken
    return operation.shape[joined.axis : joined.axis + 1] == joined.shape[joined.axis : joined.axis + 1]
