"""A test that links name channels that exist, before loops read where they point."""

import torch
from torch import Tensor

from nnmass.zoo.fast import internals

__all__ = ["LinkRange"]


class LinkRange:
    """Smallest and largest of a layer's links.

    Links on a GPU are read only where they have changed, since to read them is to wait for the GPU.
    """

    def __init__(self) -> None:
        self._known: tuple[Tensor, tuple[int, int], tuple[int, int]] | None = None

    def is_within(self, links: Tensor, candidates: int) -> bool:
        """Test that all links name one of the candidates; False where a CUDA graph is recorded that cannot ask.

        Args:
            links: Channels, or neurons, (l_i,).
            candidates: How many there are to choose from.
        """
        ends = _ends(links) if links.device.type == "cpu" else self._ends_on_gpu(links)
        return ends is not None and ends[0] >= 0 and ends[1] < candidates

    def _ends_on_gpu(self, links: Tensor) -> tuple[int, int] | None:
        state = (links.data_ptr(), internals.version(links))
        if self._known is None or self._known[0] is not links or self._known[1] != state:
            if torch.cuda.is_current_stream_capturing():
                return None
            ends = _ends(links)
            if ends is None:
                return None
            self._known = links, state, ends
        return self._known[2]


def _ends(links: Tensor) -> tuple[int, int] | None:
    """Smallest and largest link, 0 where there are none; None where they are no list of integers."""
    numbers = links.detach().cpu().numpy()  # not by version on a processor: writes to .data change none
    if numbers.ndim != 1 or numbers.dtype != "int64":
        return None
    return (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, -1)
