"""Random draws that depend on one integer seed and leave the global random state as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nnmass.zoo.checks import require, require_integer

__all__ = ["kept_random_state", "seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Draw everything inside the block from ``seed``; put PyTorch's global random state back afterwards.

    ``torch.nn`` layers draw their initial weights from the global generator, so a network that is built inside this
    block depends on the seed alone and on nothing that was drawn before.

    Args:
        seed: Any non-negative integer below 2**63, also NumPy's.

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
    seed = require_integer("seed", seed, 0)
    require(seed < 2**63, "seed", "be below 2**63", seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


@contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Put PyTorch's global random state back after the block.

    Args:
        device: On which the block draws; if it is a GPU, its state is put back with the processor's.

    Example:
        >>> with kept_random_state(torch.device("cpu")):
        ...     first = torch.rand(1)
        >>> assert torch.equal(first, torch.rand(1))
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
