"""Predictors and the lines of their fits, against NumPy."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from nnmass.studies.drawing import draw_line, scatter
from nnmass.studies.explain import Predictor, fits_on, predictors

GENERATOR = np.random.default_rng(0)
TABLE = pd.DataFrame({"nn_mass": GENERATOR.uniform(1, 50, 20), "depth": [8, 16] * 10, "std_y": 0.1}).assign(
    y=lambda table: 0.3 * np.log(table["nn_mass"]) + GENERATOR.normal(scale=0.1, size=20)
)


@pytest.mark.parametrize("is_logarithm", [False, True])
def test_a_line_is_drawn_where_least_squares_put_it(is_logarithm: bool) -> None:
    axes = Figure().subplots()
    fit = draw_line(axes, TABLE, Predictor("nn_mass", is_logarithm), "y", color="red")
    across = np.log(TABLE["nn_mass"]) if is_logarithm else TABLE["nn_mass"]
    slope, intercept = np.polyfit(across, TABLE["y"], 1)
    (line,) = axes.lines
    ends = np.array([across.min(), across.max()])
    np.testing.assert_allclose(line.get_xdata(), np.exp(ends) if is_logarithm else ends)
    np.testing.assert_allclose(line.get_ydata(), intercept + slope * ends)
    assert fit.slope == pytest.approx(slope)


def test_too_few_points_have_no_line() -> None:
    axes = Figure().subplots()
    assert np.isnan(draw_line(axes, TABLE.head(2), Predictor("nn_mass"), "y").slope)
    assert not axes.lines


def test_points_are_drawn_by_colour_with_their_errors_where_there_are_any() -> None:
    axes = Figure().subplots()
    scatter(axes, TABLE, "nn_mass", "y", "depth", "std_y")
    assert [container.get_label() for container in axes.containers] == ["8", "16"]
    assert all(container.has_yerr for container in axes.containers)
    scatter(axes, TABLE, "nn_mass", "y", "depth", "std_of_nothing")
    assert not axes.containers[-1].has_yerr


def test_a_logarithm_is_fitted_only_where_every_row_has_one() -> None:
    chosen = predictors(["nn_mass"], ["nn_mass"])
    assert [fit["explaining"] for fit in fits_on(TABLE, "y", chosen)] == ["log NN-Mass", "NN-Mass"]
    with_zero = pd.concat([TABLE, TABLE.head(1).assign(nn_mass=0.0)])
    (fit,) = fits_on(with_zero, "y", chosen)
    assert (fit["explaining"], fit["n"]) == ("NN-Mass", 21)
    assert fit["r2"] == pytest.approx(np.corrcoef(with_zero["nn_mass"], with_zero["y"])[0, 1] ** 2)
