"""Points with error bars over the seeds, and the line of a fit through them."""

from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nnmass.studies.explain import Fit, Predictor

__all__ = ["draw_line", "scatter"]


def scatter(axes: Axes, table: pd.DataFrame, x: str, y: str, colour: str, errors: str) -> None:
    """Draw points with error bars where there are any, in a colour for each value of a column.

    Args:
        axes: Where to draw.
        table: One row per point.
        x: Column of the abscissa.
        y: Column of the ordinate.
        colour: Column that colours the points.
        errors: Column of the ordinate's standard deviations; it may be missing.
    """
    for value, part in sorted(table.groupby(colour), key=lambda pair: (len(str(pair[0])), str(pair[0]))):
        deviations = np.nan_to_num(part[errors].to_numpy(dtype=float)) if errors in part else None
        axes.errorbar(part[x], part[y], deviations, marker="o", ms=4, lw=0, elinewidth=0.7, label=str(value))


def draw_line(axes: Axes, table: pd.DataFrame, predictor: Predictor, y: str, **style: Any) -> Fit:
    """Draw the line of a fit from the first point to the last; none where the fit has no meaning.

    Args:
        axes: Where to draw.
        table: One row per point.
        predictor: The abscissa.
        y: Column of the ordinate.
        style: Of the line, as ``Axes.plot`` takes it.

    Returns:
        The fit.
    """
    fit, across, along = predictor.fit(table, y), predictor.values(table), table[y].to_numpy(dtype=float)
    if isfinite(fit.slope):
        ends = np.array([across.min(), across.max()])
        drawn = np.exp(ends) if predictor.is_logarithm else ends
        axes.plot(drawn, along.mean() + fit.slope * (ends - across.mean()), **style)
    return fit
