"""Binary cross-entropy against timm's; weights of classes: sums by hand, mixed images, checkpoints, and trainings."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import Trainer
from timm import loss as of_timm
from torch import nn
from torch.nn.functional import one_hot

from nnmass.datamodules import Digits
from nnmass.zoo import Classifier, RandomSkipMLP
from nnmass.zoo.training.losses import BinaryCrossEntropy, ClassWeighted, weighted


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


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(2, 9), st.floats(0, 0.9))
def test_the_binary_cross_entropy_is_timms(seed: int, count: int, classes: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, classes, dtype=torch.float64, generator=generator)
    labels, others = torch.randint(classes, (2, count), generator=generator)
    theirs = of_timm.BinaryCrossEntropy(smoothing=smoothing)
    torch.testing.assert_close(BinaryCrossEntropy(smoothing)(logits, labels), theirs(logits, labels))
    shares = one_hot(labels, classes).double().lerp(one_hot(others, classes).double(), 0.7)
    theirs = of_timm.BinaryCrossEntropy(smoothing=0.0, target_threshold=0.2)
    torch.testing.assert_close(BinaryCrossEntropy()(logits, shares), theirs(logits, shares))
    torch.testing.assert_close(BinaryCrossEntropy(reduction="none")(logits, shares).mean(), theirs(logits, shares))


@pytest.mark.parametrize(("share", "present"), [(0.0, False), (0.2, False), (0.21, True), (0.5, True)])
def test_a_class_counts_as_present_above_a_fifth(share: float, present: bool) -> None:
    shares = torch.tensor([[1 - share, share, 0.0]])
    logits = torch.tensor([[0.0, 30.0, -30.0]])  # the second class is found
    assert (BinaryCrossEntropy()(logits, shares).item() < 1) == present


def test_weights_of_classes_weigh_the_binary_cross_entropy_too() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    each = BinaryCrossEntropy(reduction="none")(logits, labels)
    weights = torch.tensor([1.0, 2.0, 0.5])
    loss = weighted(BinaryCrossEntropy(), weights.tolist())
    torch.testing.assert_close(loss(logits, labels), (weights[labels] * each).mean())


def test_the_loss_of_a_training_is_the_one_that_is_asked_for() -> None:
    network = RandomSkipMLP(depth=3, width=8, tc=0, in_features=64)
    model = Classifier(network, loss="binary_cross_entropy", label_smoothing=0.1)
    assert isinstance(model.train_loss, BinaryCrossEntropy)
    assert model.train_loss.label_smoothing == 0.1
    assert isinstance(model.eval_loss, nn.CrossEntropyLoss)
    with pytest.raises(ValueError, match="Expected loss to be one of cross_entropy, binary_cross_entropy, but got"):
        Classifier(network, loss="hinge")  # type: ignore[arg-type]
