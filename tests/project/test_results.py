"""Numbers that the pages of results print, computed again from the tables beside them."""

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from page_numbers import PROSE, printed_numbers
from sklearn.linear_model import LinearRegression

from nnmass.commands.study.opened import open_study
from nnmass.studies.gradients.measurements import average_over_seeds, fits
from nnmass.studies.report.baselines import baseline_table
from nnmass.studies.report.fits import study_fits
from nnmass.studies.statistics import partial_correlation
from nnmass.zoo import RandomSkipMLP, d_optimal, graph_statistics, mlp_grid, mlp_size, topology

sys.path.insert(0, str(ROOT / "docs"))
from result_tables import TABLE, refreshed

RESULTS = ROOT / "docs" / "results"
PAGES = sorted(RESULTS.glob("*/README.md"))
STUDIES = {
    "cifar10_half": ("cifar10_half/results.csv", "cifar10_half/"),
    "cifar10_small": ("cifar10_small/results.csv", "cifar10_small/"),
    "imagenet_resnets": ("imagenet/resnets.csv", "imagenet/resnets_"),
    "imagenet_mobilenets": ("imagenet/mobilenets.csv", "imagenet/mobilenets_"),
    "digits_placement": ("mlp_placement/digits_results.csv", "mlp_placement/digits_"),
    "digits_decorrelated": ("mlp_decorrelated/digits_results.csv", "mlp_decorrelated/digits_"),
    "mlp_decorrelated": ("mlp_decorrelated/mnist_results.csv", "mlp_decorrelated/mnist_"),
    "mlp_designs": ("mlp_designs/results.csv", "mlp_designs/"),
    "mlp_placement": ("mlp_placement/mnist_results.csv", "mlp_placement/mnist_"),
    "mnist_mlp": ("mnist_mlp/results.csv", "mnist_mlp/"),
    "synthetic_mlp": ("synthetic_mlp/results.csv", "synthetic_mlp/"),
}


class Numbers:
    """The numbers of one table of results as pages print them."""

    def __init__(self, file: str) -> None:
        self.table = pd.read_csv(RESULTS / file)

    def row(self, **about: object) -> dict[str, Any]:
        about = {"networks": "all", "group": "all", "explained": "test accuracy", "epoch": "last epoch", **about}
        chosen = self.table[(self.table[list(about)].astype(str) == pd.Series(about).astype(str)).all(axis=1)]
        assert len(chosen) == 1, about
        return chosen.iloc[0].to_dict()

    def estimate(self, name: str, **about: object) -> str:
        line = self.row(**about)
        return f"{line[name]:.2f} ({line[f'{name}_low']:.2f} to {line[f'{name}_high']:.2f})"


def printed(page: str) -> str:
    """Read a page as one line, so that sentences need not end where its lines do."""
    return re.sub(r"\s+", " ", (ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=[page.parent.name for page in PAGES])
def test_the_tables_of_a_page_are_those_of_its_files(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == refreshed(page), "python docs/result_tables.py writes them anew"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "synthetic_mlp" else ()) for name in STUDIES]
)
def test_fits_and_baselines_are_those_of_the_results(name: str) -> None:
    results, prefix = STUDIES[name]
    choice = open_study(name).study.report
    table = pd.read_csv(RESULTS / results)
    if table["config"].isna().all():
        table["config"] = ""
    for kind, computed in (
        *(
            []
            if name.endswith(("placement", "decorrelated"))
            else [("fits", study_fits(table, choice.group, choice.published))]
        ),
        ("baselines", baseline_table(table, choice.group, choice.endpoint)),
    ):
        written = pd.read_csv(RESULTS / f"{prefix}{kind}.csv", dtype={"group": str})
        numbers = computed.select_dtypes("number").columns
        words = computed.columns.difference(numbers)
        pd.testing.assert_frame_equal(
            written[numbers].astype(float), computed[numbers].astype(float), rtol=1e-6, atol=1e-9
        )
        known = [word for word in words if word != "published"]
        pd.testing.assert_frame_equal(written[known].astype(str), computed[known].astype(str), check_dtype=False)


@pytest.mark.parametrize(("name", "group"), [("mlp", "initialisation"), ("cnn", "networks")])
def test_fits_of_singular_values_are_those_of_the_rows(name: str, group: str) -> None:
    rows, written = (pd.read_csv(RESULTS / "gradients" / f"{file}.csv") for file in (name, f"{name}_fits"))
    pd.testing.assert_frame_equal(written, fits(average_over_seeds(rows), group), rtol=1e-6)


def test_no_page_s_prose_is_left_out() -> None:
    sentences = {"measures", "mlp_decorrelated", "mlp_placement"}  # that other tests hold one by one
    assert {page.parent.name for page in PAGES} - sentences == {Path(name).parent.name for name in PROSE} - {""}


@pytest.mark.parametrize("name", PROSE)
def test_the_numbers_of_a_page_s_prose_come_out_again(name: str) -> None:
    page, _, section = name.partition("#")
    prose = TABLE.sub("", (ROOT / "docs" / page).read_text(encoding="utf-8")).partition(f"## {section}")
    assert printed_numbers(prose[2] if section else "".join(prose)) == PROSE[name]()


def test_the_readme_prints_its_numbers() -> None:
    page, baselines = printed("README.md"), Numbers("mnist_mlp/baselines.csv")
    mass, size, links = (
        round(100 * baselines.row(measure=name, networks="NN-Mass > 0")["r2"])
        for name in ("log NN-Mass", "log parameters", "log t")
    )
    assert f"log NN-Mass explains {mass} % of the variance of the mean accuracy, log parameters {size} %." in page
    assert "Log t, of the most long-range channels that a layer may take, explains as much as log NN-Mass" in page
    assert links == mass
    assert f"timm's {len(pd.read_csv(RESULTS / 'atlas' / 'atlas.csv')):,} architectures" in page
    assert "decides up to 19 points on MNIST" in page  # which the page on the placement of links is held to


def test_the_page_on_the_placement_of_links_prints_its_numbers() -> None:
    page = printed("docs/results/mlp_placement/README.md")
    for name in ("mnist", "digits"):
        baselines = Numbers(f"mlp_placement/{name}_baselines.csv")
        for group in ("all", "uniform", "newest", "oldest"):
            assert baselines.estimate("r2", measure="log NN-Mass", group=group) in page
    for name, most, best, worst in (("mnist", 19, "uniform", None), ("digits", 60, None, "newest")):
        results = pd.read_csv(RESULTS / "mlp_placement" / f"{name}_results.csv")
        means = results.pivot_table(index=["depth", "tc"], columns="links", values="test_accuracy_last")
        assert round(100 * (means.max(axis=1) - means.min(axis=1)).max()) == most
        assert best is None or (means.idxmax(axis=1) == best).all()
        assert worst is None or (means.idxmin(axis=1) == worst).all()
    mnist = pd.read_csv(RESULTS / "mlp_placement" / "mnist_results.csv").query("depth == 32 and tc == 1")
    of_links = mnist.groupby("links")["test_accuracy_last"].mean()
    assert f"by {100 * (of_links['uniform'] - of_links['oldest']):.0f} points at d = 32 and t = 1" in page
    assert "differ by up to 19 points on MNIST and 60 on the digits" in page
    assert (
        "Uniform links are the best on MNIST in all twelve cases; the newest are the worst on the digits in all" in page
    )


@pytest.mark.parametrize(("study", "name", "inputs"), [("mlp", "mnist", 784), ("digits", "digits", 64)])
def test_the_page_on_networks_told_apart_prints_its_numbers(study: str, name: str, inputs: int) -> None:
    page, baselines = (
        printed("docs/results/mlp_decorrelated/README.md"),
        Numbers(f"mlp_decorrelated/{name}_baselines.csv"),
    )
    results = pd.read_csv(RESULTS / "mlp_decorrelated" / f"{name}_results.csv")
    means = results.groupby("network", as_index=False, sort=False).mean(numeric_only=True)
    columns = [np.log(means["nn_mass"]), np.log(means["num_params"]), means["depth"], np.log(means["tc"])]
    mass, *others = [((column - column.mean()) / column.std()).to_numpy(dtype=float) for column in columns]
    y, networks = means["test_accuracy_last"].to_numpy(), means["network"].to_numpy()
    bent = partial_correlation(mass, y, [*others, *(column**2 for column in others)], networks)
    given = baselines.estimate("given_others", measure="log NN-Mass")
    assert f"{given}; with the squares of the other three, {bent[0]:.2f} ({bent[1]:.2f} to {bent[2]:.2f})" in page
    size, depth, t = others
    shares = [linear_r2(part, y) for part in ([size, depth], [size, depth, t], [size, depth, mass])]
    assert "{:.2f} alone, {:.2f} with log t and {:.2f} with log NN-Mass".format(*shares) in page
    differences = [baselines.estimate("mass_less_this", measure=f"log {other}") for other in ("t", "parameters")]
    assert f"{differences[0]} on {name.replace('mnist', 'MNIST').replace('digits', 'the digits')}" in page
    assert differences[1] in page.partition("less R2 of log parameters")[2]
    grid = mlp_grid(
        [4, 6, 8, 12, 16, 24, 32],
        [6, 8, 10, 12, 16],
        [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64],
        partial(mlp_size, in_features=inputs),
    )
    choice = d_optimal(grid, 48)
    listed = [row.arguments for row in open_study(f"{study}_decorrelated").rows[:: len(results) // 48]]
    assert [{key: row[key] for key in ("depth", "width", "tc")} for row in listed] == [
        d.arguments for d in choice.designs
    ]
    assert set(zip(means["depth"], means["width"], means["tc"], strict=True)) == {
        tuple(design.arguments.values()) for design in choice.designs
    }
    largest, factor = choice.separation.correlations[0, 3], choice.separation.inflation[0]
    assert f"{largest:.2f} on {name.replace('mnist', 'MNIST')}" in page
    assert f"variance inflation factor of log NN-Mass {factor:.0f}" in page


def linear_r2(columns: list[np.ndarray], y: np.ndarray) -> float:
    table = np.column_stack(columns)
    return float(LinearRegression().fit(table, y).score(table, y))


def test_the_page_on_the_placement_of_links_prints_the_lengths_of_paths() -> None:
    page = printed("docs/results/mlp_placement/README.md")

    def length(depth: int, tc: int, links: Any) -> float:
        (block,) = topology(RandomSkipMLP(depth, 8, tc, in_features=64, links=links), 64).blocks
        assert block.wiring is not None
        return round(graph_statistics(block.wiring).path_length, 1)

    # The shortest paths are those of the lowest depth and the most links, the longest those of the other corner.
    newest, uniform, oldest = (
        f"{length(16, 8, links)} to {length(32, 1, links)}" for links in ("newest", "uniform", "oldest")
    )
    assert (
        f"is {newest} with them and grows with depth, {uniform} with uniform links and {oldest} with the oldest" in page
    )
