"""The numbers that the prose of pages of results prints, page by page and in its order, from the tables beside them."""

import re
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from conftest import ROOT
from paper_tables import RESULTS, after, linear_in_mass, mean_squares, row, spread, table

from nnmass.studies.gradients.measurements import average_over_seeds, fits
from nnmass.zoo import mlp_size, nn_mass

__all__ = ["PROSE", "printed_numbers"]

_LINKED = "NN-Mass > 0"


def printed_numbers(page: str) -> list[str]:
    """Decimal numbers, percentages and points of a page without its commands, targets of links and versions."""
    text = re.sub(r"^(?:    |```).*$", "", page, flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)|\b(?:torch|numba|Python|timm) [\d.]*\d|95 % interval", "", re.sub(r"\s+", " ", text))
    return re.findall(r"(?<![\w.])-?\d+\.\d+|(?<![\w.,])\d+(?=(?: to \d+)? (?:%|points?\b))", text)


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


def estimate(line: dict, name: str) -> list[str]:
    return two(line[part] for part in (name, f"{name}_low", f"{name}_high"))


def accuracies(study: str) -> "pd.Series[float]":
    """Test accuracy of the last epoch in percent, mean over the seeds, by network."""
    return 100 * table(f"{study}/results.csv").groupby("network")["test_accuracy_last"].mean()


def six_networks() -> list[str]:
    results = table("cifar10_small/results.csv").set_index("network")
    params, means = results["num_params"].groupby(level=0).first(), accuracies("cifar10_small")
    pairs = ("cell_depth5_tc20-40-80", "cell_depth7_tc5-10-20"), ("cell_depth5_tc30-60-120", "cell_depth9_tc2-5-10")
    gains = [f"{means[more] - means[less]:.1f}" for more, less in pairs]
    (small, same), (larger, largest) = ([f"{params[name] / 1e6:.2f}" for name in pair] for pair in pairs)
    assert small == same
    (rate,) = results["learning_rate"].unique()
    return [f"{rate:g}", gains[0], small, gains[1], larger, largest, in_print("ICLR-F16 (a, b, c)")[0]]


def singular_values() -> list[str]:
    simulation = table("gradients/simulation.csv").query("figure == 'ICLR-F7' and rows >= columns")
    ratios = simulation["mean_square"] / simulation["rows"]
    assert f"{ratios.mean():.3f}" == mean_squares()[0]
    rows = table("gradients/mlp.csv")
    means = dict(list(average_over_seeds(rows).groupby("initialisation")))
    low, high = ends(means["orthogonal"]["mean_singular_value"])
    scatter = {
        name: 100 * part["std_over_seeds"].mean() / np.ptp(part["mean_singular_value"]) for name, part in means.items()
    }
    of_seeds = [fits(average_over_seeds(part), "initialisation") for _, part in rows.groupby("seed")]
    by_seed = pd.concat(of_seeds).query("rows == 'all'").groupby(["initialisation", "explaining"])["r2"]
    single = [
        number
        for explaining in ("NN-Mass", "parameters")
        for name in ("default", "fan_in")
        for number in ends(by_seed.get_group((name, explaining)))
    ]
    left = table("gradients/cnn_fits.csv").query("explaining == 'log NN-Mass' and networks.str.endswith('bn eval')")
    return [
        *(*linear_in_mass(), *in_print("ICLR-F8")),
        *(f"{ratios.mean():.3f}", f"{ratios.std():.3f}", *in_print("CVPR-F3 (d)"), *in_print("CVPR-F3 (c)")),
        *(high, low, *ends(means["default"]["mean_singular_value"])),
        *(f"{scatter['default']:.0f}", f"{scatter['fan_in']:.0f}", *single),
        *(f"{100 * (1 - left['r2'].max()):.0f}", f"{100 * (1 - left['r2'].min()):.0f}"),
    ]


def families() -> list[str]:
    """R2 within families of timm on log NN-Mass and on size, without attention and with ImageNet-1k only."""
    chosen = table("atlas/explained.csv").query("networks == 'without attention' and accuracy == 'top1_in1k'")
    r2 = chosen.set_index(["group", "explaining"])["r2"]
    mass, size, macs = "log NN-Mass", "log params", "log MACs"
    order = [("efficientnet", mass), ("efficientnet", size), ("efficientnet", macs)]
    order += [(name, number) for name in ("resnet", "ghostnet") for number in (size, mass)]
    return two(r2[key] for key in order)


def sizes() -> list[str]:
    """Bound on the distance from the next of three sizes, and how far the most massive lies below the best at one."""
    networks = table("mlp_designs/results.csv").drop_duplicates("network").set_index("network")
    nearest = np.abs(networks["num_params"].to_numpy()[:, None] / np.array([8310, 10000, 12000]) - 1)
    means, size = accuracies("mlp_designs"), nearest.argmin(axis=1)
    highest = networks.groupby([size, "width"])["nn_mass"].idxmax().unstack()
    assert (highest.apply(lambda names: networks.loc[names, "nn_mass"].to_numpy()).idxmax(axis=1) == 4).all()
    gaps = [means[list(names)].max() - means[names[4]] for _, names in highest.iterrows()]
    assert all(means[names[4]] == means[list(names)].min() for _, names in highest.iterrows())
    return [f"{np.ceil(1000 * nearest.min(axis=1).max()) / 10:.1f}", f"{max(gaps):.0f}"]


def mnist() -> list[str]:
    results = table("mnist_mlp/results.csv")
    linked = results[results["nn_mass"] > 0]
    about = {"explained": "test accuracy", "epoch": "last epoch", "group": "all"}
    by = {
        name: row("mnist_mlp/baselines.csv", measure=name, networks=_LINKED, **about)
        for name in ("log NN-Mass", "log parameters")
    }
    whole = {
        name: row("mnist_mlp/baselines.csv", measure=name, networks="all", **about)
        for name in ("log(1 + NN-Mass)", "log parameters")
    }
    mass = by["log NN-Mass"]
    same = np.corrcoef(np.log(linked["nn_mass"]), np.log(linked["tc"]))[0, 1] ** 2
    numbers = [*estimate(by["log parameters"], "mass_less_this"), f"{same:.3f}"]
    numbers += two((mass["quadratic_r2"], mass["r2"]))
    numbers += [*in_print("CVPR-F3 (a)"), *two((by["log parameters"]["r2"], whole["log parameters"]["r2"]))]
    numbers += two((whole["log(1 + NN-Mass)"]["r2"],))
    return [*numbers, *mnist_epochs(), *mnist_seeds(), *mnist_singular_values(), *mnist_panels()]


def mnist_epochs() -> list[str]:
    """R2 on log NN-Mass by epoch, the best and the last accuracy of the high masses, and what the seeds scatter."""
    results = table("mnist_mlp/results.csv").set_index("row")
    curves = pd.read_parquet(RESULTS / "mnist_mlp" / "curves.parquet").join(results[["network", "nn_mass"]], on="row")
    linked = curves[curves["nn_mass"] > 0]
    means = linked.groupby(["epoch", "network"])[["nn_mass", "val/accuracy"]].mean()
    explained = [
        np.corrcoef(np.log(part["nn_mass"]), part["val/accuracy"])[0, 1] ** 2
        for part in (means.loc[epoch - 1] for epoch in (1, 10, 30, 50, 60))
    ]
    high = 100 * linked[linked["nn_mass"] > 22].groupby("epoch")["val/accuracy"].mean()
    assert high.idxmax() == 30 - 1
    scatter = 100 * results[results["nn_mass"] > 0].groupby("network")["test_accuracy_last"].std().mean()
    return [*two(explained), *two((high.max(), high.iloc[-1])), f"{scatter:.1f}"]


def mnist_seeds() -> list[str]:
    """The share that can be explained, masses of the first links, chains by seed, and standard deviations."""
    about = {"explained": "test accuracy", "averaging": "mean over seeds", "networks": _LINKED}
    lines = [
        row("mnist_mlp/fits.csv", epoch=epoch, explaining="log NN-Mass", **about)
        for epoch in ("last epoch", "mean after the first third")
    ]
    shares = [number for line in lines for number in two((line["r2"], line["explainable"]))]
    results = table("mnist_mlp/results.csv")
    first = [f"{results[results['tc'] == tc].groupby('depth')['nn_mass'].first().mean():.1f}" for tc in (1, 2)]
    chains = {depth: 100 * part for depth, part in results.query("tc == 0").groupby("depth")["test_accuracy_last"]}
    at_28 = [f"{end:.0f}" for end in (chains[28].min(), chains[28].max())]
    assert (chains[32] == chains[32].min()).sum() == 2
    smallest, largest, _, _, _, *deep = spread()
    return [*shares, *first, *at_28, f"{chains[32].min():.0f}", *in_print("CVPR-N3"), smallest, largest, *deep]


def mnist_singular_values() -> list[str]:
    about = {"explained": "mean singular value", "epoch": "before training"}
    single = [
        row("mnist_mlp/fits.csv", averaging="single seeds", networks="all", explaining=name, **about)["r2"]
        for name in ("NN-Mass", "parameters")
    ]
    means = row("mnist_mlp/fits.csv", averaging="mean over seeds", networks=_LINKED, explaining="log NN-Mass", **about)
    return two((*single, means["r2"]))


def mnist_panels() -> list[str]:
    """Mass, training accuracies, and test accuracy with its standard deviation, of the networks of CVPR-F4."""
    numbers = []
    by_network = 100 * table("mnist_mlp/results.csv").set_index("network")["test_accuracy_last"]
    for depth, tc in ((24, 2), (32, 2), (16, 8), (20, 1), (20, 7), (32, 1)):
        name = f"mlp_d{depth}_w8_t{tc}"
        numbers += two((nn_mass(depth, 8, tc),))
        numbers += [number for epoch in (2, 10, 60) for number in after("train/accuracy", epoch, name)]
        numbers += two((by_network[name].mean(), by_network[name].std()))
    larger = mlp_size(32, 8, 2).num_params / mlp_size(24, 8, 2).num_params
    return [*numbers, f"{100 * (larger - 1):.0f}"]


PROSE: dict[str, Callable[[], list[str]]] = {
    "atlas": families,
    "cifar10_small": six_networks,
    "gradients": singular_values,
    "mlp_designs": sizes,
    "mnist_mlp": mnist,
}
"""By the folder of a page; tables that docs/result_tables.py writes are no prose."""
