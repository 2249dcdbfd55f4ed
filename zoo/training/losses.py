"""Losses of a training: classes each by itself, and classes of different weight."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

__all__ = ["LOSSES", "BinaryCrossEntropy", "ClassWeighted", "weighted"]

_PRESENT = 0.2  # share of an image from which a class counts as present


class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of every class by itself, its mean over the classes and over the samples.

    The target of a class is 1 if its share of the image is above 0.2, else 0: of a mixed image both classes are there,
    however much of them, if it is more than a trace.

    Args:
        label_smoothing: Share s in [0, 1): targets y become (1 - s) y + s / classes.
        reduction: ``mean`` over the samples, or ``none``.

    Source:
        Wightman, Touvron, Jegou: "ResNet strikes back", 2021; the bound is that of the authors' trainings with timm.

    Example:
        >>> loss = BinaryCrossEntropy()
        >>> round(loss(torch.zeros(3, 5), torch.tensor([0, 4, 2])).item(), 4)  # log 2
        0.6931
    """

    def __init__(self, label_smoothing: float = 0.0, reduction: Literal["mean", "none"] = "mean") -> None:
        super().__init__()
        self.label_smoothing, self.reduction = label_smoothing, reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (N, classes) against labels (N,), or shares of them (N, classes)."""
        classes = logits.shape[1]
        shares = one_hot(labels, classes) if labels.ndim == 1 else labels
        targets = (shares > _PRESENT).to(logits.dtype)
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / classes
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)
        return losses.mean() if self.reduction == "mean" else losses


LOSSES: Mapping[str, Callable[..., nn.Module]] = {
    "cross_entropy": nn.CrossEntropyLoss,
    "binary_cross_entropy": BinaryCrossEntropy,
}
"""Losses of a training by their names in configurations."""


def weighted(loss: nn.Module, class_weights: Sequence[float] | None) -> nn.Module:
    """Return a loss with these weights of the classes, and without those that it had.

    Args:
        loss: A loss of torch, or one that this function has returned.
        class_weights: One per class; None for none.
    """
    plain = loss.loss if isinstance(loss, ClassWeighted) else loss
    return plain if class_weights is None else ClassWeighted(plain, class_weights)


class ClassWeighted(nn.Module):
    """Mean over the samples of a loss times the weight of the sample's class.

    The weights of torch's cross-entropy divide the sum by the weights in the batch and not by its samples: what a
    sample counts then depends on its batch, and several processes do not have the gradient of one.

    Args:
        loss: A loss of torch, with the argument ``reduction``.
        class_weights: One per class.

    Example:
        >>> loss = ClassWeighted(nn.CrossEntropyLoss(), [1.0, 3.0])
        >>> loss(torch.zeros(2, 2), torch.tensor([0, 1])).item() / torch.tensor(2.0).log().item()
        2.0
    """

    weights: Tensor

    def __init__(self, loss: nn.Module, class_weights: Sequence[float]) -> None:
        super().__init__()
        self.loss, self.each = loss, copy(loss)
        vars(self.each)["reduction"] = "none"
        # The data decide them anew in each training; they are no part of a checkpoint.
        self.register_buffer("weights", torch.tensor(class_weights, dtype=torch.float32), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (N, classes) against labels (N,), or shares of them (N, classes)."""
        weights = self.weights[labels] if labels.ndim == 1 else labels @ self.weights
        return (weights * self.each(logits, labels)).mean()
