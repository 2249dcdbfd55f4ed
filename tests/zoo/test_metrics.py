"""Means over the classes and the scores of each, against torchmetrics and scikit-learn."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import recall_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassPrecision, MulticlassRecall

from nnmass.zoo.training.metrics import MacroAccuracy, MacroF1, class_scores, evaluation_metrics, macro_metrics


def drawn(seed: int, samples: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    return torch.randn(samples, classes, generator=generator), labels


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(2, 7))
def test_means_over_classes_are_those_of_other_libraries(seed: int, samples: int, classes: int) -> None:
    logits, labels = drawn(seed, samples, classes)
    accuracy, f1 = MacroAccuracy(classes), MacroF1(classes)
    for part in (slice(0, samples // 2), slice(samples // 2, None)):
        accuracy.update(logits[part], labels[part])
        f1.update(logits[part], labels[part])
    recall = recall_score(labels, logits.argmax(1), labels=labels.unique(), average="macro", zero_division=0)
    assert accuracy.compute().item() == pytest.approx(recall)
    assert f1.compute().item() == pytest.approx(MulticlassF1Score(classes, average="macro")(logits, labels).item())


def test_of_a_class_that_is_not_there_nothing_is_known() -> None:
    scores = class_scores(torch.tensor([2, 0, 0]), torch.tensor([2, 1, 0]), torch.tensor([3, 0, 0]))
    assert torch.equal(scores["recall"].isnan(), torch.tensor([False, True, True]))
    assert torch.equal(scores["precision"].isnan(), torch.tensor([False, False, True]))
    assert torch.equal(scores["f1"].isnan(), torch.tensor([False, False, True]))


def test_scores_of_each_class_are_torchmetrics() -> None:
    logits, labels = drawn(0, 200, 5)
    answers = logits.argmax(1)
    right = labels[answers == labels].bincount(minlength=5)
    scores = class_scores(right, answers.bincount(minlength=5), labels.bincount(minlength=5))
    theirs = {"precision": MulticlassPrecision, "recall": MulticlassRecall, "f1": MulticlassF1Score}
    for name, metric in theirs.items():
        assert torch.allclose(scores[name], metric(5, average=None)(logits, labels)), name


def test_both_means_share_their_counts_and_begin_anew_together() -> None:
    logits, labels = drawn(1, 50, 3)
    metrics = macro_metrics(3, "val")
    for _ in range(2):
        metrics.update(logits, labels)
        expected = MulticlassAccuracy(3, average="macro")(logits, labels)
        assert metrics.compute()["val/macro_accuracy"].item() == pytest.approx(expected.item())
        assert int(metrics["macro_f1"].present.sum()) == 50
        metrics.reset()


def test_only_the_test_asks_for_the_calibration_and_only_many_classes_for_the_five_best() -> None:
    assert set(evaluation_metrics(5, "val").keys()) == {"val/accuracy"}
    assert set(evaluation_metrics(6, "test").keys()) == {"test/accuracy", "test/top5", "test/calibration_error"}
