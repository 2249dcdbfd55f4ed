"""Grids of networks that might be built: shapes, the choices that each leaves open, and their mass and cost.

A shape fixes depth and width. What stays open is one number per cell or stage, t_c or repeats, and each brings mass,
parameters and MACs of its own: those of a network are sums over its cells.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from nnmass.zoo.checks import require, require_integer
from nnmass.zoo.mass import link_counts, nn_mass
from nnmass.zoo.size import Size, cell_widths, densenet_size, mlp_size, mobilenet_size

__all__ = ["Choices", "Shape", "densenet_grid", "mlp_grid", "mobilenet_grid"]


class Choices(NamedTuple):
    """Choices for one cell or stage, by rising gain.

    Attributes:
        values: The values of the open argument, t_c or repeats.
        gain: What each adds to the mass, in whole units of the shape.
        params: What each adds to the learnable numbers.
        macs: What each adds to the multiply-adds, in MAC.
    """

    values: np.ndarray
    gain: np.ndarray
    params: np.ndarray
    macs: np.ndarray


class Shape(NamedTuple):
    """Networks of one depth and width.

    Attributes:
        arguments: Those of the network's class that are fixed.
        open: The name of the argument that holds the choices.
        unit: NN-Mass of one unit of gain.
        mass: NN-Mass without any gain.
        size: What the network costs without any gain.
        cells: The choices of each cell or stage; a single one stands for itself, without a list.
        networks: How many there are to choose from.
    """

    arguments: dict[str, Any]
    open: str
    unit: float
    mass: float
    size: Size
    cells: list[Choices]
    networks: int


def densenet_grid(
    cell_depths: Iterable[int],
    width_multipliers: Iterable[float],
    tc: Iterable[int],
    base_widths: Sequence[int] = (16, 32, 64),
    size: Callable[..., Size] = densenet_size,
) -> list[Shape]:
    """Random-skip DenseNets: one depth for all cells, and for each cell a t_c of its own.

    Args:
        cell_depths: Layers per cell, d_c, to choose from.
        width_multipliers: w_m to choose from; every base width times it must be whole.
        tc: t_c to choose from.
        base_widths: Widths at multiplier 1, one per cell.
        size: :func:`zoo.densenet_size`, with other classes, images, stem or expansion where need be.

    Raises:
        ValueError: If a grid is empty, or a number in it out of range.

    Example:
        >>> shape, = densenet_grid([12], [2], range(0, 301, 5))
        >>> shape.networks, shape.size, len(shape.cells)
        (226981, Size(num_params=2228586, macs=321750272), 3)
    """
    depths, choices = _numbers("cell_depths", cell_depths, 1), _numbers("tc", tc, 0)
    shapes = []
    for depth, multiplier in product(depths, _some("width_multipliers", width_multipliers)):
        widths = cell_widths(base_widths, multiplier)
        every = [depth] * len(widths)
        base = size(every, widths, [0] * len(widths))
        cells = []
        for index, width in enumerate(widths):
            numbers = _within_reach(choices, depth, width)
            # Costs are linear in the links, so one channel for each layer that may take any tells them all.
            one = size(every, widths, [int(index == other) for other in range(len(widths))])
            links = np.array([sum(link_counts(depth, width, number)) for number in numbers])
            layers = max(depth - 2, 1)
            params, macs = (one.num_params - base.num_params) // layers, (one.macs - base.macs) // layers
            cells.append(_by_gain(numbers, links, params * links, macs * links))
        arguments = {"cell_depth": depth, "width_multiplier": multiplier}
        shapes.append(Shape(arguments, "tc", _mass_of_a_link(depth), 0.0, base, cells, len(choices) ** len(widths)))
    return shapes


def mlp_grid(
    depths: Iterable[int],
    widths: Iterable[int],
    tc: Iterable[int],
    size: Callable[..., Size] = mlp_size,
) -> list[Shape]:
    """Random-skip MLPs.

    Args:
        depths: Layers, d, to choose from.
        widths: Neurons per layer, w, to choose from.
        tc: t to choose from.
        size: :func:`zoo.mlp_size`, with other classes or inputs where need be.

    Raises:
        ValueError: If a grid is empty, or a number in it out of range.

    Example:
        >>> shape, = mlp_grid([24], [8], range(15))
        >>> shape.networks, shape.size
        (15, Size(num_params=7954, macs=7760))
    """
    choices, shapes = _numbers("tc", tc, 0), []
    for depth, width in product(_numbers("depths", depths, 2), _numbers("widths", widths, 1)):
        base = size(depth, width, 0)
        numbers = _within_reach(choices, depth, width)
        links = np.array([sum(link_counts(depth, width, number)) for number in numbers])
        sizes = np.array([size(depth, width, number) for number in numbers]) - np.array(base)
        cells = [_by_gain(numbers, links, *sizes.T)]
        arguments = {"depth": depth, "width": width}
        shapes.append(Shape(arguments, "tc", _mass_of_a_link(depth), 0.0, base, cells, len(choices)))
    return shapes


def mobilenet_grid(
    width_multipliers: Iterable[float],
    repeats: Iterable[int],
    size: Callable[..., tuple[Size, float]] = mobilenet_size,
) -> list[Shape]:
    """MobileNetV2s: a width multiplier, and for each of the seven stages a number of blocks.

    Args:
        width_multipliers: Width multipliers to choose from; those that round to the same channels count once.
        repeats: Blocks per stage to choose from.
        size: :func:`zoo.mobilenet_size`, with other classes or images where need be.

    Raises:
        ValueError: If a grid is empty, or a number in it out of range.

    Example:
        >>> shape, = mobilenet_grid([1.0], range(1, 5))
        >>> shape.networks, shape.mass
        (16384, 0.0)
    """
    choices = _numbers("repeats", repeats, 1)
    shapes: list[Shape] = []
    for multiplier in _some("width_multipliers", width_multipliers):
        require(multiplier > 0, "width_multipliers", "be positive", multiplier)
        single = [1] * 7
        base, mass = size(multiplier, single)
        cells = []
        for stage in range(7):
            more, heavier = size(multiplier, [1 + (stage == other) for other in range(7)])
            blocks = np.array(choices) - 1
            # A block's mass is whole: its channels are multiples of 8, and it has 13/8 of them or as many.
            cells.append(
                _by_gain(
                    choices,
                    round(heavier - mass) * blocks,
                    (more.num_params - base.num_params) * blocks,
                    (more.macs - base.macs) * blocks,
                )
            )
        arguments = {"width_multiplier": multiplier}
        if not any(base == shape.size and mass == shape.mass for shape in shapes):
            shapes.append(Shape(arguments, "repeats", 1.0, mass, base, cells, prod(len(choices) for _ in cells)))
    return shapes


def _some(name: str, values: Iterable[Any]) -> list[Any]:
    """The values in order, each once."""
    numbers = sorted(set(values))
    require(len(numbers) > 0, name, "hold at least one number", "none")
    return numbers


def _numbers(name: str, values: Iterable[int], least: int) -> list[int]:
    return [require_integer(name, value, least) for value in _some(name, values)]


def _within_reach(tc: Sequence[int], depth: int, width: int) -> list[int]:
    """The lowest t of the same links: no layer has more candidates than the last one, w (d - 2)."""
    return sorted({min(number, width * max(depth - 2, 0)) for number in tc})


def _mass_of_a_link(depth: int) -> float:
    """NN-Mass of one long-range link in a cell of this depth: each adds as much as any other."""
    return nn_mass(depth, 1, 1) / max(depth - 2, 1)


def _by_gain(values: Sequence[int], gain: np.ndarray, params: np.ndarray, macs: np.ndarray) -> Choices:
    """The lowest of all values that bring the same gain."""
    gain, first = np.unique(gain, return_index=True)
    return Choices(np.array(values)[first], gain, params[first], macs[first])
