"""Representative parts of a data set: the part that Lightning takes, and an order in which it is stratified."""

from typing import Any, Literal

import torch
from torch import Generator, Tensor

__all__ = ["Stage", "balanced_order", "limit_of", "mixed_order", "repeated_order"]

Stage = Literal["train", "val", "test", "predict"]


def limit_of(trainer: Any, stage: Stage) -> int | float:
    """Batches of each process that Lightning takes, or their share, as in ``trainer.limit_test_batches``.

    Args:
        trainer: Lightning's; None for none, which takes all.
        stage: Which batches; the test's serve a prediction too.
    """
    if stage == "test" and getattr(trainer, "predicting", False):
        stage = "predict"
    return getattr(trainer, f"limit_{stage}_batches", 1.0)


def mixed_order(labels: Tensor, seed: int) -> Tensor:
    """An order of samples of which every beginning holds the classes in proportion, to the nearest sample.

    The i-th of the n samples of a class, in random order, comes after the share (i + 1/2) / n of all samples.

    Args:
        labels: (N,), of any kind, on any device.
        seed: Decides which samples of a class come first.

    Returns:
        Indices (N,) on the processor.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
        >>> order = mixed_order(labels, seed=0)
        >>> labels[order[:4]].bincount().tolist(), labels[order].bincount().tolist()
        ([2, 1, 1], [4, 2, 2])
    """
    drawn = torch.randperm(len(labels), generator=Generator().manual_seed(seed))
    classes = labels.cpu().unique(dim=0, return_inverse=True)[1][drawn]
    counts = classes.bincount()
    by_class = classes.argsort(stable=True)
    rank = torch.empty_like(classes)
    rank[by_class] = torch.arange(len(classes)) - (counts.cumsum(0) - counts)[classes[by_class]]
    return drawn[((rank + 0.5) / counts[classes]).argsort(stable=True)]


def balanced_order(labels: Tensor, generator: Generator) -> Tensor:
    """Draw as many samples as there are, all classes equally often, to one sample.

    A class that is too large gives a random part of its samples. One that is too small gives all of them, then all of
    them again in another order, and so on; the k-th repetition of sample i is called k N + i.

    Args:
        labels: (N,), on the processor.
        generator: Decides all draws.

    Returns:
        Samples (N,) in random order.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 1])
        >>> order = balanced_order(labels, Generator().manual_seed(0))
        >>> labels[order % 6].bincount().tolist(), order[labels[order % 6] == 1].sort().values.tolist()
        ([3, 3], [5, 11, 17])
    """
    number = len(labels)
    counts = labels.unique(return_counts=True)[1]
    shares = torch.full_like(counts, number // len(counts))
    shares[torch.randperm(len(counts), generator=generator)[: number % len(counts)]] += 1
    drawn: list[Tensor] = []
    for members, share in zip(labels.argsort(stable=True).split(counts.tolist()), shares.tolist(), strict=True):
        size = len(members)
        rounds = [members[torch.randperm(size, generator=generator)] + k * number for k in range(-(-share // size))]
        drawn.append(torch.cat(rounds)[:share] if rounds else members[:0])
    return torch.cat(drawn)[torch.randperm(number, generator=generator)]


def repeated_order(order: Tensor, repeats: int) -> Tensor:
    """Let each sample come several times in succession, until there are as many as before.

    Args:
        order: (N,), samples; the k-th repetition of sample i is called k N + i, in it and in the result.
        repeats: Times.

    Returns:
        Samples (N,).

    Example:
        >>> repeated_order(torch.tensor([2, 0, 1, 3]), 3)
        tensor([ 2,  6, 10,  0])
    """
    number = len(order)
    rounds = order // number  # repetitions that the order itself has
    again = order.unsqueeze(1) + number * ((repeats - 1) * rounds.unsqueeze(1) + torch.arange(repeats))
    return again.flatten()[:number]
