"""Addition-type skip connections: the split at which the operands of an addition part, and the layers on each branch.

A block reaches from where the operands part to where they are added. Its main branch is the path with the most layers,
1..k, with W_j input channels in layer j. The other way is a skip if it has no layer (identity) or at most one that is
not depthwise (projection), and the main branch has two or more. Then (Eq. 3 of CVPR 2021) i_c = sum_j W_j, the links
present are W_1, those possible sum_{j<k} (k-j) W_j, and the mass is i_c times present over possible. Of several
additions past the same layers, such as those of x + f(x) + g(x), one counts.
"""

from nnmass.zoo.mass import residual_links
from nnmass.zoo.reader.blocks import Block, Joint, Verdict, judged
from nnmass.zoo.reader.flow import Flow, members
from nnmass.zoo.reader.operation import Operation

__all__ = ["judge_additions"]

# A joint; for a skip the block that it closes, and the positions of the layers on the block's main branch.
_Judgement = tuple[Joint, Block | None, tuple[int, ...]]


def judge_additions(flow: Flow) -> tuple[dict[int, Joint], dict[int, Block]]:
    """Judge every addition of a trace.

    Args:
        flow: The trace.

    Returns:
        One joint per addition, and the blocks that they close, by position in the trace.
    """
    joints: dict[int, Joint] = {}
    blocks: dict[int, Block] = {}
    counted: set[tuple[int, ...]] = set()
    for position, operation in enumerate(flow.operations):
        if operation.kind == "addition":
            joints[position], block, layers = _judge_addition(flow, position)
            if block is not None and layers not in counted:
                counted.add(layers)
                blocks[position] = block
    return joints, blocks


def _judge_addition(flow: Flow, position: int) -> _Judgement:
    operation = flow.operations[position]
    first, second = operation.inputs
    if _size(flow, first) != _size(flow, second):
        return _no_block(operation, "not a skip", "adds a smaller value everywhere, as a bias or a pooled context")
    start, end = sorted((first, second))
    if flow.is_above(start, end):
        return _judge_branches(flow, position, start, main=end, beside=start)
    split = flow.split(position)
    if split is None:
        return _no_block(operation, "not judged", "the operands have no common origin")
    if _uses_only_pieces(flow, split, position):
        if flow.operations[_viewed(flow, split)].kind == "concatenation":
            return _no_block(operation, "not judged", "adds pieces of values that were concatenated")
        return _no_block(operation, "not a skip", "adds different pieces of one value")
    if flow.above[first] & flow.above[second] & flow.between(split, position) & ~(1 << split):
        return _no_block(operation, "not judged", "no common ancestor chain: the operands share layers on the way")
    main, beside = sorted((first, second), key=lambda operand: -len(flow.longest_path(split, operand)))
    return _judge_branches(flow, position, split, main, beside)


def _judge_branches(flow: Flow, position: int, split: int, main: int, beside: int) -> _Judgement:
    """Judge two branches from ``split``, where ``main`` has at least as many layers as ``beside``."""
    operation = flow.operations[position]
    path = flow.longest_path(split, main)
    layers = [flow.operations[layer] for layer in path]
    shortcut = [flow.operations[layer] for layer in flow.longest_path(split, beside)]
    if any(flow.operations[inner].kind == "product" for inner in members(flow.between(split, position))):
        return _no_block(operation, "not judged", "attention lies between")
    if len(layers) < 2:
        return _no_block(operation, "not a skip", f"passes {len(layers)} layers, where a skip passes two or more")
    if len(shortcut) >= len(layers) or sum(not layer.depthwise for layer in shortcut) > 1:
        if flow.is_closed(split, position):
            return _no_block(operation, "not a skip", "parallel branches, each with layers of its own")
        return _no_block(operation, "not judged", "no common ancestor chain: the branches are used elsewhere too")
    widths = [layer.in_channels for layer in layers]
    if layers[0].depthwise:
        widths.insert(0, widths[0])  # as if a 1x1 expansion of ratio 1 stood before it: MobileNetV2's first blocks
    k, (present, possible) = len(widths), residual_links(widths)
    skip = "identity" if split == beside else "projection" if shortcut else "identity, pooled, padded or cut,"
    block = Block(operation.scope, "addition", k, sum(widths), present, possible)
    return judged(operation, "skip", f"{skip} past {k} layers"), block, tuple(path)


def _size(flow: Flow, position: int) -> tuple[int, ...]:
    """Shape of a value without dimensions of size 1 at its front, the batch among them."""
    shape = flow.operations[position].shape
    while shape[:1] == (1,):
        shape = shape[1:]
    return shape


def _no_block(operation: Operation, verdict: Verdict, reason: str) -> _Judgement:
    return judged(operation, verdict, reason), None, ()


def _uses_only_pieces(flow: Flow, split: int, position: int) -> bool:
    """Return whether only slices of ``split`` reach ``position``, so that no operand carries it whole."""
    region = flow.between(split, position)
    users = [flow.operations[user] for user in flow.users[split] if region >> user & 1]
    return len(users) > 1 and all(user.kind == "slice" for user in users)


def _viewed(flow: Flow, position: int) -> int:
    """The value that one is an activation or another shape of."""
    while flow.operations[position].keeps_channels or flow.operations[position].is_view:
        position = flow.operations[position].inputs[0]
    return position
