"""What a network makes of image files, as a table, and what is said of files that could not be read."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from nnmass.datamodules.listing import as_text

__all__ = ["predictions_table", "some_unread"]


def predictions_table(
    files: Sequence[Path], places: Sequence[int], probabilities: torch.Tensor, names: Sequence[str]
) -> pd.DataFrame:
    """Of each image the most probable class, and its probability, in the order of the files.

    Args:
        files: All that there are.
        places: Among them, of the images that were read, in their order; the first N count.
        probabilities: (N, classes).
        names: Of the classes.
    """
    highest = probabilities.float().cpu().max(dim=1)
    rows = sorted(zip(places, highest.indices.tolist(), highest.values.tolist(), strict=False))
    texts = [(as_text(files[place]), names[label], probability) for place, label, probability in rows]
    return pd.DataFrame(texts, columns=["file", "class", "probability"]).astype({"probability": "float32"})


def some_unread(unread: Sequence[str], file: Path) -> str:
    """Say that some images could not be read; the reasons go to the standard error output."""
    print("\n".join(unread), file=sys.stderr)
    rest = f"{len(unread):,} could not be decoded and are not in {file}"
    return f"Expected --images to hold whole images alone, but {rest}."
