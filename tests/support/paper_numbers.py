"""The numbers of docs/papers.md, row by row: from the committed tables, the closed forms and small networks."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
from paper_tables import (
    after,
    by_depth,
    chains,
    convolutional,
    initial,
    linear_in_mass,
    linked,
    mean_squares,
    millions,
    mobilenets,
    published,
    r2,
    rising,
    saved,
    simulated,
    singular,
    spread,
    synthetic,
    three_resnets,
)

from nnmass import datamodules, zoo
from nnmass.zoo.networks.variants import VARIANTS

__all__ = ["NUMBERS"]


def mlps(*shapes: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Masses, and parameters, of MLPs of width 8 on MNIST by their depth and t."""
    masses = [f"{zoo.nn_mass(depth, 8, tc):.2f}" for depth, tc in shapes]
    return masses, [f"{zoo.mlp_size(depth, 8, tc).num_params:,}" for depth, tc in shapes]


def xyz() -> list[str]:
    names = ("mlp_d24_w8_t2", "mlp_d32_w8_t2", "mlp_d16_w8_t8")
    masses, params = mlps((24, 2), (32, 2), (16, 8))
    return [*masses, *params, "2", *after("train/accuracy", 2, *names), *after("train/accuracy", 60, *names)]


def acb() -> list[str]:
    masses, params = mlps((20, 1), (32, 1), (20, 7))
    return [*params, *masses, "10", *after("train/loss", 10, "mlp_d20_w8_t1", "mlp_d32_w8_t1", "mlp_d20_w8_t7")]


def closed(name: str) -> zoo.ClosedForm:
    """Topology and size of a network of the zoo by its name."""
    form = zoo.closed_form(VARIANTS[name].builder, VARIANTS[name].arguments)
    assert form is not None
    return form


def further_depths() -> list[str]:
    """Layers per cell, and the least and greatest mass of the networks of each stated mass."""
    names = [f"dense_{layers}_w2_m{{}}" for layers in (28, 43, 52, 58)]
    masses = [ends(closed(name.format(near)).nn_mass for name in names) for near in (500, 750, 1000)]
    layers = [str(VARIANTS[name.format(500)].arguments["cell_depth"]) for name in names]
    return layers + [f"{mass:.0f}" for pair in masses for mass in pair]


def ends(values: Iterable[float]) -> tuple[float, float]:
    values = list(values)
    return min(values), max(values)


def ranges(width: int, digits: int) -> list[str]:
    """Number of networks of one width multiplier, least and largest mass, and parameters in millions."""
    forms = [closed(name) for name in zoo.list_models(f"dense_??_w{width}_*_*_*")]
    masses = [f"{end:.0f}" for end in ends(form.nn_mass for form in forms)]
    return [str(len(forms)), *masses, *millions(ends(form.num_params for form in forms), digits)]


def flops() -> list[str]:
    return [f"{end / 1e9:.2f}" for end in ends(closed(name).flops for name in zoo.list_models("dense_??_w1_*_*_*"))]


def grid(width: int) -> list[str]:
    names = zoo.list_models(f"dense_??_w{width}_*_*_*")
    layers = [int(name.split("_")[1]) for name in names]
    return [str(len(names)), str(min(layers)), str(max(layers))]


# Layers and t of the rows of ICLR-T5, from docs/results/design.md.
T5 = (
    (64, (90, 170, 300)),
    (64, (52, 97, 151)),
    (40, (60, 130, 170)),
    (37, (70, 140, 180)),
    (31, (70, 140, 200)),
)


def compressed(layers: int, tc: tuple[int, ...]) -> tuple[int, int, float]:
    """Parameters, FLOPs and mass of a row of ICLR-T5."""
    depth = (layers - 4) // 3
    size = zoo.densenet_size([depth] * 3, [32, 64, 128], tc)
    return size.num_params, 2 * size.macs, zoo.nn_mass(depth, [32, 64, 128], tc)


def sizes() -> list[str]:
    """Parameters in millions, FLOPs in billions, and mass, which the papers truncate."""
    rows = (compressed(*row) for row in T5)
    return [text for p, f, m in rows for text in (f"{p / 1e6:.2f}", f"{f / 1e9:.2f}", f"{int(m + 1e-9)}")]


def compression() -> list[str]:
    """Layers of the first and last row, and how many times as many parameters and FLOPs the first has."""
    large, small = compressed(*T5[0]), compressed(*T5[-1])
    return ["64", "31", f"{large[0] / small[0]:.2f}", f"{large[1] / small[1]:.2f}"]


def standard_networks() -> list[str]:
    """DenseNet-121 by the paper's own formula, growth rate times layers; a chain has no link."""
    return [f"{32 * sum((6, 12, 24, 16))}", "121", "0", "16"]


def imagenet_grid() -> list[str]:
    """Networks, depths, and rows of t that give unlike depths one mass."""
    masses: dict[str, list[float]] = {}
    layers = set()
    for name in zoo.list_models("imagenet_dense_*"):
        _, _, depth, rest = name.split("_", 3)
        layers.add(int(depth))
        masses.setdefault(rest, []).append(closed(name).nn_mass)
    assert all(max(row) < 1.04 * min(row) for row in masses.values())
    count = sum(len(row) for row in masses.values())
    return [str(number) for number in (count, min(layers), max(layers), len(masses), len(layers), 4)]


def separable() -> list[str]:
    names = zoo.list_models("dsconv_??_w2_e1_*")
    return [str(len(names)), *millions(ends(closed(name).num_params for name in names), 2)]


def density_triple() -> list[str]:
    three = [closed(name) for name in ("dense_31_w2_50_70_145", "dense_64_w2_30_80_117", "dense_49_w2_50_105_150")]
    numbers = [*(f"{form.nn_density:.3f}" for form in three), *(f"{form.nn_mass:.0f}" for form in three), "70"]
    by = ("NN-density", "log NN-Mass")
    return numbers + [part for name in by for part in linked("mnist_mlp/baselines.csv", measure=name)]


def cluster() -> list[str]:
    two = [closed("dense_31_w3_100_120_170"), closed("dense_64_w3_106_126_178")]
    return [*millions((form.num_params for form in two), 2), *(f"{form.nn_mass:.2f}" for form in two)]


def samples() -> list[str]:
    """Samples of the synthetic data, which are as many for each."""
    kinds = (datamodules.Seg(segments=20), datamodules.Seg(segments=30), datamodules.Circle(segments=20))
    ((training, test),) = {(len(data.load("train")[1]), len(data.load("test")[1])) for data in kinds}
    return [f"{training:,}", f"{test:,}"]


def small_world() -> list[str]:
    (block,) = zoo.topology(zoo.create_model("mlp_d24_w8_t2")).blocks
    assert block.wiring is not None
    found = zoo.graph_statistics(block.wiring)
    assert found.random_path_length < found.path_length < found.lattice_path_length / 2
    numbers = (found.path_length, found.random_path_length)
    return [*(f"{number:.2f}" for number in numbers), f"{found.clustering:.3f}", f"{found.random_clustering:.3f}"]


def dispersions() -> list[str]:
    blocks = zoo.topology(zoo.create_model("dense_40_w2_60_130_170")).blocks
    found = itertools.chain.from_iterable(zoo.degree_distributions(block.wiring) for block in blocks if block.wiring)
    return [*(f"{one.dispersion:.2f}" for one in found if one.degree == "layers reached"), "1"]


def degrees() -> list[str]:
    masses = [(12, 32, 60), (32, 8, 2)]
    limits = [zoo.average_degree_approximation(width, zoo.nn_mass(depth, width, tc)) for depth, width, tc in masses]
    counted = [f"{zoo.average_degree(*cell):.1f}" for cell in masses]
    return ["12", "32", "60", f"{limits[0]:.1f}", counted[0], "32", "8", "2", f"{limits[1]:.1f}", counted[1]]


WIDTHS, TC = [32, 64, 128], [60, 130, 170]
# The numbers of the column "what came out", in their order.
NUMBERS: dict[str, Callable[[], list[str]]] = {
    "CVPR-D1": lambda: [f"{zoo.average_degree(12, WIDTHS, TC):.3f}", "40"],
    "CVPR-D3": lambda: [f"{np.mean(zoo.cell_density(12, WIDTHS, TC)):.3f}", "40"],
    "CVPR-D4": lambda: [f"{zoo.nn_mass(12, WIDTHS, TC):.3f}", "40"],
    "CVPR-P1": degrees,
    "CVPR-P2 (bounds)": lambda: [str(len(simulated()))],
    "CVPR-P2 (depth)": lambda: [*by_depth(), initial("gaussian", "NN-Mass"), initial("gaussian", "parameters")],
    "CVPR-R1": lambda: ["2"],
    "CVPR-R2": lambda: [mobilenets("nn_mass")[2], "0.75", "975.0"],
    "CVPR-F1 (b)": rising,
    "CVPR-F3 (a)": lambda: [
        *linked("mnist_mlp/baselines.csv", measure="log parameters"),
        *r2("mnist_mlp/baselines.csv", measure="log parameters"),
    ],
    "CVPR-F3 (b)": lambda: [
        *linked("mnist_mlp/baselines.csv", measure="log NN-Mass"),
        linked("mnist_mlp/baselines.csv", measure="log t")[0],
    ],
    "CVPR-F3 (c)": lambda: [initial("default", "parameters"), initial("fan_in", "parameters"), "2"],
    "CVPR-F3 (d)": lambda: [initial("default", "NN-Mass"), initial("fan_in", "NN-Mass"), "2"],
    "CVPR-F4 (a)": xyz,
    "CVPR-F5 (a, b)": lambda: ranges(2, 1),
    "CVPR-F6 (a)": lambda: [published("resnets", "log parameters", ".3f")],
    "CVPR-F6 (b)": lambda: [
        published("resnets", "log NN-Mass", ".3f"),
        *r2("imagenet/resnets_baselines.csv", measure="log NN-Mass")[1:],
    ],
    "CVPR-F6 (c)": lambda: [published("mobilenets", "log parameters", ".2f"), "4"],
    "CVPR-F6 (d)": lambda: [published("mobilenets", "log NN-Mass", ".3f"), "4"],
    "CVPR-T1 (sizes)": sizes,
    "CVPR-T2 (mass, parameters)": lambda: mobilenets("nn_mass", "num_params"),
    "CVPR-T2 (MACs)": lambda: mobilenets("macs"),
    "CVPR-N1": compression,
    "CVPR-N2": saved,
    "CVPR-N3": spread,
    "CVPR-N4": chains,
    "CVPR-N5": standard_networks,
    "CVPR-N6": three_resnets,
    "ICLR-F3": acb,
    "ICLR-F5 (a, b)": imagenet_grid,
    "ICLR-F5 (c, d)": separable,
    "ICLR-F6 (a, b)": small_world,
    "ICLR-F7": mean_squares,
    "ICLR-F8": linear_in_mass,
    "ICLR-F9": lambda: [f"{zoo.nn_mass(4, [2, 3, 4], [3, 4, 5]):.0f}"],
    "ICLR-F12 (a)": lambda: synthetic("seg20", "log parameters"),
    "ICLR-F12 (b)": lambda: synthetic("seg30", "log parameters"),
    "ICLR-F12 (c)": lambda: synthetic("circle20", "log parameters"),
    "ICLR-F12 (d)": lambda: synthetic("seg20", "log NN-Mass"),
    "ICLR-F12 (e)": lambda: synthetic("seg30", "log NN-Mass"),
    "ICLR-F12 (f)": lambda: synthetic("circle20", "log NN-Mass"),
    "ICLR-F13 (a)": lambda: singular("circle20_mlp", "parameters"),
    "ICLR-F13 (b)": lambda: singular("circle20_mlp", "NN-Mass"),
    "ICLR-F14": density_triple,
    "ICLR-F15 (a, b)": lambda: ranges(1, 2),
    "ICLR-F15 (c, d)": cluster,
    "ICLR-F16 (a, b, c)": lambda: [convolutional(width, "log NN-Mass") for width in (1, 2, 3)],
    "ICLR-F17 (a, b, c, d)": lambda: [
        convolutional(width, measure) for width in (2, 3) for measure in ("log parameters", "log NN-Mass")
    ],
    "ICLR-F19 (a, b, c, d)": flops,
    "ICLR-T1": lambda: grid(2),
    "ICLR-T2": lambda: grid(1),
    "ICLR-T3": lambda: grid(3),
    "ICLR-T4": samples,
    "ICLR appendix C": dispersions,
    "ICLR-N3": further_depths,
}
