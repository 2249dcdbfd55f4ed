"""Figures of a study: what stands above the panels, and what is left of accuracy and mass given other properties."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from nnmass.studies.choices import Endpoint
from nnmass.studies.report.baselines import baseline_table
from nnmass.studies.report.figures import draw_partial_regression, study_figures

ENDPOINT = Endpoint(measure="log NN-Mass", given=["log parameters", "depth", "log t"])


def results(networks: int = 20, seeds: int = 2) -> pd.DataFrame:
    """Trainings of networks whose accuracy depends on everything a little, the first without links."""
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "status": "finished",
            "config": "mnist_mlp",
            "network": [f"mlp_{number}" for number in range(networks)],
            "depth": generator.integers(4, 32, networks),
            "width": 8,
            "tc": np.arange(networks),
            "nn_mass": np.arange(networks) * generator.uniform(1, 3, networks),
            "nn_density": generator.uniform(0, 1, networks),
            "num_params": generator.integers(5_000, 12_000, networks),
        }
    )
    table = table.assign(macs=table["num_params"] - 100, flops=2 * table["num_params"])
    accuracy = 0.5 + 0.1 * np.log1p(table["nn_mass"]) + 1e-5 * table["num_params"] - 0.002 * table["depth"]
    return pd.concat(
        table.assign(seed=seed, test_accuracy_last=accuracy + generator.normal(scale=0.05, size=networks))
        for seed in range(seeds)
    )


def accuracy_figure(table: pd.DataFrame) -> Figure:
    return dict(study_figures(table, pd.DataFrame(), "depth", None, []))["accuracy"]


def test_r2_stands_above_each_panel_with_its_interval() -> None:
    panels = {axes.get_xlabel(): axes.get_title() for axes in accuracy_figure(results()).axes[4:]}
    lines = baseline_table(results()).query("networks == 'NN-Mass > 0'").set_index("measure")
    for label, measure in {
        "NN-density": "NN-density",
        "NN-Mass": "log NN-Mass",
        "parameters": "log parameters",
    }.items():
        r2, low, high = lines.loc[measure, ["r2", "r2_low", "r2_high"]]
        assert panels[label] == f"NN-Mass > 0\nR² {r2:.2f} ({low:.2f} to {high:.2f})"


def test_a_panel_says_how_many_networks_have_no_logarithm_and_that_few_have_no_interval() -> None:
    titles = {axes.get_xlabel(): axes.get_title() for axes in accuracy_figure(results(networks=6)).axes[:4]}
    assert titles["NN-Mass"].startswith("without 1 of mass 0\nR² ")
    assert all(title.endswith((" of 5 points", " of 6 points")) for title in titles.values())
    assert "to" not in titles["NN-density"]


def test_the_points_of_a_partial_regression_have_the_endpoint_as_their_correlation() -> None:
    table = results().query("nn_mass > 0")
    figure = draw_partial_regression(table, ENDPOINT, "depth", None)
    assert figure is not None
    (axes,) = figure.axes
    points = np.concatenate([container[0].get_xydata() for container in axes.containers])
    (line,) = baseline_table(table, None, ENDPOINT).query("endpoint == 'primary'").to_dict("records")
    assert np.corrcoef(points.T)[0, 1] == pytest.approx(line["given_others"])
    # The same from the inverse of the correlations of all columns.
    means = table.groupby("network").mean(numeric_only=True)
    columns = [np.log(means["nn_mass"]), means["test_accuracy_last"], np.log(means["num_params"]), means["depth"]]
    inverse = np.linalg.inv(np.corrcoef([*columns, np.log(means["tc"])]))
    assert line["given_others"] == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))
    low, high = line["given_others_low"], line["given_others_high"]
    assert axes.get_title() == f"partial correlation {line['given_others']:.2f} ({low:.2f} to {high:.2f})"


def test_a_study_has_a_partial_regression_where_its_endpoint_is_one_and_all_properties_are_known() -> None:
    table = results().query("nn_mass > 0")

    def drawn(table: pd.DataFrame, endpoint: Endpoint) -> bool:
        return draw_partial_regression(table, endpoint, "depth", None) is not None

    assert "partial_regression" in dict(study_figures(table, pd.DataFrame(), "depth", None, [], ENDPOINT))
    assert drawn(results(), Endpoint(networks="NN-Mass > 0", given=ENDPOINT.given))
    assert not drawn(results(), ENDPOINT)  # where t is 0 it has no logarithm
    assert not drawn(table, Endpoint())
    assert not drawn(table, Endpoint(group="other", given=["depth"]))
    assert not drawn(table.head(4), ENDPOINT)
