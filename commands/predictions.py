"""What a network makes of image files, as a table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

__all__ = ["predictions_table"]


def predictions_table(files: Sequence[Path], probabilities: torch.Tensor, names: Sequence[str]) -> pd.DataFrame:
    """Of each file the most probable class, and its probability.

    Args:
        files: N image files.
        probabilities: (N, classes).
        names: Of the classes.
    """
    highest = probabilities.float().cpu().max(dim=1)
    classes = [names[label] for label in highest.indices]
    return pd.DataFrame({"file": map(str, files), "class": classes, "probability": highest.values})
