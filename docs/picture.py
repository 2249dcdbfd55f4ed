"""Draw docs/picture.png: one cell, and what its NN-Mass says about accuracy, from the committed MNIST table.

Run: python docs/picture.py.
"""

import io
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from nnmass import zoo


def cell() -> Image.Image:
    """Seven layers of four channels, of which each layer may take five."""
    (block,) = zoo.topology(zoo.RandomSkipCell(4, 4, 7, 5), (4, 8, 8)).blocks
    figure = zoo.draw_cells([block.wiring])
    figure.set_size_inches(5, 3.4)
    figure.axes[0].set_title("a cell: all short-range links, some long-range ones", loc="left", fontsize=10)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=200)
    return Image.open(picture, formats=["PNG"])


def scatters() -> Image.Image:
    """Mean test accuracy of 75 MLPs over five seeds, on the logarithms of parameters and of NN-Mass."""
    rows = pd.read_csv(DOCS / "results" / "mnist_mlp" / "results.csv")
    table = rows[rows.nn_mass > 0].groupby("network").agg(
        accuracy=("test_accuracy_last", "mean"), depth=("depth", "first"),
        num_params=("num_params", "first"), nn_mass=("nn_mass", "first"),
    )  # fmt: skip
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    for axes, (column, name) in zip(
        figure.subplots(1, 2, sharey=True), (("num_params", "parameters"), ("nn_mass", "NN-Mass")), strict=True
    ):
        x = np.log(table[column])
        line = stats.linregress(x, table.accuracy)
        points = axes.scatter(table[column], 100 * table.accuracy, c=table.depth, cmap="viridis", s=18)
        ends = np.array([x.min(), x.max()])
        axes.plot(np.exp(ends), 100 * (line.intercept + line.slope * ends), color="0.5")
        axes.set_xscale("log")
        axes.minorticks_off()
        ticks = [8000, 9000, 10000, 12000] if column == "num_params" else [2, 5, 10, 20]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xlabel(name)
        axes.set_title(f"R² = {line.rvalue**2:.2f}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("test accuracy (%)")
    figure.colorbar(points, ax=figure.axes, label="layers")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=200)
    return Image.open(picture, formats=["PNG"])


def main() -> None:
    """Put both beside each other."""
    left, right = cell(), scatters()
    whole = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    whole.paste(left, (0, 0))
    whole.paste(right, (left.width, 0))
    whole.quantize(128).save(DOCS / "picture.png", optimize=True)


if __name__ == "__main__":
    main()
