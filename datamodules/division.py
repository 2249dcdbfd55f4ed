"""Training, validation and test set, taken as they are given or split off the training set."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

__all__ = ["Part", "Split", "divided", "in_proportion", "stratified"]


class Part(NamedTuple):
    """A part of a data set.

    Attributes:
        source: ``train``, ``val`` or ``test``: where its samples are given.
        chosen: (N,), which of them.
    """

    source: str
    chosen: Tensor


class Split(NamedTuple):
    """Sizes and seed of the parts that are split off the training set.

    Attributes:
        val_size: Samples for validation, as a number or as a share; None for a tenth, but one of each class at least.
        test_size: Samples for the test, likewise.
        val_on_test: Validate on the test set.
        seed: Decides which samples are taken.
    """

    val_size: int | float | None = None
    test_size: int | float | None = None
    val_on_test: bool = False
    seed: int = 0


def divided(labels: Mapping[str, Tensor], split: Split, classes: Sequence[str], name: str) -> dict[str, Part]:
    """Divide a data set into ``train``, ``val`` and ``test``.

    Without a test set, the validation set is the test set, as ImageNet's, and another one is split off the training
    set; with ``test_size`` the test set is split off instead.

    Args:
        labels: Of what is given: of ``train``, perhaps of ``val`` and ``test``.
        split: How the rest is split off.
        classes: Names of the classes.
        name: Of the data set, for messages.

    Raises:
        ValueError: If a size is given for a part that is there, or cannot be.
    """
    sources = {part: part for part in ("train", "val", "test") if part in labels}
    if "test" not in sources and "val" in sources and split.test_size is None:
        sources["test"] = sources.pop("val")
    parts = {part: Part(source, torch.arange(len(labels[source]))) for part, source in sources.items()}
    for part, size in (("test", split.test_size), ("val", split.val_size)):
        if part in parts:
            if size is not None:
                raise ValueError(f"Expected no data.{part}_size (null) where {name} has a {part} set, but got {size}.")
        elif part == "test" or not split.val_on_test:
            train = parts["train"].chosen
            rest, taken = stratified(labels["train"][train], size, split.seed, classes, f"{part}_size", name)
            parts |= {"train": Part("train", train[rest]), part: Part("train", train[taken])}
    if split.val_on_test:
        if "val" in parts:
            raise ValueError(
                f"Expected no data.val_on_test where {name} has a validation and a test set, but got true."
            )
        parts["val"] = parts["test"]
    return parts


def stratified(
    labels: Tensor, size: int | float | None, seed: int, classes: Sequence[str], option: str, name: str
) -> tuple[Tensor, Tensor]:
    """Split samples in two so that both parts have the classes in proportion.

    Args:
        labels: (N,).
        size: Samples of the second part, as a number or as a share; None for a tenth, but one of each class at least.
        seed: Decides which.
        classes: Names of the classes.
        option: What asks for this, for messages.
        name: Of the data set, for messages.

    Returns:
        Indices of both parts, in order.

    Raises:
        ValueError: If a part would hold no sample of some class.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> _, taken = stratified(labels, 0.25, 0, ["cat", "dog"], "val_size", "pets")
        >>> labels[taken].tolist()
        [0, 1]
    """
    number = len(labels)
    counts = labels.bincount(minlength=len(classes))
    rarest = int(counts.argmin())
    if isinstance(size, float) and not 0 < size < 1:
        raise ValueError(
            f"Expected data.{option} to be a number of samples or a share between 0 and 1, but got {size}."
        )
    tenth = max(number // 10, len(classes))
    taken = tenth if size is None else round(number * size) if size < 1 else int(size)
    if int(counts[rarest]) < 2:
        raise ValueError(
            f"Expected at least 2 samples of every class of {name}, so that data.{option} can take and leave one, but "
            f"got {int(counts[rarest])} of {classes[rarest]}."
        )
    if not len(classes) <= taken <= number - len(classes):
        raise ValueError(
            f"Expected data.{option} to take and to leave samples of every class of {name} ({number:,} samples, "
            f"{len(classes):,} classes), but got {size}; null takes {tenth:,}."
        )
    return in_proportion(labels, taken, seed)


def in_proportion(labels: Tensor, taken: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split samples in two with the classes in proportion, where both parts have room for all classes.

    Args:
        labels: (N,).
        taken: Samples of the second part.
        seed: Decides which.

    Returns:
        Indices of both parts, in order.
    """
    rest, chosen = train_test_split(
        range(len(labels)), test_size=taken, stratify=labels.cpu().numpy(), random_state=seed
    )
    return torch.tensor(rest).sort().values, torch.tensor(chosen).sort().values
