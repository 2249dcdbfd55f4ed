"""Shares of accuracy that the networks' properties explain, against sums by hand and their statistics."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import nn

from nnmass.studies.choices import Endpoint
from nnmass.studies.report.baselines import BASELINES, baseline_table, with_derived_columns
from nnmass.studies.statistics import partial_correlation, r2_with_interval
from nnmass.zoo import RandomSkipDenseNet, RandomSkipMLP, topology


def results(chains: bool = True) -> pd.DataFrame:
    """Make the rows of a study of MLPs whose accuracy follows log t and, less so, depth."""
    generator = np.random.default_rng(0)
    rows = []
    for depth in (16, 20, 24, 28):
        for tc in range(0 if chains else 1, 9):
            links = [min(8 * max(layer - 1, 0), tc) for layer in range(depth)]
            density = 2 * sum(links) / (8 * (depth - 1) * (depth - 2))
            for seed in range(2):
                row = {"status": "finished", "config": "c", "network": f"mlp_d{depth}_w8_t{tc}", "seed": seed}
                row |= {"depth": depth, "width": 8, "tc": tc, "num_layers": depth, "nn_density": density}
                row |= {
                    "nn_mass": 8 * depth * density,
                    "average_degree": 8 + tc,
                    "num_params": 7000 + 75 * depth + 9 * tc,
                }
                row |= {"macs": 8000 + 64 * depth + sum(links)}
                row["test_accuracy_last"] = 0.9 + 0.02 * np.log1p(tc) + 0.001 * generator.standard_normal()
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (RandomSkipMLP(12, 8, tc=9, in_features=20), {"depth": 12, "width": 8, "tc": 9}),
        (
            RandomSkipDenseNet(5, 2, [3, 7, 500]),
            {"cell_depth": 5, "width_multiplier": 2, "tc": "3 7 500"},
        ),
        (
            RandomSkipDenseNet([4, 6], 1.5, [2, 5], base_widths=[8, 16]),
            {"cell_depth": "4 6", "width_multiplier": 1.5, "tc": "2 5", "base_widths": "8 16"},
        ),
    ],
    ids=["MLP", "cells of one depth", "cells of unlike depths"],
)
def test_links_per_layer_are_those_of_the_built_network(network: nn.Module, arguments: dict[str, Any]) -> None:
    size = (20,) if "depth" in arguments else (3, 8, 8)
    wirings = [block.wiring for block in topology(network, size).blocks if block.wiring]
    entering = sum(
        len(links)
        for wiring in wirings
        for unit in range(len(wiring.widths))
        for links in wiring.long_range(unit).values()
    )
    layers = sum(len(wiring.widths) for wiring in wirings)
    derived = with_derived_columns(pd.DataFrame([{"network": "n", **arguments}]))
    assert derived["links_per_layer"].item() == pytest.approx(entering / layers)
    assert derived["t"].item() == sum(int(word) for word in str(arguments["tc"]).split())


def test_every_property_has_a_row_for_all_networks_and_for_those_with_links() -> None:
    table = baseline_table(results(), endpoint=Endpoint(networks="NN-Mass > 0"))
    assert set(table[table["networks"] == "all"]["measure"]) == set(BASELINES) - {"log NN-Mass", "log t"}
    linked = table[table["networks"] == "NN-Mass > 0"].set_index("measure")
    assert list(linked.index) == list(BASELINES)
    assert (linked["n"] == 32).all()
    assert list(table[table["endpoint"] == "primary"]["measure"]) == ["log NN-Mass"]
    assert linked.loc["log t", "r2"] > 0.95 > linked.loc["depth", "r2"] + 0.5
    assert linked.loc["log parameters", "mass_less_this_low"] > 0
    assert linked.loc["log NN-Mass", "mass_less_this"] == 0
    assert linked["left_out_width"].isna().all()  # of one width
    assert linked["given_depth"].drop(["depth", "layers"]).notna().all()
    assert linked.loc[["depth", "layers"], "given_depth"].isna().all()


def test_its_numbers_are_those_of_the_statistics_on_means_over_seeds() -> None:
    means = results().groupby("network", as_index=False, sort=False).mean(numeric_only=True)
    means = means[means["nn_mass"] > 0]
    x, y = np.log(means["nn_mass"].to_numpy()), means["test_accuracy_last"].to_numpy()
    table = baseline_table(results())
    row = table[(table["networks"] == "NN-Mass > 0") & (table["measure"] == "log NN-Mass")].iloc[0]
    names = means["network"].to_numpy()
    assert tuple(row[["r2", "r2_low", "r2_high"]]) == pytest.approx(r2_with_interval(x, y, names))
    size = [np.log(means["num_params"].to_numpy())]
    given = partial_correlation(x, y, size, names)
    assert tuple(row[["given_size", "given_size_low", "given_size_high"]]) == pytest.approx(given)


def test_each_property_of_the_endpoint_is_told_from_all_others() -> None:
    given = ["log parameters", "depth"]
    table = baseline_table(results(chains=False), endpoint=Endpoint(given=given)).set_index("measure")
    means = results(chains=False).groupby("network", as_index=False, sort=False).mean(numeric_only=True)
    mass, size = (np.log(means[column].to_numpy()) for column in ("nn_mass", "num_params"))
    depth, y = means["depth"].to_numpy(dtype=float), means["test_accuracy_last"].to_numpy()
    names = ["given_others", "given_others_low", "given_others_high"]
    for name, x, others in (("log NN-Mass", mass, [size, depth]), ("depth", depth, [mass, size])):
        told = partial_correlation(x, y, others, means["network"].to_numpy())
        assert tuple(table.loc[name, names]) == pytest.approx(told, rel=1e-6)
    assert "given_others" not in baseline_table(results(chains=False), endpoint=Endpoint())


def test_where_all_networks_have_links_the_endpoint_is_about_all() -> None:
    table = baseline_table(results(chains=False), endpoint=Endpoint(networks="NN-Mass > 0"))
    assert table[table["endpoint"] == "primary"][["networks", "measure"]].to_numpy().tolist() == [
        ["all", "log NN-Mass"]
    ]
    none_yet = baseline_table(results(), endpoint=Endpoint(group="not trained yet"))
    assert (none_yet["endpoint"] == "exploratory").all()


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [
        (Endpoint(measure="mass"), "report.endpoint.measure to be one of log NN-Mass, .* but got 'mass'"),
        (Endpoint(given=["size"]), "report.endpoint.given to be one of log NN-Mass, .* but got 'size'"),
        (Endpoint(epoch="first"), "report.endpoint.epoch to be one of last epoch, but got 'first'"),
        (Endpoint(explained="loss"), "report.endpoint.explained to be one of test accuracy, but got 'loss'"),
    ],
)
def test_an_endpoint_that_there_is_not_is_refused(endpoint: Endpoint, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        baseline_table(results(), endpoint=endpoint)
