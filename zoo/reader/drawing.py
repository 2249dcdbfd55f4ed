"""Pictures of topology: cells as columns of channels with their links, and degree distributions."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from nnmass.zoo.reader.blocks import Wiring
from nnmass.zoo.reader.degrees import degree_distributions

__all__ = ["draw_cells", "draw_degrees"]


def draw_cells(wirings: Sequence[Wiring]) -> Figure:
    """Draw each cell as in figures 1 and 9 of the ICLR 2021 submission.

    A column of dots is a layer, a dot one of its channels. A grey band is all short-range links from one layer to the
    next; a curve is a long-range link, from the channel to the layer that takes it, in the colour of its source layer.

    Args:
        wirings: The cells, from ``nnmass.zoo.topology(...).blocks``.

    Returns:
        One picture, a row per cell.

    Raises:
        ValueError: If there is no cell to draw.
    """
    _require_cells(wirings)
    columns = max(len(wiring.widths) for wiring in wirings)
    figure = Figure(figsize=(max(6.0, 0.9 * columns), 3.2 * len(wirings)), layout="constrained")
    for axes, wiring in zip(figure.subplots(len(wirings), 1, squeeze=False)[:, 0], wirings, strict=True):
        shades = colormaps["viridis"](np.linspace(0, 0.9, len(wiring.widths)))
        heights = [np.linspace(-0.5, 0.5, width + 2)[1:-1] for width in wiring.widths]
        bands, curves, colours = [], [], []
        for unit in range(len(wiring.widths)):
            skips = wiring.long_range(unit)
            for source, channels in wiring.entering[unit].items():
                if source not in skips:
                    low, high = heights[source][[0, -1]], heights[unit][[0, -1]]
                    bands.append([(source, low[0]), (source, low[1]), (unit, high[1]), (unit, high[0])])
                for height in heights[source][list(channels)] if source in skips else ():
                    curves.append(_arc(source, unit, height))
                    colours.append(shades[source])
        axes.add_collection(PolyCollection(bands, facecolor="0.85", edgecolor="none"))
        opacity = float(np.clip(60 / max(len(curves), 1), 0.08, 0.8))
        axes.add_collection(LineCollection(curves, colors=colours, linewidths=0.8, alpha=opacity))
        for unit, ys in enumerate(heights):
            axes.scatter(np.full(len(ys), unit), ys, s=min(40.0, 300 / len(ys)), color=shades[unit], zorder=3)
        axes.set_xticks(range(len(wiring.widths)), [f"{i}\n{width}" for i, width in enumerate(wiring.widths)])
        axes.set_yticks([])
        axes.set_ylim(-0.6, 1.3)
        axes.set_xlabel("layer, and its channels")
        axes.set_title(wiring.scope or "network", loc="left")
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _arc(source: int, unit: int, height: float) -> np.ndarray:
    """A curve (16, 2) from a channel, over the columns between, down to the top of the layer that takes it."""
    share = np.linspace(0, 1, 16)
    rise = 0.25 + 0.06 * (unit - source)
    return np.column_stack(
        [source + (unit - source) * share, height + (0.5 - height) * share + 4 * rise * share * (1 - share)]
    )


def draw_degrees(wirings: Sequence[Wiring]) -> Figure:
    """Draw the degree distributions of each cell's long-range links beside Poisson distributions of the same means.

    Args:
        wirings: The cells, from ``nnmass.zoo.topology(...).blocks``.

    Returns:
        One picture, a row per cell: in-degree, out-degree, layers reached.

    Raises:
        ValueError: If there is no cell to draw.
    """
    _require_cells(wirings)
    figure = Figure(figsize=(11, 2.8 * len(wirings)), layout="constrained")
    for row, wiring in zip(figure.subplots(len(wirings), 3, squeeze=False), wirings, strict=True):
        for axes, distribution in zip(row, degree_distributions(wiring), strict=True):
            observed, expected = distribution.shares()
            axes.vlines(np.flatnonzero(observed), 0, observed[observed > 0], color="C0", linewidth=3, label="network")
            axes.plot(np.arange(len(observed)), expected, color="C3", linewidth=1.2, label="Poisson, same mean")
            axes.set_xlabel(distribution.degree)
            axes.set_ylabel("share of neurons")
            axes.set_title(f"{wiring.scope or 'network'}: mean {distribution.mean:.2f}", loc="left", fontsize=9)
            axes.legend(fontsize=8)
    return figure


def _require_cells(wirings: Sequence[Wiring]) -> None:
    if not wirings:
        raise ValueError("Expected a network with cells of concatenated layers, but it holds no such skip connection.")
