"""Processor cores and GPUs for trainings beside each other."""

import os

import torch
from joblib import cpu_count

__all__ = ["available_cores", "visible_gpus"]


def available_cores() -> int:
    """Count the cores that this process may use: in a cluster's job or a container, fewer than the machine has."""
    return cpu_count()


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]
