"""The picture of Seg4 and Circle4: the points of each class lie where the geometry of ICLR-F11 puts it."""

import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / "docs"))
from synthetic_picture import draw


@pytest.mark.parametrize("panel", [0, 1], ids=["Seg4", "Circle4"])
def test_classes_alternate_along_the_line_and_the_radius(panel: int) -> None:
    axes = draw().axes[panel]
    drawn = [np.asarray(points.get_offsets(), dtype=float) for points in axes.collections]
    assert [len(points) for points in drawn] == [500, 500]
    for label, points in enumerate(drawn):
        along = points[:, 0] if panel == 0 else np.hypot(*points.T)
        segments = np.floor(4 * along.clip(max=1 - 1e-6)).astype(int)
        assert set(segments) == {label, label + 2}
        assert panel == 1 or np.array_equal(*points.T)


def test_the_page_shows_the_picture() -> None:
    folder = ROOT / "docs" / "results" / "synthetic_mlp"
    assert "](data.png)" in (folder / "README.md").read_text(encoding="utf-8")
    with Image.open(folder / "data.png") as picture:
        assert picture.size[0] > picture.size[1]
