"""Cells that have lost the attribute ``is_cell``, as after a conversion that rebuilds a network from its graph."""

from torch import nn

from nnmass.zoo.reader.flow import Flow
from nnmass.zoo.reader.operation import Operation, common_names

__all__ = ["lost_marks"]

_CHOOSING = ("index", "index_select")


def lost_marks(network: nn.Module, operations: list[Operation]) -> str | None:
    """One sentence on links outside any module that states ``is_cell``; None where there are none.

    Links are channels that a constant list of indices chooses and that are then concatenated, or stored under the name
    that this package's own layers give them.

    Args:
        network: The network.
        operations: Its trace.
    """
    cells = [name for name, module in network.named_modules() if getattr(module, "is_cell", False)]
    unmarked = {
        name.rpartition(".")[0]
        for name, buffer in network.named_buffers()
        if name.rpartition(".")[2] == "links"
        and buffer.numel()
        and not any(len(common_names((cell, name))) == len(cell.split(".")) or not cell for cell in cells)
    }
    flow = Flow(operations)
    for position, operation in enumerate(operations):
        if operation.kind == "slice" and operation.operator in _CHOOSING and operation.cell is None:
            readers = (operations[user] for user in flow.users[position])
            if any(reader.kind == "concatenation" and reader.axis == operation.axis for reader in readers):
                unmarked.add(operation.scope)
    if not unmarked:
        return None
    first = min(unmarked) or "the network"
    others = f" and {len(unmarked) - 1} others" if len(unmarked) > 1 else ""
    return (
        f"{first}{others} take channels by fixed indices, outside any module that states is_cell = True, as in a "
        "converted copy of a cell: they are read without the mark, and a cell's first and last layer do not count"
    )
