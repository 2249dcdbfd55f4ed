"""The private names of Lightning that callbacks rely on, in this file alone; where one is gone, nothing is changed."""

from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging

__all__ = [
    "averaging_function",
    "end_as_unbroken",
    "first_epoch_of",
    "follows_another_batch",
    "keep_integers",
    "leave_signals_to_us",
    "takes_statistics_only",
]

_BROADCAST = "_broadcast_sigterm_tensor"


def leave_signals_to_us(trainer: Trainer) -> None:
    """Keep Lightning from asking before each batch of several processes whether SIGTERM has reached the first.

    It asks by a number on the device, for which the host must wait until the device has done all that it was given: no
    step could be prepared while the one before is computed.

    Args:
        trainer: Whose processes agree about signals in another way.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    if hasattr(loop, _BROADCAST):
        setattr(loop, _BROADCAST, lambda: None)


def follows_another_batch(trainer: Trainer) -> bool:
    """Return whether another training batch follows a batch, rather than a validation or the epoch's end.

    A run that goes on from a checkpoint between a batch and its validation would leave the validation out.

    Args:
        trainer: In ``on_train_batch_end``.
    """
    fit_loop: Any = trainer.fit_loop
    loop = fit_loop.epoch_loop
    return not (trainer.is_last_batch or loop._is_training_done or loop._should_check_val_fx(fit_loop._data_fetcher))


def takes_statistics_only(trainer: Trainer) -> bool:
    """Return whether this epoch computes no gradients, as the one that stochastic weight averaging adds at the end."""
    return bool(getattr(trainer.fit_loop, "_skip_backward", False))


def end_as_unbroken(trainer: Trainer) -> None:
    """Let a training of which nothing is left call the hooks of its start and end, which Lightning leaves out.

    Args:
        trainer: Whose training goes on from a checkpoint.
    """
    loop: Any = trainer.fit_loop
    train = loop.run

    def run() -> None:
        loop.setup_data()
        if trainer.limit_train_batches == 0 or loop.max_batches == 0 or not loop.done:
            train()
            return
        torch.set_grad_enabled(True)
        loop.epoch_progress.current.completed = loop.epoch_progress.current.processed
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StochasticWeightAveraging):  # has noted it in an epoch that is over
                vars(callback).setdefault("_accumulate_grad_batches", trainer.accumulate_grad_batches)
        loop.on_run_start()
        loop.on_run_end()

    loop.run = run


def averaging_function(callback: WeightAveraging) -> Any:
    """A callback's rule: new average from average, weights and number of updates; None for the equal mean."""
    return getattr(callback, "_kwargs", {}).get("avg_fn")


def keep_integers(callback: WeightAveraging) -> None:
    """Let an average take integers over from the weights, as they are.

    A network's links are integers: 0.988 x 3 + 0.012 x 3 is a little less than 3 in float32, and 2 as an integer.

    Args:
        callback: After its setup; without a rule of its own it computes the equal mean, which is exact.
    """
    model: Any = getattr(callback, "_average_model", None)
    rule = getattr(model, "avg_fn", None)
    if rule is not None:
        model.avg_fn = lambda averaged, weights, number: (
            rule(averaged, weights, number) if averaged.is_floating_point() or averaged.is_complex() else weights
        )


def first_epoch_of(callback: StochasticWeightAveraging) -> int:
    """The epoch, from 0, with which a callback begins to average; once the training has begun."""
    return callback.swa_start
