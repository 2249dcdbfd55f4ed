"""The networks of NAS-Bench-201, each from the text of its cell."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnmass.zoo.seeding import seeded

__all__ = ["EDGES", "OPERATIONS", "NASBench201", "cell_operations", "cell_text"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Node that an operation reads and node that it adds to, in the order of a cell's text."""

_CELL = re.compile(r"\|(\w+)~0\|\+\|(\w+)~0\|(\w+)~1\|\+\|(\w+)~0\|(\w+)~1\|(\w+)~2\|")


class NASBench201(nn.Module):
    """A network of NAS-Bench-201: three stages of one cell, with a residual block of stride 2 before two of them.

    A cell has four nodes. Each node is the sum of an operation on each earlier node; the last one is the output.

    Args:
        cell: Its six operations, such as ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|``.
        num_classes: Classes.
        channels: Of the first stage; each of the next has twice as many.
        cells: Cells of each stage.
        seed: Decides the initial weights.

    Raises:
        ValueError: If the text is no such cell.

    Source:
        Dong, Yang: "NAS-Bench-201: extending the scope of reproducible neural architecture search", ICLR 2020.

    Example:
        >>> network = NASBench201(cell_text(["nor_conv_3x3"] * 6))
        >>> sum(weight.numel() for weight in network.parameters())  # published as 1.531 million
        1531546
    """

    def __init__(self, cell: str, num_classes: int = 10, channels: int = 16, cells: int = 5, seed: int = 0) -> None:
        super().__init__()
        operations = cell_operations(cell)
        widths = [channels, 2 * channels, 4 * channels]
        with seeded(seed):
            layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
            for before, width in zip([channels, *widths], widths, strict=False):
                layers += [_Halving(before, width)] if before != width else []
                layers += [_Cell(operations, width) for _ in range(cells)]
            layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, classes) of images (N, 3, height, width)."""
        return self.layers(images)


class _Cell(nn.Module):
    """Four nodes and the operations between them; those of ``none`` are left out of the sums."""

    def __init__(self, operations: tuple[str, ...], channels: int) -> None:
        super().__init__()
        made = {edge: _operation(name, channels) for edge, name in zip(EDGES, operations, strict=True)}
        self.edges = nn.ModuleDict({_key(edge): module for edge, module in made.items() if module is not None})

    def forward(self, images: Tensor) -> Tensor:
        nodes = [images]
        for target in (1, 2, 3):
            keys = [(_key((source, target)), nodes[source]) for source in range(target)]
            parts = [self.edges[key](node) for key, node in keys if key in self.edges]
            nodes.append(_sum(parts, images))
        return nodes[-1]


class _Halving(nn.Module):
    """Residual block of stride 2, whose shortcut is average pooling and a 1 x 1 convolution."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(_conv(before, channels, 3, stride=2), _conv(channels, channels, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(before, channels, 1, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        return self.shortcut(images) + self.block(images)


def _sum(parts: list[Tensor], like: Tensor) -> Tensor:
    """Add tensors up; without any, zeros of the shape of another."""
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(like)


def _key(edge: tuple[int, int]) -> str:
    return f"{edge[0]}_to_{edge[1]}"


def _conv(before: int, channels: int, size: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(before, channels, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels))


def _operation(name: str, channels: int) -> nn.Module | None:
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return _conv(channels, channels, 1 if name == "nor_conv_1x1" else 3)


def cell_operations(cell: str) -> tuple[str, ...]:
    """Read the six operations of a cell's text.

    Args:
        cell: As NAS-Bench-201 writes it.

    Raises:
        ValueError: If the text is no such cell.

    Example:
        >>> cell_operations("|avg_pool_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|skip_connect~1|nor_conv_3x3~2|")
        ('avg_pool_3x3', 'none', 'none', 'nor_conv_1x1', 'skip_connect', 'nor_conv_3x3')
    """
    found = _CELL.fullmatch(cell)
    if found is None or not set(found.groups()) <= set(OPERATIONS):
        raise ValueError(
            f"Expected cell to be six of {', '.join(OPERATIONS)} as NAS-Bench-201 writes them, but got {cell!r}."
        )
    return found.groups()


def cell_text(operations: Sequence[str]) -> str:
    """Write six operations as NAS-Bench-201 does; the inverse of :func:`cell_operations`.

    Args:
        operations: One for each of ``EDGES``.
    """
    return "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*operations)
