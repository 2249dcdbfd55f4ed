"""The numbers that the prose of the page on the MNIST study prints, in its order."""

import numpy as np
import pandas as pd
from paper_tables import RESULTS, after, estimate, in_print, row, spread, table, two

from nnmass.zoo import mlp_size, nn_mass

__all__ = ["mnist"]

_LINKED = "NN-Mass > 0"


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
