"""Samples, learning rate and precision of one optimizer step of a training."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import GradientAccumulationScheduler

from nnmass.runtime.device_facts import slow_on_processor
from nnmass.runtime.files import read_run, update_run
from nnmass.zoo.precision import tf32_in_use

__all__ = ["StepProtocol"]

_MOST_RATES = 3  # that the line lists


class StepProtocol(Callback):
    """Prints one line before the training begins, and keeps it as ``step`` in ``run.json``.

    The same configuration on another number of devices is another training: the line says what has come of it. A second
    line says where the processor emulates the precision.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and keep it, in the first process."""
        if not trainer.is_global_zero:
            return
        step = _step(trainer)
        device = trainer.strategy.root_device.type
        print(_line(step, device))
        if device == "cpu" and (sentence := slow_on_processor(step["precision"])):
            print(sentence)
        if read_run(trainer.default_root_dir) and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            update_run(trainer.default_root_dir, step=step)


def _step(trainer: Trainer) -> dict[str, Any]:
    data: Any = getattr(trainer, "datamodule", None)
    batch = getattr(data, "batch_size", None) or getattr(trainer.train_dataloader, "batch_size", None)
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    schedulers = (part for part in callbacks if isinstance(part, GradientAccumulationScheduler))
    changing = next((part.scheduling for part in schedulers if len(part.scheduling) > 1), None)
    accumulation = trainer.accumulate_grad_batches
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    rates = dict.fromkeys(float(group.get("initial_lr", group["lr"])) for group in groups)
    return {
        "processes": trainer.world_size,
        "batch_size": batch,
        "accumulate_grad_batches": accumulation,
        "accumulation_from_epoch": changing and {str(epoch): batches for epoch, batches in changing.items()},
        "samples": None if batch is None else trainer.world_size * batch * accumulation,
        "learning_rates": list(rates),
        "precision": str(trainer.precision),
        "tf32": trainer.strategy.root_device.type == "cuda" and tf32_in_use(),
    }


def _line(step: dict[str, Any], device: str) -> str:
    processes, batches = step["processes"], step["accumulate_grad_batches"]
    factors = [f"{processes} process{'es' if processes > 1 else ''}", f"batch {step['batch_size'] or 'unknown'}"]
    factors.append(f"accumulation {batches}")
    if step["accumulation_from_epoch"]:
        factors[-1] += f" (by epoch: {step['accumulation_from_epoch']})"
    total = "unknown" if step["samples"] is None else f"{step['samples']:,}"
    rates = ", ".join(f"{rate:g}" for rate in step["learning_rates"])
    if len(step["learning_rates"]) > _MOST_RATES:
        rates = f"{min(step['learning_rates']):g} to {max(step['learning_rates']):g}"
    tf32 = (" with TF32" if step["tf32"] else " without TF32") if device == "cuda" else ""
    return (
        f"Samples a step: {' x '.join(factors)} = {total}; learning rate {rates or 'unknown'}; "
        f"precision {step['precision']}{tf32}."
    )
