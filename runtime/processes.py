"""Agreement of the processes of one training before it begins."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from lightning_fabric.plugins.environments import SLURMEnvironment

from nnmass.runtime.launch import Launch
from nnmass.runtime.messages import sentence

__all__ = ["agreed", "is_lost_connection", "number_of_devices"]


def agreed(launch: Launch, decide: Callable[[], Any], on_gpu: bool, cleanup: ExitStack) -> Any:
    """Let the first process decide, and tell the others; they stay connected for the training.

    Args:
        launch: How the processes came to be.
        decide: What the first process calls; the result is told as it is.
        on_gpu: Whether they will train on GPUs.
        cleanup: Where the end of the connection is noted.

    Raises:
        ValueError: In every process, if the first one raises; the message is the same.
    """
    if launch.world_size == 1:
        return decide()
    import torch.distributed
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if launch.by == "SLURM":
        slurm = SLURMEnvironment(auto_requeue=False)
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = slurm.main_address, str(slurm.main_port)
    store, _, _ = next(rendezvous("env://", launch.rank, launch.world_size))
    # torchrun keeps one store for all lives of its processes, and in it the addresses of the dead.
    life = PrefixStore(f"life {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo", store=life, rank=launch.rank, world_size=launch.world_size
    )

    def disconnect(kind: Any, *_: Any) -> None:
        if kind is None:  # else another process may be gone, and would be waited for
            torch.distributed.destroy_process_group()

    cleanup.push(disconnect)
    told: list[Any] = [None, None]
    if launch.rank == 0:
        try:
            told[0] = decide()
        except Exception as error:
            told[1] = sentence(error)
            torch.distributed.broadcast_object_list(told, device=torch.device("cpu"))
            raise
    torch.distributed.broadcast_object_list(told, device=torch.device("cpu"))
    if told[1] is not None:
        raise ValueError(told[1])
    return told[0]


def number_of_devices(devices: Any) -> int:
    """Number of processes on one machine that ``trainer.devices`` means.

    Example:
        >>> number_of_devices(4), number_of_devices("2"), number_of_devices("0,3"), number_of_devices([1])
        (4, 2, 2, 1)
    """
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([device for device in devices.split(",") if device])
    if int(devices) >= 0:
        return int(devices)
    import torch

    return max(1, torch.cuda.device_count())


def is_lost_connection(error: Exception) -> bool:
    """Return whether the exchange between processes has failed, and not this process.

    Args:
        error: What ended it.
    """
    import torch.distributed

    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "nccl", "closed by peer"))
    )
