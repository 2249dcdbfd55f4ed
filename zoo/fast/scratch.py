"""The scratch buffer from which the convolutions of a pass on shared outputs take their inputs, one after the other."""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nnmass.zoo.fast import internals
from nnmass.zoo.fast.channels import Reading

if TYPE_CHECKING:
    from nnmass.zoo.fast.outputs import SharedOutputs

__all__ = ["Reader", "ScratchBuffer"]


class ScratchBuffer:
    """Memory for what enters a convolution, until the next one's takes its place: it is gathered again, not kept.

    Attributes:
        memory: The numbers.
        reader: Returns whose channels they are, or None.
    """

    def __init__(self) -> None:
        self.memory = torch.empty(0)
        self.reader: Callable[[], Reader | None] = lambda: None
        self._counters = torch.empty(0)

    def take(self, reader: "Reader", count: int, like: Tensor) -> Tensor:
        """Memory for ``count`` numbers, or more, of the precision of ``like``; what was in there is gone.

        Args:
            reader: Who will put its channels there.
            count: How many numbers they are.
            like: A tensor of their precision and device.
        """
        self.reader = weakref.ref(reader)
        if len(self.memory) < count or self.memory.dtype != like.dtype or self.memory.device != like.device:
            self.memory = torch.empty(0)  # freed before the larger one is asked for
            self.memory = like.new_empty(count)
        return self.memory

    def counters(self, count: int, like: Tensor) -> Tensor:
        """Zeros, ``count`` or more, in which the programs of one sweep after the other count how many are done.

        Args:
            count: How many.
            like: A tensor of their device.
        """
        if len(self._counters) < count:
            self._counters = like.new_zeros(count, dtype=torch.int32)
        return self._counters


class Reader:
    """One layer's view of the shared outputs: the channels that it reads, which are put into the scratch buffer.

    Args:
        shared: The outputs.
        norm: Normalises the channels; its running statistics follow.
        newest: Number of the output that the layer takes whole.
        links: Channels of the earlier outputs, (l_i,).
        padded: Whether the convolution takes channels of zeros behind them, which may make it faster.
    """

    def __init__(self, shared: "SharedOutputs", norm: nn.BatchNorm2d, newest: int, links: Tensor, padded: bool) -> None:
        self.shared, self.count = shared, norm.num_features
        if padded:
            self.count = shared.loops.stride_of(self.count, shared.outputs.values.dtype)
        self.channels = shared.loops.normalise_and_gather(norm, newest, links, shared.outputs, self._take())
        self._given: tuple | None = None
        self._is_awaited = False

    def to_gather(self) -> Reading | None:
        """Make room for what the layer's convolution needs to go back; None if it needs nothing, or has it already."""
        if not self._is_awaited or self.shared.scratch.reader() is self:
            return None
        return Reading(self.shared.outputs, self.channels, self._take())

    def give_out(self) -> Tensor:
        """Hand over what enters the convolution, (N, w_c + l_i or more, H, W), and remember it to know it again."""
        entering = self._image()
        self._given = _place(entering)
        return entering

    def put_away(self, saved: Tensor) -> tuple[Tensor, int] | None:
        """Put nothing into the graph of gradients in place of what can be gathered again."""
        if _place(saved) != self._given:
            return saved, internals.version(saved)
        self._is_awaited = True
        return None

    def bring_back(self, packed: tuple[Tensor, int] | None) -> Tensor:
        """Return the tensor that was put away.

        Raises:
            RuntimeError: If it has been changed since.
        """
        if packed is None:
            reading = self.to_gather()
            if reading is not None:
                self.shared.loops.gather(reading)
            return self._image()
        saved, version = packed
        if internals.version(saved) != version:
            raise RuntimeError(
                f"Expected what a layer needs for its gradient to stay as it was, but a tensor of shape "
                f"{tuple(saved.shape)} has been modified by an inplace operation."
            )
        return saved

    def _take(self) -> Tensor:
        rows, count = self.shared.rows, self.count
        memory = self.shared.scratch.take(self, rows * count, self.shared.outputs.values)
        return memory.as_strided((rows, count), (count, 1))

    def _image(self) -> Tensor:
        """The contents of the scratch buffer as images in channels_last order."""
        samples, _, height, width = self.shared.shape
        count, memory = self.count, self.shared.scratch.memory
        return memory.as_strided((samples, count, height, width), (height * width * count, 1, width * count, count))


def _place(tensor: Tensor) -> tuple:
    """Place and layout of a tensor's numbers, by which it is known to be the same as another one."""
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
