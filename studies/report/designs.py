"""Table and figure of networks that were designed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from nnmass.zoo import Design

if TYPE_CHECKING:
    from nnmass.zoo.design.latency import Latency

__all__ = ["designs_table", "draw_designs"]


def designs_table(rows: "Sequence[tuple[Design, Latency | None]]") -> pd.DataFrame:
    """Tabulate networks: arguments, mass and size, and where they were timed the latency in s."""
    columns = [
        {
            **design.arguments,
            "nn_mass": design.nn_mass,
            "num_params": design.num_params,
            "macs": design.macs,
            **({"latency_s": latency.median, "latency_spread_s": latency.spread} if latency else {}),
        }
        for design, latency in rows
    ]
    return pd.DataFrame(columns)


def draw_designs(name: str, given: Sequence[Design], rows: "Sequence[tuple[Design, Latency | None]]") -> Figure:
    """Draw NN-Mass against parameters and against MACs, with the network they are to be like if there is one.

    Args:
        name: Of the reference.
        given: The reference, or none.
        rows: The designs.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    designs = [design for design, _ in rows]
    mass = [design.nn_mass for design in designs]
    size = 8 if len(designs) > 100 else 30
    for axes, label, other, column in (
        (left, "parameters", "MACs", ("num_params", "macs")),
        (right, "MACs", "parameters", ("macs", "num_params")),
    ):
        across, colour = ([getattr(design, one) for design in designs] for one in column)
        points = axes.scatter(across, mass, c=colour, s=size, cmap="viridis", label="designed")
        for reference in given:
            axes.scatter(getattr(reference, column[0]), reference.nn_mass, marker="*", s=180, c="tab:red", label=name)
        axes.set_xlabel(label)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.colorbar(points, ax=axes, label=other, format=EngFormatter(sep=""))
    left.set_ylabel("NN-Mass")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    return figure
