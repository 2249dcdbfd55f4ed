"""The scratch buffer from which the convolutions of a pass on shared outputs take their inputs, one after the other."""

import torch
from torch import Tensor

__all__ = ["ScratchBuffer"]


class ScratchBuffer:
    """Memory for what enters a convolution, until the next one's takes its place: it is gathered again, not kept."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def take(self, rows: int, count: int, like: Tensor) -> Tensor:
        """Memory for ``count`` numbers in each of ``rows`` rows, (rows, count); what was in there is gone if it grows.

        Args:
            rows: How many rows.
            count: How many numbers each.
            like: A tensor of their precision and device, which are those of all that is taken.
        """
        if len(self._memory) < rows * count:
            self._memory = torch.empty(0)  # freed before the larger one is asked for
            self._memory = like.new_empty(rows * count)
        return self._memory[: rows * count].view(rows, count)
