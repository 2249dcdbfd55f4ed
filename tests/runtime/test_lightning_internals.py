"""Private names of Lightning: still there, and replaced where they make a training wait."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from nnmass.callbacks import ResumeCheckpoint
from nnmass.runtime.lightning_internals import leave_signals_to_us
from nnmass.zoo import Classifier, RandomSkipMLP


def test_lightning_still_asks_in_the_way_that_is_replaced() -> None:
    """Otherwise the file that replaces it can go, or must learn the new name."""
    assert hasattr(_TrainingEpochLoop, "_broadcast_sigterm_tensor")


def test_a_training_that_agrees_by_way_of_the_hosts_does_not_ask_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_, **__: asked.append(1))
    model = Classifier(RandomSkipMLP(3, 2, 1, num_classes=2, in_features=3))
    trainers = [Trainer(accelerator="cpu", logger=False, enable_checkpointing=False) for _ in range(2)]
    request = SimpleNamespace(received=None, watch=lambda: None)
    ResumeCheckpoint(tmp_path, request).on_train_start(trainers[0], model)  # type: ignore[arg-type]
    for trainer, expected in zip(trainers, (0, 1), strict=True):
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
        assert len(asked) == expected


def test_without_that_name_nothing_is_changed() -> None:
    loop = SimpleNamespace()
    leave_signals_to_us(SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=loop)))  # type: ignore[arg-type]
    assert vars(loop) == {}
