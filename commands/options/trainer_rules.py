"""Options of the Trainer that it takes and then stumbles over, or that this machine cannot fulfil."""

import os
import re
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning.accelerators import AcceleratorRegistry

__all__ = ["left_out", "require_devices", "require_sensible", "require_work"]

_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "max_epochs": -1,
    "max_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_nodes": 1,
    "num_sanity_val_steps": -1,
    "overfit_batches": 0,
    "reload_dataloaders_every_n_epochs": 0,
}
_MOST = 2**31 - 1  # of anything that is counted; torch and its loaders count no further
_HIGHEST_SEED = 2**32 - 1
_MOST_OF = {"seed": _HIGHEST_SEED, "split_seed": _HIGHEST_SEED, "num_workers": 1024}
_WITHOUT_END = 1000  # epochs that Lightning trains where nothing says how many

# The batches that a subcommand sees, and what becomes of it where it is told to see none.
_LIMITS = {"fit": "train", "validate": "val", "test": "test"}
_PROCESSES_PER_CORE = 4


def require_sensible(config: Any) -> None:
    """Hold the numbers of a training against what they may be.

    Args:
        config: Of a subcommand that trains or evaluates, parsed.

    Raises:
        ValueError: If one is out of range.
    """
    seed = config.seed_everything
    if not 0 <= seed <= _HIGHEST_SEED:
        raise ValueError(f"Expected --seed_everything to be a whole number from 0 to {_HIGHEST_SEED}, but got {seed}.")
    minutes = config.get("checkpoint_minutes", 0)
    if not minutes >= 0:
        raise ValueError(f"Expected --checkpoint_minutes to be at least 0, but got {minutes}.")
    for name, least in _LEAST.items():
        value = config.trainer.get(name)
        if value is not None and not value >= least:
            raise ValueError(f"Expected trainer.{name} to be at least {least}, but got {value}.")
    _require_countable("trainer", config.trainer)
    _require_countable("data", config.data.get("init_args") or {})
    for stage in (*_LIMITS.values(), "overfit"):
        _require_share(stage, config.trainer)


def require_work(subcommand: str, config: Any) -> None:
    """Refuse a command that is told to do nothing, and a schedule that does not fit into the training.

    Args:
        subcommand: ``fit``, ``validate`` or ``test``.
        config: Its configuration, parsed.

    Raises:
        ValueError: If nothing would be done, or the learning rate would not come to its schedule; the message says
            what to set.
    """
    trainer, stage = config.trainer, _LIMITS[subcommand]
    if trainer.get(f"limit_{stage}_batches") == 0:
        raise ValueError(f"Expected trainer.limit_{stage}_batches to let {subcommand} see batches, but got 0.")
    if subcommand != "fit":
        return
    for name in ("max_epochs", "max_steps"):
        if trainer.get(name) == 0:
            hint = "validate and test evaluate without training"
            raise ValueError(f"Expected trainer.{name} to be at least 1, or -1 for no end, but got 0; {hint}.")
    model, epochs = config.model, _planned_epochs(trainer)
    if model.warmup_epochs >= epochs > 0 and not trainer.fast_dev_run:
        raise ValueError(
            f"Expected model.warmup_epochs to be less than trainer.max_epochs, {epochs}, but got "
            f"{model.warmup_epochs}; --model.warmup_epochs {epochs // 10} warms up for a tenth of the training."
        )
    if model.unfreeze_epoch is not None and model.unfreeze_epoch >= epochs > 0 and not trainer.fast_dev_run:
        raise ValueError(
            f"Expected model.unfreeze_epoch to be less than trainer.max_epochs, {epochs}, but got "
            f"{model.unfreeze_epoch}; without it the frozen part stays so."
        )
    endless = epochs < 0 and (model.interval == "epoch" or trainer.max_steps < 0)
    if model.schedule == "cosine" and endless and not trainer.fast_dev_run:
        raise ValueError(
            "Expected trainer.max_epochs to be set for the cosine schedule, whose length it is, but got "
            f"{trainer.max_epochs}; --model.schedule constant needs no end."
        )


def left_out(config: Any) -> list[str]:
    """Say what a training leaves out that is told to see no batches of a kind, a sentence for each.

    Args:
        config: Of ``fit``, parsed.
    """
    said = {
        "val": "trainer.limit_val_batches is 0: nothing is validated, and there is no best checkpoint.",
        "test": "trainer.limit_test_batches is 0: nothing is tested.",
    }
    return [text for stage, text in said.items() if config.trainer.get(f"limit_{stage}_batches") == 0]


def _planned_epochs(trainer: Any) -> int:
    """Epochs as Lightning understands the options; -1 for no end."""
    if trainer.max_epochs is not None:
        return int(trainer.max_epochs)
    return _WITHOUT_END if trainer.max_steps == -1 and trainer.max_time is None else -1


def _require_countable(section: str, options: Any) -> None:
    for name, value in dict(options).items():
        most = _MOST_OF.get(name, _MOST)
        if isinstance(value, int) and value > most:
            raise ValueError(f"Expected {section}.{name} to be at most {most}, but got {value}.")


def _require_share(stage: str, trainer: Any) -> None:
    """Hold a limit against what it may be: a share of the batches, or their number."""
    name = "overfit_batches" if stage == "overfit" else f"limit_{stage}_batches"
    value = trainer.get(name)
    if value is not None and not (0 <= value <= 1 or (value > 1 and isinstance(value, int))):
        raise ValueError(
            f"Expected trainer.{name} to be a share from 0.0 to 1.0 or a number of batches, but got {value}."
        )


def require_devices(trainer: Any) -> None:
    """Hold accelerator, devices and precision against what this machine has.

    Args:
        trainer: Its part of the configuration, parsed.

    Raises:
        ValueError: If one is not there.
    """
    accelerator, devices, precision = trainer.accelerator, trainer.devices, str(trainer.precision)
    if not isinstance(accelerator, str):  # an object of the user's own
        return
    known = ("auto", "gpu", *sorted(AcceleratorRegistry.available_accelerators()))
    if accelerator not in known:
        raise ValueError(f"Expected trainer.accelerator to be one of {', '.join(known)}, but got {accelerator}.")
    gpus = torch.cuda.device_count()
    if accelerator == "cuda" and not gpus:
        raise ValueError("Expected a GPU for trainer.accelerator cuda, but PyTorch finds none on this machine.")
    if accelerator == "gpu" and not torch.accelerator.is_available():
        raise ValueError("Expected a GPU for trainer.accelerator gpu, but PyTorch finds none on this machine.")
    on_gpus = gpus > 0 and accelerator in ("auto", "gpu", "cuda")
    on_cores = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if not (on_gpus or on_cores):  # on Apple's GPUs, for one, of which Lightning knows how they are numbered
        return
    chosen = _chosen(devices, gpus if on_gpus else None)
    if on_gpus and precision.startswith("bf16"):
        for index in chosen:
            if not _calculates_in_bfloat16(index):
                name = torch.cuda.get_device_name(index)
                raise ValueError(
                    f"Expected a GPU that calculates in bfloat16 for trainer.precision {precision}, but got {name}; "
                    "16-mixed and 32-true run on it."
                )
    most = _PROCESSES_PER_CORE * (os.cpu_count() or 1)
    if on_cores and len(chosen) > most:
        raise ValueError(
            f"Expected trainer.devices to be at most {most} processes on the cores of this machine, but got {devices}."
        )


def _calculates_in_bfloat16(index: int) -> bool:
    """Tell by what the driver knows of a GPU: to make it the current one would take memory there for good."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(index) >= (8, 0)


def _chosen(devices: Any, gpus: int | None) -> Sequence[int]:
    """Indices of the devices that ``trainer.devices`` means; ``gpus`` is None where they are processes on cores."""
    text = str(devices).strip("[] ")
    if text == "-1" and gpus is None:
        raise ValueError("Expected trainer.devices to be auto or a number of processes on a processor, but got -1.")
    if text in ("auto", "-1"):
        return range(1 if gpus is None else gpus)
    if not re.fullmatch(r"\d+|\d+(\s*,\s*\d+)*\s*,?", text):
        raise ValueError(f"Expected trainer.devices to be auto, a number or a list such as 0,1, but got {devices}.")
    is_list = isinstance(devices, list) or "," in text
    chosen = [int(part) for part in text.split(",") if part.strip()] if is_list else range(int(text))
    if not chosen:
        raise ValueError(f"Expected trainer.devices to be at least 1, but got {devices}.")
    if gpus is None and is_list:
        raise ValueError(f"Expected trainer.devices to be a number of processes on a processor, but got {devices}.")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"Expected trainer.devices to name each GPU once, but got {devices}.")
    if gpus is not None and max(chosen) >= gpus:
        there = "one GPU, number 0" if gpus == 1 else f"{gpus} GPUs, numbers 0 to {gpus - 1}"
        raise ValueError(f"Expected trainer.devices to be among the {there}, but got {devices}.")
    return chosen
