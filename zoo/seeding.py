"""Random draws that depend on one integer seed and leave the global random state as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Draw everything inside the block from ``seed``; put PyTorch's global random state back afterwards.

    ``torch.nn`` layers draw their initial weights from the global generator, so a network that is built inside this
    block depends on the seed alone and on nothing that was drawn before.

    Args:
        seed: Any non-negative integer below 2**63.

    Yields:
        A generator of its own stream, for draws that should not depend on the order of the layers.

    Raises:
        ValueError: If the seed is not such an integer.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(1)
        >>> with seeded(3):
        ...     assert torch.equal(first, torch.rand(1))
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"Expected seed to be an integer from 0 to 2**63 - 1, but got {seed!r}.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
