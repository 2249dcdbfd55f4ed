"""Verdicts on every addition and concatenation of a traced network, and the blocks that hold its skip connections."""

from nnmass.zoo.reader.additions import judge_additions
from nnmass.zoo.reader.blocks import Block, Joint, judged
from nnmass.zoo.reader.concatenations import judge_concatenations
from nnmass.zoo.reader.flow import Flow
from nnmass.zoo.reader.operation import Operation

__all__ = ["read_skips"]


def read_skips(operations: list[Operation]) -> tuple[list[Block], list[Joint]]:
    """Judge every addition and concatenation of a trace.

    Args:
        operations: What :func:`zoo.reader.tracing.trace` returns.

    Returns:
        The blocks that hold skips, and one joint per addition and concatenation, both in the order in which they run.

    Example:
        >>> from torch import nn
        >>> from nnmass.zoo.reader.tracing import trace
        >>> read_skips(trace(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), (4,)))
        ([], [])
    """
    flow = Flow(operations)
    joints, blocks = judge_concatenations(flow)
    of_additions, closed_by_additions = judge_additions(flow)
    joints.update(of_additions)
    blocks.update(closed_by_additions)
    for position, operation in enumerate(operations):
        if operation.kind == "stack":
            joints[position] = judged(operation, "not judged", "branches stacked to be weighed against each other")
        elif operation.kind == "unknown":
            joints[position] = judged(operation, "not judged", f"nothing is known of what {operation.operator} joins")
    return [blocks[position] for position in sorted(blocks)], [joints[position] for position in sorted(joints)]
