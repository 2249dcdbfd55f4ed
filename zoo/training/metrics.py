"""Metrics of an evaluation: over all samples, and over the classes, of which each then counts the same."""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

__all__ = ["ClassCounts", "MacroAccuracy", "MacroF1", "class_scores", "evaluation_metrics", "macro_metrics"]


def evaluation_metrics(num_classes: int, stage: str) -> MetricCollection:
    """Micro accuracy; ``top5`` of more than five classes; for the test ``calibration_error`` of 15 bins.

    Args:
        num_classes: Classes.
        stage: ``val`` or ``test``, with which the names begin.
    """
    # torchmetrics' default is the macro average, which is not the accuracy that papers print. Its checks are off: they
    # read the values of every batch, and so wait for the device.
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False)
    }
    if num_classes > 5:
        metrics["top5"] = MulticlassAccuracy(num_classes, average="micro", top_k=5, validate_args=False)
    if stage == "test":
        metrics["calibration_error"] = MulticlassCalibrationError(num_classes, n_bins=15, validate_args=False)
    return MetricCollection(metrics, prefix=f"{stage}/")


def macro_metrics(num_classes: int, stage: str) -> MetricCollection:
    """``macro_accuracy`` and ``macro_f1``: means over the classes.

    Args:
        num_classes: Classes.
        stage: ``val`` or ``test``, with which the names begin.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "macro_accuracy": MacroAccuracy(num_classes),
        "macro_f1": MacroF1(num_classes),
    }
    # Both count the same, and so share their counts.
    return MetricCollection(metrics, prefix=f"{stage}/", compute_groups=[["macro_accuracy", "macro_f1"]])


class ClassCounts(Metric):
    """Counts of each class; torchmetrics' own wait for the device at every batch.

    Args:
        num_classes: Classes.

    Attributes:
        right: (classes,), samples of the class that were taken for it.
        answered: (classes,), samples that were taken for the class.
        present: (classes,), samples of the class.
    """

    full_state_update = False
    higher_is_better = True
    right: Tensor
    answered: Tensor
    present: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("right", "answered", "present"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, answers: Tensor, labels: Tensor) -> None:
        """Count a batch: probabilities or logits (N, classes), and labels (N,)."""
        answers = answers.argmax(dim=1)
        ones = torch.ones_like(labels)
        self.right.index_add_(0, labels, (answers == labels).to(ones.dtype))
        self.answered.index_add_(0, answers, ones)
        self.present.index_add_(0, labels, ones)


class MacroAccuracy(ClassCounts):
    """Mean accuracy of the classes that have samples, which is also known as balanced accuracy."""

    def compute(self) -> Tensor:
        """The mean, in [0, 1]."""
        return class_scores(self.right, self.answered, self.present)["recall"].nanmean()


class MacroF1(ClassCounts):
    """Mean F1 of the classes that have samples or were answered."""

    def compute(self) -> Tensor:
        """The mean, in [0, 1]."""
        return class_scores(self.right, self.answered, self.present)["f1"].nanmean()


def class_scores(right: Tensor, answered: Tensor, present: Tensor) -> dict[str, Tensor]:
    """Precision, recall and F1 of each class, float32 (classes,); NaN where they are not defined.

    precision = right / answered, recall = right / present, F1 = 2 right / (answered + present).

    Args:
        right: (classes,), samples of the class that were taken for it.
        answered: (classes,), samples that were taken for the class.
        present: (classes,), samples of the class.

    Example:
        >>> scores = class_scores(*map(torch.tensor, ([3, 0], [4, 0], [3, 1])))
        >>> {name: values.tolist() for name, values in scores.items()}
        {'precision': [0.75, nan], 'recall': [1.0, 0.0], 'f1': [0.8571428656578064, 0.0]}
    """
    return {"precision": right / answered, "recall": right / present, "f1": 2 * right / (answered + present)}
