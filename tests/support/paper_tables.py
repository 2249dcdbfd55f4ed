"""The numbers of docs/papers.md that come from the committed tables, as it prints them."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from conftest import ROOT

RESULTS = ROOT / "docs" / "results"


@cache
def table(file: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / file)


def row(file: str, **about: object) -> dict[str, Any]:
    lines = table(file)
    chosen = lines[(lines[list(about)].astype(str) == pd.Series(about).astype(str)).all(axis=1)]
    assert len(chosen) == 1, about
    return chosen.iloc[0].to_dict()


def r2(file: str, **about: object) -> list[str]:
    """An R2 with its interval, of the last epoch's accuracy unless told otherwise."""
    about = {"explained": "test accuracy", "epoch": "last epoch", "networks": "all", "group": "all", **about}
    line = row(file, **about)
    return [f"{line[name]:.2f}" for name in ("r2", "r2_low", "r2_high")]


def linked(file: str, **about: object) -> list[str]:
    return r2(file, networks="NN-Mass > 0", **about)


def synthetic(group: str, measure: str) -> list[str]:
    """R2 with the chains, then without."""
    about, whole = {"file": "synthetic_mlp/baselines.csv", "group": f"{group}_mlp"}, measure
    if measure == "log NN-Mass":
        whole = "log(1 + NN-Mass)"
    return [*r2(measure=whole, **about), *linked(measure=measure, **about)]


def singular(group: str, explaining: str) -> list[str]:
    about = {"explained": "mean singular value", "epoch": "before training", "averaging": "mean over seeds"}
    return r2("synthetic_mlp/fits.csv", group=group, explaining=explaining, **about)


def initial(initialisation: str, explaining: str) -> str:
    about = {"initialisation": initialisation, "rows": "all", "explaining": explaining}
    return f"{row('gradients/mlp_fits.csv', **about)['r2']:.2f}"


def convolutional(width: int, explaining: str) -> str:
    about = {"networks": f"w_m {width}, bn eval", "rows": "t > 0", "explaining": explaining}
    return f"{row('gradients/cnn_fits.csv', **about)['r2']:.2f}"


def by_depth() -> list[str]:
    """Mean singular values of MLPs of t = 2 with Gaussian weights, by depth."""
    lines = table("gradients/mlp.csv").query("initialisation == 'gaussian' and tc == 2")
    means = lines.groupby("depth")["mean_singular_value"].mean()
    return ["2", "16", "24", "32", "1/8", *(f"{means[depth]:.3f}" for depth in (16, 24, 32)), "75"]


def simulated(width: int | None = None) -> pd.DataFrame:
    """Simulated matrices of w + m/2 rows, all of whose means must lie within the bounds."""
    lines = table("gradients/simulation.csv").query("figure == 'ICLR-F8'")
    lines = lines if width is None else lines[lines["columns"] == width]
    assert lines["mean_singular_value"].between(lines["low"], lines["high"]).all()
    return lines


def rising() -> list[str]:
    values = simulated(16).sort_values("rows")["mean_singular_value"]
    assert np.corrcoef(values, np.arange(len(values)))[0, 1] > 0.99
    return [str(len(values)), f"{values.iloc[0]:.2f}", f"{values.iloc[-1]:.2f}"]


def mean_squares() -> list[str]:
    """Mean square over the larger side of simulated matrices, of those with more rows and of the others."""
    lines = table("gradients/simulation.csv").query("figure == 'ICLR-F7'")
    tall = lines[lines["rows"] >= lines["columns"]]
    wide = lines[lines["rows"] < lines["columns"]]
    by_rows = (tall["mean_square"] / tall["rows"]).mean()
    by_columns = (wide["mean_square"] / wide["columns"]).mean()
    return [f"{by_rows:.3f}", str(len(tall)), str(len(wide)), f"{by_columns:.3f}"]


def linear_in_mass() -> list[str]:
    widths = simulated().groupby("columns")
    return [f"{np.corrcoef(part['nn_mass'], part['mean_singular_value'])[0, 1] ** 2:.3f}" for _, part in widths]


def after(column: str, epoch: int, *networks: str) -> list[str]:
    """Means over seeds of a column of the MNIST study's curves after an epoch."""
    curves = pd.read_parquet(RESULTS / "mnist_mlp" / "curves.parquet")
    networks_ = table("mnist_mlp/results.csv").set_index("row")["network"]
    means = curves[curves["epoch"] == epoch - 1].join(networks_, on="row").groupby("network")[column].mean()
    return [f"{means[network]:.3f}" for network in networks]


def millions(values: Iterable[float], digits: int) -> list[str]:
    return [f"{value / 1e6:.{digits}f}" for value in values]


def mobilenets(*columns: str) -> list[str]:
    lines = table("imagenet/mobilenets.csv").set_index("network")
    forms: dict[str, Callable[[float], str]] = {
        "nn_mass": lambda value: f"{value:.0f}",
        "num_params": lambda value: f"{value / 1e6:.2f}",
        "macs": lambda value: f"{value / 1e6:.0f}",
    }
    names = ("mobilenetv2_140", "mobilenetv2_a", "mobilenetv2_075", "mobilenetv2_b")
    return [forms[column](float(lines.loc[name, column])) for name in names for column in columns]


def saved() -> list[str]:
    """Share of MACs and parameters by which network A is smaller than MobileNetV2 1.4, in percent."""
    lines = table("imagenet/mobilenets.csv").set_index("network")[["macs", "num_params"]]
    share = 1 - lines.loc["mobilenetv2_a"] / lines.loc["mobilenetv2_140"]
    return [f"{100 * share['macs']:.1f}", f"{100 * share['num_params']:.1f}"]


def published(study: str, explaining: str, form: str) -> str:
    line = row(f"imagenet/{study}_baselines.csv", measure=explaining)
    return format(line["r2"], form)


def spread() -> list[str]:
    """Standard deviations over seeds of MNIST accuracies in percent, of networks with links and of deep chains."""
    groups = table("mnist_mlp/results.csv").groupby(["nn_mass", "depth", "tc"])["test_accuracy_last"]
    deviations = (100 * groups.std()).reset_index()
    links = deviations[deviations["nn_mass"] > 0]["test_accuracy_last"]
    chains = deviations.query("nn_mass == 0 and depth >= 24")["test_accuracy_last"]
    within = links.between(0.045, 0.345).sum()
    known = [f"{links.min():.2f}", f"{links.max():.2f}", str(len(links)), str(within)]
    return [*known, "24", f"{chains.min():.1f}", f"{chains.max():.1f}"]


def chains() -> list[str]:
    lines = table("mnist_mlp/results.csv").query("nn_mass == 0")
    return [f"{100 * mean:.1f}" for mean in lines.groupby("depth")["test_accuracy_last"].mean()]


def three_resnets() -> list[str]:
    lines = table("imagenet/resnets.csv").set_index("network").loc[["resnet50", "wrn34_1p5", "wrn18_3"]]
    params = millions(lines["num_params"], 1)
    top1 = [f"{100 * value:.2f}" for value in lines["test_accuracy_last"]]
    return [*params, "1", *top1, *(f"{value:.0f}" for value in lines["nn_mass"])]


def in_print(label: str) -> list[str]:
    """The decimal numbers that a row of docs/papers.md quotes from a paper."""
    page = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    (line,) = (text for text in page.splitlines() if text.startswith(f"| {label} |"))
    return re.findall(r"\d+\.\d+", line.split("|")[2])


def two(values: Iterable[float]) -> list[str]:
    return [f"{value:.2f}" for value in values]


def ends(values: Iterable[float]) -> list[str]:
    values = list(values)
    return two((min(values), max(values)))


def estimate(line: dict[str, Any], name: str) -> list[str]:
    """A number of a line of a table with its interval."""
    return two(line[part] for part in (name, f"{name}_low", f"{name}_high"))
