"""Draw docs/results/synthetic_mlp/data.png: Seg4 and Circle4, as ICLR-F11 shows the synthetic data.

Run: python docs/synthetic_picture.py.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle as Ring

from nnmass import datamodules
from nnmass.runtime.files import write_figure

SEGMENTS = 4
EVERY = 60  # one of so many of the 60,000 training samples, which lie in order of their segments


def draw() -> Figure:
    """Training samples of both data sets in the colours of their classes."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    line, disc = figure.subplots(1, 2)
    scatter(line, datamodules.Seg(segments=SEGMENTS), "Seg4: a line in four segments")
    scatter(disc, datamodules.Circle(segments=SEGMENTS), "Circle4: a disc in four rings")
    for number in range(SEGMENTS + 1):
        line.axvline(number / SEGMENTS, color="0.8", lw=0.6, zorder=0)
        disc.add_patch(Ring((0, 0), number / SEGMENTS, fill=False, color="0.8", lw=0.6, zorder=0))
    return figure


def scatter(axes: Axes, data: datamodules.Seg, title: str) -> None:
    """Draw samples, class by class."""
    features, labels = data.load("train")
    for label in range(data.num_classes):
        points = features[::EVERY][labels[::EVERY] == label]
        axes.scatter(points[:, 0], points[:, 1], s=4, label=f"class {label}")
    axes.set_aspect("equal")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("first feature")
    axes.set_ylabel("second feature")
    axes.legend(loc="upper left", fontsize="small")


if __name__ == "__main__":
    write_figure(DOCS / "results" / "synthetic_mlp" / "data.png", draw())
