"""Weights of classes in the loss: sums by hand, mixed images, checkpoints, and trainings."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.nn.functional import one_hot

from nnmass.datamodules import Digits
from nnmass.zoo import Classifier, RandomSkipMLP
from nnmass.zoo.training.losses import ClassWeighted, weighted


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_sample_counts_by_its_class_alone(smoothing: float) -> None:
    logits = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels, weights = torch.tensor([0, 0, 2, 1, 0, 2, 0]), [0.5, 3.0, 1.25]
    plain = nn.CrossEntropyLoss(label_smoothing=smoothing)
    loss = ClassWeighted(plain, weights).double()
    by_hand = sum(weights[y] * plain(x.unsqueeze(0), y.unsqueeze(0)) for x, y in zip(logits, labels, strict=True)) / 7
    assert loss(logits, labels).item() == pytest.approx(by_hand.item())
    # Two processes of unequal batches have the gradient of one: the mean is over the samples.
    halves = (3 * loss(logits[:3], labels[:3]) + 4 * loss(logits[3:], labels[3:])) / 7
    assert halves.item() == pytest.approx(by_hand.item())
    assert loss(logits, one_hot(labels, 3).double()).item() == pytest.approx(by_hand.item())
    assert plain.reduction == "mean"


def test_weights_are_replaced_and_taken_away() -> None:
    plain = nn.CrossEntropyLoss()
    once = weighted(plain, [1.0, 2.0])
    twice = weighted(once, [3.0, 4.0])
    assert isinstance(twice, ClassWeighted)
    assert twice.loss is plain
    assert weighted(twice, None) is plain
    assert not twice.state_dict()  # checkpoints stay those of a loss without weights


class Uneven(Digits):
    """Of the digits above 0, every tenth."""

    def load(self, split: Any) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = super().load(split)
        kept = (labels == 0) | (torch.arange(len(labels)) % 10 == 0)
        return images[kept], labels[kept]


def test_a_training_takes_the_weights_of_its_data() -> None:
    model = Classifier(RandomSkipMLP(depth=3, width=8, tc=0, in_features=64))
    data = Uneven(balance="loss", val_size=20)
    quiet: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(model, datamodule=data)
    assert isinstance(model.train_loss, ClassWeighted)
    labels = data.training_labels()
    assert float(model.train_loss.weights[labels].mean()) == pytest.approx(1)
    per_class = model.train_loss.weights * labels.bincount(minlength=10)
    assert per_class.tolist() == pytest.approx([len(labels) / 10] * 10)
    model.trainer = SimpleNamespace(datamodule=Digits())  # type: ignore[assignment]
    model.on_fit_start()
    assert isinstance(model.train_loss, nn.CrossEntropyLoss)
