"""Part of the samples that an evaluation has seen, where the trainer is told to take a part only."""

from typing import Any

from pytorch_lightning import Trainer

__all__ = ["part_seen"]


def part_seen(trainer: Trainer, stage: str) -> str | None:
    """Describe the part of the samples that the newest evaluation has seen, such as ``320 of 10,000 samples``.

    Of a loader that is not this project's, the batches are given: which samples come first is its own affair.

    Args:
        trainer: That has evaluated.
        stage: ``val`` or ``test``.

    Returns:
        The words; None where the evaluation saw all samples, or there was none.
    """
    found: Any = trainer.val_dataloaders if stage == "val" else trainer.test_dataloaders
    taken = trainer.num_val_batches if stage == "val" else trainer.num_test_batches
    if found is None:
        return None
    loaders = found if isinstance(found, list) else [found]
    limit = getattr(trainer, f"limit_{stage}_batches")
    words = [_part_of(loader, limit, batches) for loader, batches in zip(loaders, taken, strict=False)]
    return "; ".join(word for word in words if word) or None


def _part_of(loader: Any, limit: int | float, taken: int | float) -> str | None:
    sampler: Any = getattr(loader, "sampler", None)
    if hasattr(sampler, "seen"):  # tells what all processes together see
        seen, whole = sampler.seen(limit), sampler.num_samples
        return f"{seen:,} of {whole:,} samples" if seen < whole else None
    if isinstance(limit, float) and limit == 1:
        return None
    try:
        batches: int | str = len(loader)
    except TypeError:
        batches = "unknown"
    return f"the first {taken} of {batches} batches" if taken != batches else None
