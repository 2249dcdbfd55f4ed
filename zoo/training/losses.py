"""Losses in which classes have weights."""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor, nn

__all__ = ["ClassWeighted", "weighted"]


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
