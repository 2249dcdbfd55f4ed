"""The numbers that the prose of pages of results prints, page by page and in its order, from the tables beside them."""

import re
from collections.abc import Callable
from itertools import chain, combinations

import numpy as np
import pandas as pd
from mnist_numbers import mnist
from paper_tables import (
    ends,
    estimate,
    in_print,
    linear_in_mass,
    linked,
    mean_squares,
    r2,
    row,
    singular,
    synthetic,
    table,
    two,
)

from nnmass.studies.gradients.measurements import average_over_seeds, fits

__all__ = ["PROSE", "printed_numbers"]

_ACCURACY = {"explained": "test accuracy", "epoch": "last epoch"}


def printed_numbers(page: str) -> list[str]:
    """Decimal numbers, percentages and points of a page without its commands, targets of links and versions."""
    text = re.sub(r"^    .*$", "", page, flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)|\b(?:torch|numba|Python|timm) [\d.]*\d|95 % interval", "", re.sub(r"\s+", " ", text))
    return re.findall(r"(?<![\w.])-?\d+\.\d+|(?<![\w.,])\d+(?=(?: to \d+)? (?:%|points?\b))", text)


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


def twenty_networks() -> list[str]:
    """R2 of log NN-Mass, log parameters and log t with intervals; mass minus size; partial r; size with depth."""
    baselines = "cifar10_half/baselines.csv"
    about = {"explained": "test accuracy", "epoch": "last epoch", "networks": "all", "group": "all"}
    mass, size = (row(baselines, measure=f"log {name}", **about) for name in ("NN-Mass", "parameters"))
    assert mass["endpoint"] == "primary"
    numbers = [r2(baselines, measure=f"log {name}") for name in ("NN-Mass", "parameters", "t")]
    parts = [(size, "mass_less_this"), (mass, "given_size"), (mass, "given_depth")]
    numbers += [two(line[name + end] for end in ("", "_low", "_high")) for line, name in parts]
    results = table("cifar10_half/results.csv").groupby("network")
    accuracy = results["test_accuracy_last"].mean()
    size_and_depth = np.column_stack(
        [np.ones(len(accuracy)), np.log(results["num_params"].first()), results["cell_depth"].first()]
    )
    left = accuracy - size_and_depth @ np.linalg.lstsq(size_and_depth, accuracy)[0]
    together = 1 - left.var() / accuracy.var()
    return [*chain.from_iterable(numbers), f"{together:.2f}", in_print("ICLR-F16 (a, b, c)")[0]]


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


def explained_by(lines: pd.DataFrame) -> tuple[float, float]:
    """R2 of test accuracies on log NN-Mass and on log parameters."""
    mass, size = (
        float(np.corrcoef(np.log(lines[column]), lines["test_accuracy_last"])[0, 1] ** 2)
        for column in ("nn_mass", "num_params")
    )
    return mass, size


def imagenet() -> list[str]:
    """The papers' R2, those without one network, and the only choice of networks that gives both of the papers'."""
    in_papers = [number for panel in "bad" for number in in_print(f"CVPR-F6 ({panel})")]
    in_papers += in_print("CVPR-F6 (c)")
    networks = table("imagenet/resnets.csv").set_index("network")
    columns = np.log(networks[["nn_mass", "num_params"]]).join(networks["test_accuracy_last"]).to_numpy().T
    choices = [list(chosen) for size in range(5, 12) for chosen in combinations(range(len(networks)), size)]
    assert len(choices) == 1486
    r2_of = [np.corrcoef(columns[:, chosen])[2, :2] ** 2 for chosen in choices]
    (names,) = (
        networks.index[chosen] for chosen, both in zip(choices, r2_of, strict=True) if two(both) == in_papers[:2]
    )
    assert set(networks.index) - set(names) == {"wide_resnet50_2", "wrn18_2"}
    about = {"networks": "all", "group": "all", **_ACCURACY}
    difference = row("imagenet/resnets_baselines.csv", measure="log parameters", **about)
    given_size = row("imagenet/resnets_baselines.csv", measure="log NN-Mass", **about)
    return [
        *(*in_papers, *two(explained_by(networks.drop("wide_resnet50_2")))),
        *(f"{number:.3f}" for number in explained_by(networks.loc[names])),
        *(*estimate(difference, "mass_less_this"), *estimate(given_size, "given_size")),
        # Widths of MobileNetV2, and R2 of timm's accuracies, whose table is not part of this repository.
        *("0.5", "1.0", "1.4", "0.92", "0.97", "0.81", "0.68"),
    ]


def synthetic_data() -> list[str]:
    file, about = "synthetic_mlp/baselines.csv", _ACCURACY | {"explaining": "log parameters"}
    cells, differences = [], []
    for name, in_papers in (("seg20", "da"), ("seg30", ""), ("circle20", "fc")):
        mass, size = (synthetic(name, measure) for measure in ("log NN-Mass", "log parameters"))
        for half, networks in ((slice(3), "all"), (slice(3, 6), "NN-Mass > 0")):
            share = row(
                "synthetic_mlp/fits.csv", group=f"{name}_mlp", networks=networks, averaging="mean over seeds", **about
            )
            papers = in_papers if networks == "all" else ""
            of_papers = [number for panel in papers for number in in_print(f"ICLR-F12 ({panel})")]
            cells += [*mass[half], *size[half], *of_papers, f"{share['explainable']:.2f}"]
    for networks in ("all", "NN-Mass > 0"):
        for name in ("seg20", "seg30", "circle20"):
            line = row(file, group=f"{name}_mlp", networks=networks, measure="log parameters", **_ACCURACY)
            differences += estimate(line, "mass_less_this")
    in_papers = [in_print(f"ICLR-F12 ({panel})")[0] for panel in "dafc"]
    return [*in_papers, "50", *cells, *differences, *synthetic_scatter(in_papers[0]), *synthetic_singular_values()]


def synthetic_scatter(in_papers: str) -> list[str]:
    """Scatter of the seeds on Seg20, and the same with ELU for the networks that have all seeds."""
    lines = table("synthetic_mlp/results.csv").query("config == 'seg20_mlp' and nn_mass > 0")
    with_elu = table("synthetic_mlp/seg20_elu_partial.csv").query("nn_mass > 0")
    with_elu = with_elu[with_elu.groupby("network")["seed"].transform("size") == 5]
    assert with_elu["network"].nunique() == 42
    accuracy = 100 * lines.groupby("network")["test_accuracy_last"].agg(["mean", "std"])
    columns = ["nn_mass", "num_params", "test_accuracy_last"]
    means = [part.groupby("network")[columns].mean() for part in (with_elu, lines)]
    fits_of = [explained_by(part.loc[means[0].index]) for part in means]
    scatter = accuracy["std"].median()
    whole = (scatter, scatter / 5**0.5, accuracy["mean"].min(), accuracy["mean"].max())
    of_elu = 100 * with_elu.groupby("network")["test_accuracy_last"].std().median()
    return [in_papers, *(f"{value:.0f}" for value in (*whole, of_elu)), *two(chain.from_iterable(fits_of))]


def synthetic_singular_values() -> list[str]:
    measures = ("NN-Mass", "parameters")
    circle = [
        [*singular("circle20_mlp", name), *in_print(f"ICLR-F13 ({panel})")]
        for name, panel in zip(measures, "ba", strict=True)
    ]
    others = [singular(f"seg{number}_mlp", name) for number in (20, 30) for name in measures]
    values = table("synthetic_mlp/results.csv").groupby(["config", "network"])["mean_singular_value"]
    scatter, apart = values.std().mean(), values.mean().groupby("config").std().mean()
    elu = table("synthetic_mlp/seg20_elu_partial.csv").groupby("network")["mean_singular_value"].mean()
    # The axis of ICLR-F13 goes from 0.36 to 0.44.
    spans = ["0.36", "0.44", *ends(values.mean()), *ends(elu)]
    return [*chain.from_iterable(circle + others), f"{scatter:.2f}", f"{apart:.3f}", *spans]


def less_than_published() -> list[str]:
    mnist_r2 = [linked("mnist_mlp/baselines.csv", measure=f"log {name}")[0] for name in ("NN-Mass", "parameters")]
    ours = [f"{100 * float(number):.0f}" for number in mnist_r2]
    papers = [f"{100 * float(in_print(f'CVPR-F3 ({panel})')[0]):.0f}" for panel in "ba"]
    resnets = r2("imagenet/resnets_baselines.csv", measure="log NN-Mass")[0]
    chosen = table("atlas/explained.csv").query("networks == 'without attention' and accuracy == 'top1_in1k'")
    within = chosen[chosen["group"] != "all"].groupby("explaining")["r2"].mean()
    return [
        *(ours[0], papers[0], ours[1], papers[1], *in_print("ICLR-F12 (d)"), *in_print("ICLR-F12 (f)")),
        *(resnets, *in_print("CVPR-F6 (b)"), *two((within["log NN-Mass"], within["log params"]))),
    ]


PROSE: dict[str, Callable[[], list[str]]] = {
    "differences.md#Results that do not come out as published": less_than_published,
    "results/atlas/README.md": families,
    "results/cifar10_half/README.md": twenty_networks,
    "results/cifar10_small/README.md": six_networks,
    "results/gradients/README.md": singular_values,
    "results/imagenet/README.md": imagenet,
    "results/mlp_designs/README.md": sizes,
    "results/mnist_mlp/README.md": mnist,
    "results/synthetic_mlp/README.md": synthetic_data,
}
"""By the page in docs/, or the section of one; tables that docs/result_tables.py writes are no prose."""
