"""Numbers that the page on measures against known accuracies prints, computed again from the tables beside it."""

import importlib.util

import pandas as pd
import pytest
from conftest import ROOT
from scipy import stats

from nnmass.studies.benchmark.sources import BENCHMARKS
from nnmass.studies.benchmark.summary import summary

FOLDER = ROOT / "docs" / "results" / "measures"


@pytest.fixture(scope="module")
def networks() -> pd.DataFrame:
    """The committed table, with the accuracies of NAS-Bench-201 where the package that has them is installed."""
    table = pd.read_csv(FOLDER / "networks.csv")
    cells = table["benchmark"] == "nas-bench-201"
    assert table.loc[cells, "accuracy"].isna().all()  # they bear no licence
    if importlib.util.find_spec("analognasbench") is None:
        return table[~cells]
    known = {network.name: network.accuracy for network in BENCHMARKS["nas-bench-201"]()}
    return table.assign(accuracy=table["accuracy"].where(~cells, table["name"].map(known)))


def test_the_table_of_measures_is_that_of_the_networks(networks: pd.DataFrame) -> None:
    written = pd.read_csv(FOLDER / "benchmark.csv")
    computed = summary(networks, list(written["measure"].unique()))
    written = written[written["benchmark"].isin(computed["benchmark"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(written, computed, rtol=1e-6, atol=1e-9, check_dtype=False)


def test_rank_correlations_of_the_table_are_scipys(networks: pd.DataFrame) -> None:
    written = pd.read_csv(FOLDER / "benchmark.csv").set_index(["benchmark", "measure"])
    for benchmark, table in networks.groupby("benchmark"):
        for measure in ("params", "nn_mass", "synflow", "naswot"):
            told = table.dropna(subset=[measure])
            row = written.loc[(benchmark, measure)]
            assert row["networks"] == len(told)
            if told.empty:
                continue
            values, accuracies = ([f"{value:.12g}" for value in told[name]] for name in (measure, "accuracy"))
            rho = stats.spearmanr(list(map(float, values)), list(map(float, accuracies))).statistic
            assert row["spearman"] == pytest.approx(rho, abs=1e-9)


def test_the_sentences_of_the_page_are_those_of_the_table() -> None:
    page = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    table = pd.read_csv(FOLDER / "benchmark.csv").set_index(["benchmark", "measure"])

    def estimate(benchmark: str, measure: str, name: str = "spearman") -> str:
        row = table.loc[(benchmark, measure)]
        return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"

    cells = {name: estimate("nas-bench-201", name) for name in ("naswot", "zico", "params", "synflow", "nn_mass")}
    assert (
        "NASWOT has {naswot}, ZiCo {zico}, parameters {params}, SynFlow {synflow} and NN-Mass {nn_mass}: these"
    ).format(**cells) in page
    given = [estimate("nas-bench-201", name, "given_params") for name in ("jacob_cov", "naswot", "nn_mass")]
    assert "{} for the Jacobian covariance, {} for NASWOT and {} for NN-Mass".format(*given) in page
    for sentence, about in {
        "NN-Degree on the MNIST MLPs, by {} of": ("mnist_mlp", "nn_degree", "more_than_params"),
        "higher by {}, which is not significantly different from 0": ("mnist_mlp", "nn_mass", "more_than_params"),
        "its rho less that of parameters is {}.": ("nas-bench-201", "nn_mass", "more_than_params"),
        "parameters lead: {} on pytorchcv's": ("pytorchcv-cifar10", "params"),
        "ahead of NN-Mass with {}, and": ("pytorchcv-cifar10", "nn_mass"),
        "{} on timm's, ahead of": ("timm", "params"),
        "ahead of NN-Degree with {}; NN-Mass": ("timm", "nn_degree"),
        "NN-Mass has {} there": ("timm", "nn_mass"),
        "nothing beyond size ({})": ("timm", "nn_mass", "given_params"),
        "ZiCo leads with {};": ("torchvision", "zico"),
        "to parameters, {}, is not significantly different from 0": ("torchvision", "zico", "more_than_params"),
    }.items():
        assert sentence.format(estimate(*about)) in page, sentence
    better = table[table["more_than_params_low"] > 0].index.tolist()
    assert better == [("mnist_mlp", "macs"), ("mnist_mlp", "nn_degree")]
