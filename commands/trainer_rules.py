"""Numbers that Lightning takes and then stumbles over, or that would exhaust the machine."""

import os
from typing import Any

import torch

__all__ = ["require_sensible"]

_LEAST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "gradient_clip_val": 0, "max_epochs": -1}
_HIGHEST_SEED = 2**32 - 1
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
    devices, accelerator = str(config.trainer.devices), config.trainer.accelerator
    on_cores = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    most = _PROCESSES_PER_CORE * (os.cpu_count() or 1)
    if on_cores and devices.isdigit() and int(devices) > most:
        raise ValueError(
            f"Expected trainer.devices to be at most {most} processes on the cores of this machine, but got {devices}."
        )
