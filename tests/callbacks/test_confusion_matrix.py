"""The table of classes that a test leaves."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from nnmass.callbacks import ConfusionMatrix


def test_the_table_of_classes_is_scikit_learns_and_says_nothing_of_what_is_unknown(tmp_path: Path) -> None:
    labels, answers = torch.tensor([0, 0, 0, 1, 1, 0]), torch.tensor([0, 0, 1, 1, 0, 2])
    trainer: Any = SimpleNamespace(
        default_root_dir=tmp_path,
        datamodule=SimpleNamespace(class_names=["cat", "dog", "owl", "yak"]),
        world_size=1,
        is_global_zero=True,
        fast_dev_run=False,
        checkpoint_callback=None,
        ckpt_path=None,
        loggers=[],
        global_step=0,
    )
    callback, module = ConfusionMatrix(), SimpleNamespace(num_classes=4, device=torch.device("cpu"))
    callback.on_test_start(trainer, module)  # type: ignore[arg-type]
    outputs = torch.nn.functional.one_hot(answers, 4).float()
    callback.on_test_batch_end(trainer, module, outputs, (None, labels), 0)  # type: ignore[arg-type]
    callback.on_test_end(trainer, module)  # type: ignore[arg-type]
    table = pd.read_csv(tmp_path / "class_accuracy.csv")
    assert table.columns.tolist() == ["class", "images", "accuracy", "precision", "recall", "f1"]
    assert table["class"].tolist() == ["cat", "dog", "owl", "yak"]
    assert table["images"].tolist() == [4, 2, 0, 0]
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, answers, labels=range(4), average=None, zero_division=np.nan
    )
    for name, expected in {"precision": precision, "recall": recall, "accuracy": recall, "f1": f1}.items():
        assert table[name].tolist() == pytest.approx(expected.tolist(), nan_ok=True), name
    assert table["recall"].isna().tolist() == [False, False, True, True]
