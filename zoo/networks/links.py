"""Long-range links of a cell: drawn uniformly as in the papers, placed at one end, or given one by one."""

from collections.abc import Sequence
from numbers import Integral
from typing import Literal

import torch
from torch import Tensor

from nnmass.zoo.checks import require_choice
from nnmass.zoo.mass import link_counts

__all__ = ["Links", "Placement", "draw_links"]

Placement = Literal["uniform", "newest", "oldest"]

Links = Placement | Sequence[Sequence[int]]
"""A placement, or the channels that each layer takes, one sequence per layer."""

_PLACEMENTS = ("uniform", "newest", "oldest")


def draw_links(depth: int, width: int, tc: int, generator: torch.Generator, links: Links = "uniform") -> list[Tensor]:
    """Draw or place the long-range links of one cell.

    Layer i >= 2 takes l_i = min(w_c (i-1), t_c) channels of the w_c (i-1) outputs of layers 0..i-2: drawn uniformly
    without replacement (CVPR 2021, section 3), or, to ask whether the placement matters, the newest or the oldest of
    them. NN-Mass (Eq. 2) counts links and is the same for all.

    Args:
        depth: Layers in the cell, d_c.
        width: Channels per layer, w_c.
        tc: The most long-range channels a layer may take, t_c.
        generator: Source of the draw.
        links: ``uniform``, ``newest``, ``oldest``, or the channels of each layer one by one.

    Returns:
        One sorted int64 tensor per layer, of shape ``(l_i,)``; entry s w_c + k means channel k of layer s.

    Raises:
        ValueError: If the placement is unknown, or links that are given are not l_i unlike channels of each layer.

    Example:
        >>> [links.tolist() for links in draw_links(4, 2, 9, torch.Generator().manual_seed(0))]
        [[], [], [0, 1], [0, 1, 2, 3]]
        >>> [links.tolist() for links in draw_links(5, 2, 2, torch.Generator(), "newest")]
        [[], [], [0, 1], [2, 3], [4, 5]]
    """
    counts = link_counts(depth, width, tc)
    candidates = [width * max(layer - 1, 0) for layer in range(depth)]
    if not isinstance(links, str):
        return _given(links, counts, candidates)
    require_choice("links", links, _PLACEMENTS)
    if links == "uniform":
        return [
            torch.randperm(many, generator=generator, device="cpu")[:count].sort().values
            for many, count in zip(candidates, counts, strict=True)
        ]
    firsts = [many - count if links == "newest" else 0 for many, count in zip(candidates, counts, strict=True)]
    return [torch.arange(first, first + count, device="cpu") for first, count in zip(firsts, counts, strict=True)]


def _given(links: Sequence[Sequence[int]], counts: list[int], candidates: list[int]) -> list[Tensor]:
    """Check links that are given one by one."""
    if len(links) != len(counts):
        raise ValueError(f"Expected links to have one list for each of {len(counts)} layers, but got {len(links)}.")
    for layer, (channels, count, many) in enumerate(zip(links, counts, candidates, strict=True)):
        whole = all(isinstance(channel, Integral) and 0 <= channel < many for channel in channels)
        if not whole or len(set(channels)) != len(channels) or len(channels) != count:
            raise ValueError(
                f"Expected links of layer {layer} to be {count} unlike channels from 0 to {max(many - 1, 0)}, but got "
                f"{list(channels)}."
            )
    return [torch.tensor(sorted(channels), dtype=torch.int64, device="cpu") for channels in links]
