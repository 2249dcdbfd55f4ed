"""Concatenation-type skip connections: the channels of each unit of a cell that reach each other unit.

A source is a value that was computed and not joined. Concatenations that share sources form a cell. Its units are the
sources that take channels of other sources; those that take none are the block's input. In a module that states itself
a cell (``is_cell``), as our own cells do, all layers are units: the first one too, and a last one that reads what was
joined and is joined no more. A unit's level is one more than the highest of those it reads: units a level apart are
neighbours, joined by short-range links, and channels that reach a unit past a level are skips. Density is channels that
skip over channels that could, and the mass is density times the units' output channels (Eqs. 1 and 2 of CVPR 2021). A
last layer that is joined no more counts with the mean width of the joined ones, as the papers' MLP classifier does.
"""

import numpy as np

from nnmass.zoo.reader.blocks import Block, Joint, Verdict, Wiring, judged
from nnmass.zoo.reader.flow import Flow
from nnmass.zoo.reader.mixing import is_mixed, is_moved
from nnmass.zoo.reader.operation import Operation, common_names

__all__ = ["judge_concatenations"]

MIXED = "what is joined is then added up, or mixed by fixed numbers, in a way that the reader does not follow"
MOVED = "what is joined is moved or taken apart in a way that the reader does not follow"

# Per channel of a value: the source that computed it (-1 for a constant), and which of the source's channels it is.
Composition = tuple[np.ndarray, np.ndarray]


def judge_concatenations(flow: Flow) -> tuple[dict[int, Joint], dict[int, Block]]:
    """Judge every concatenation of a trace.

    Args:
        flow: The trace.

    Returns:
        One joint per concatenation, by its position, and the blocks with skips, by the position of their last one.
    """
    joints: dict[int, Joint] = {}
    blocks: dict[int, Block] = {}
    by_axis: dict[int | None, list[int]] = {1: [], -1: [], None: []}
    for position, operation in enumerate(flow.operations):
        if operation.kind == "concatenation":
            by_axis[_channel_axis(flow, position)].append(position)
    for position in by_axis[None]:
        if is_mixed(flow, position):
            joints[position] = judged(flow.operations[position], "not judged", MIXED)
        elif flow.operations[position].axis == 0 and flow.users[position]:
            joints[position] = judged(flow.operations[position], "not judged", "joins a batch that shares its layers")
        elif is_moved(flow, position):
            joints[position] = judged(flow.operations[position], "not judged", MOVED)
        else:
            joints[position] = judged(flow.operations[position], "not a skip", "joins positions, not channels")
    for axis in (1, -1):
        if by_axis[axis]:
            compositions = Compositions(flow, axis)
            for together, sources in _cells(by_axis[axis], compositions):
                reason, block = _judge_cell(flow, compositions, together, sources)
                verdict: Verdict = "skip" if block else "not judged" if reason == MOVED else "not a skip"
                for position in together:
                    mixed = is_mixed(flow, position)
                    told: Verdict = "not judged" if mixed else verdict
                    joints[position] = judged(flow.operations[position], told, MIXED if mixed else reason)
                if block is not None:
                    blocks[together[-1]] = block
    return joints, blocks


class Compositions:
    """Composition of each value along the channel axis, seen through concatenations, slices and activations."""

    def __init__(self, flow: Flow, axis: int) -> None:
        self.axis = axis  # 1, or -1 for channels in the last dimension
        self._operations = flow.operations
        self._known: list[Composition | None] = []  # None: the value is a source
        self.moved: dict[int, set[int]] = {}  # sources of joined values, by the source that they were made into
        for position, operation in enumerate(flow.operations):
            self._known.append(self._compose(operation))
            if self._known[-1] is None and (operation.rearranges or operation.is_view or operation.written):
                inside = set().union(*(self.sources(part) for part in operation.inputs if part >= 0))
                inside = set().union(inside, *(self.moved.get(source, ()) for source in inside))
                if len(inside) > 1:
                    self.moved[position] = inside

    def __getitem__(self, position: int) -> Composition:
        known = self._known[position]
        if known is not None:
            return known
        shape = self._operations[position].shape
        size = shape[self.axis] if len(shape) > 1 else 0
        return np.full(size, position), np.arange(size)

    def sources(self, position: int) -> set[int]:
        """The sources in a value."""
        return set(self[position][0].tolist()) - {-1}

    def _compose(self, operation: Operation) -> Composition | None:
        axis = self.axis % len(operation.shape) if operation.shape else 0
        if operation.keeps_channels or (operation.is_view and self._keeps_channels(operation)):
            return self[operation.inputs[0]]
        if operation.written:
            return self._written(operation, axis)
        if operation.kind == "concatenation" and operation.axis == axis:
            inside = sum(self._operations[part].shape[axis] for part in operation.inputs if part >= 0)
            constant = np.full(operation.shape[axis] - inside, -1)
            parts = [self[part] if part >= 0 else (constant, constant) for part in operation.inputs]
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        if operation.kind == "slice" and operation.axis == axis:
            source = operation.inputs[0]
            if len(self._operations[source].shape) == len(operation.shape):
                sources, channels = self[source]
                return sources[list(operation.taken)], channels[list(operation.taken)]
        return None

    def _written(self, operation: Operation, axis: int) -> Composition | None:
        """The composition of a buffer that something was written to."""
        base, source = operation.inputs
        if operation.axis != axis:
            return None if -1 not in operation.inputs else self[max(base, source)]
        size = operation.shape[axis]
        sources, channels = np.full(size, -1), np.full(size, -1)
        if base >= 0:
            sources, channels = (part.copy() for part in self[base])
        entries = list(operation.written)
        sources[entries], channels[entries] = self[source] if source >= 0 else (-1, -1)
        return sources, channels

    def _keeps_channels(self, operation: Operation) -> bool:
        """Return whether the channels stay in their dimension and order when the shape changes."""
        before, after = self._operations[operation.inputs[0]].shape, operation.shape
        if self.axis == 1:
            return len(before) > 1 and before[:2] == after[:2]
        return bool(before and after) and before[-1] == after[-1]  # a linear layer takes all positions for a batch


def _channel_axis(flow: Flow, position: int) -> int | None:
    """1 or -1 where a concatenation joins channels, the dimension that the next layer sums over; None elsewhere."""
    operation = flow.operations[position]
    last = len(operation.shape) - 1
    for reader in range(position + 1, len(flow.operations)):
        if flow.operations[reader].kind == "layer" and flow.is_above(position, reader):
            if flow.operations[reader].is_convolution or (last > 2 and operation.axis == 1):
                return 1 if operation.axis == 1 else None
            return -1 if operation.axis == last else None
    return 1 if operation.axis == 1 else None


def _cells(joints: list[int], compositions: Compositions) -> list[tuple[list[int], list[int]]]:
    """Concatenations grouped by the sources that they share: per cell, both in the order in which they run."""
    cells: list[tuple[list[int], set[int]]] = []
    for joint in joints:
        together, sources = [joint], compositions.sources(joint)
        for cell in [cell for cell in cells if cell[1] & sources]:
            cells.remove(cell)
            together, sources = cell[0] + together, cell[1] | sources
        cells.append((together, sources))
    return [(sorted(together), sorted(sources)) for together, sources in cells]


def _judge_cell(
    flow: Flow, compositions: Compositions, joints: list[int], sources: list[int]
) -> tuple[str, Block | None]:
    """Judge a cell: the reason why it holds no skip, or the kind of its skips and the block."""
    if len(sources) == 1:
        return "joins pieces of one value", None
    if any(
        position in sources or (inside & set(sources) and any(flow.is_above(position, source) for source in sources))
        for position, inside in compositions.moved.items()
    ):
        return MOVED, None
    if not any(flow.is_above(first, second) for first in sources for second in sources if first < second):
        return "parallel branches joined once", None
    reads = {source: _channels_read(flow, compositions, sources, source) for source in sources}
    stated = {flow.operations[position].cell for position in joints}
    cell = next(iter(stated)) if len(stated) == 1 else None
    last_readers: list[int] = []
    if cell is None:
        joined = [source for source in sources if reads[source]]
        scope = ".".join(common_names(flow.operations[position].scope for position in (*joints, *joined)))
    else:
        joined, scope = [source for source in sources if flow.operations[source].cell == cell], cell
        last_readers = _last_readers(flow, compositions, sources, cell)
        reads |= {last: _channels_read(flow, compositions, sources, last) for last in last_readers}
    units = sorted([*joined, *last_readers])
    wiring = _wire(compositions, units, reads, scope)
    possible = sum(
        wiring.widths[source]
        for unit in range(len(units))
        for source in range(len(units))
        if units[source] in sources and wiring.levels[source] <= wiring.levels[unit] - 2
    )
    present = sum(len(channels) for unit in range(len(units)) for channels in wiring.long_range(unit).values())
    if not possible:
        return "passes no unit: the units are neighbours", None
    if not present and any(len(reads[unit]) > 1 for unit in units):
        return "only the block's input passes units; it is a layer where the module states is_cell = True", None
    if not present:
        return "joined at the end, and no unit reads the join", None
    channels = len(units) * (sum(len(compositions[unit][0]) for unit in joined) / len(joined))
    block = Block(scope, "concatenation", len(units), channels, present, possible, wiring)
    return f"{present} of {possible} channels past units", block


def _wire(compositions: Compositions, units: list[int], reads: dict[int, dict[int, set[int]]], scope: str) -> Wiring:
    position = {unit: index for index, unit in enumerate(units)}
    levels: list[int] = []
    entering: list[dict[int, tuple[int, ...]]] = []
    for unit in units:
        own = {position[s]: tuple(sorted(channels)) for s, channels in reads[unit].items() if s in position}
        levels.append(1 + max((levels[source] for source in own), default=0))
        entering.append(own)
    widths = tuple(len(compositions[unit][0]) for unit in units)
    return Wiring(scope, widths, tuple(levels), tuple(entering))


def _last_readers(flow: Flow, compositions: Compositions, sources: list[int], cell: str) -> list[int]:
    """Layers of a stated cell that read joined sources and lead to no other one, such as its last layer."""
    leading = 0
    for source in sources:
        leading |= flow.above[source]
    return [
        position
        for position, operation in enumerate(flow.operations)
        if operation.kind == "layer"
        and not leading >> position & 1
        and operation.cell == cell
        and len(compositions.sources(operation.inputs[0]) & set(sources)) > 1
    ]


def _channels_read(flow: Flow, compositions: Compositions, sources: list[int], unit: int) -> dict[int, set[int]]:
    """Channels of each source that reach ``unit`` past no other source."""
    wanted = set(sources)
    channels_read: dict[int, set[int]] = {}
    waiting, seen = list(flow.operations[unit].inputs), {-1}
    while waiting:
        position = waiting.pop()
        if position in seen or position < sources[0]:
            continue
        seen.add(position)
        if compositions.sources(position) & wanted:
            for source, channel in zip(*(part.tolist() for part in compositions[position]), strict=True):
                if source in wanted:
                    channels_read.setdefault(source, set()).add(channel)
        else:
            waiting += flow.operations[position].inputs
    return channels_read
