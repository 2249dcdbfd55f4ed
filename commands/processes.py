"""The processes of one training: who started them, and what they agree on before it begins."""

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from lightning_fabric.plugins.environments import SLURMEnvironment

from commands.sentences import sentence

__all__ = ["Launch", "agreed", "is_lost_connection", "launched", "number_of_devices"]


class Launch(NamedTuple):
    """How this process came to be.

    Attributes:
        by: ``SLURM``, ``torchrun``, or empty for a process that nothing but the user has started.
        num_nodes: Machines that take part.
        per_node: Processes on each of them.
        rank: This process among all of them.
        job: What stays the same when the job is started again; None where nothing starts it again.
        restarted: Whether it has been started again.
    """

    by: str = ""
    num_nodes: int = 1
    per_node: int = 1
    rank: int = 0
    job: str | None = None
    restarted: bool = False

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.num_nodes * self.per_node

    def require(self, name: str, value: Any, count: int, started: int) -> None:
        """Refuse a configuration that does not fit to the processes that were started.

        Args:
            name: The option.
            value: What it says.
            count: How many it means.
            started: How many were started.

        Raises:
            ValueError: If the two differ.
        """
        if count != started:
            what = "tasks on each node" if name == "devices" else "nodes"
            raise ValueError(
                f"Expected --trainer.{name} to be {started}, because {self.by} has started {started} {what}, "
                f"but got {value}."
            )


def launched() -> Launch:
    """How this process came to be, from what SLURM and torchrun put into the environment.

    Raises:
        ValueError: If they have started the processes in a way that cannot work.
    """
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:
        per_node = int(environment["LOCAL_WORLD_SIZE"])
        run_id = environment["TORCHELASTIC_RUN_ID"]
        return Launch(
            "torchrun",
            int(environment["WORLD_SIZE"]) // per_node,
            per_node,
            int(environment["RANK"]),
            # Without a rendezvous the id is "none"; torchrun itself stays the same process.
            f"torchrun {run_id if run_id != 'none' else os.getppid()}",
            environment.get("TORCHELASTIC_RESTART_COUNT", "0") != "0",
        )
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if "SLURM_JOB_ID" not in environment or (tasks == 1 and not SLURMEnvironment.detect()):
        return Launch()
    if not _is_a_task():
        if tasks == 1:
            return Launch()
        raise ValueError(f"Expected srun before the command, for a job of {tasks} tasks, but it was started without.")
    if not SLURMEnvironment.detect():
        name = environment.get("SLURM_JOB_NAME")
        raise ValueError(f"Expected a --job-name other than bash and interactive for several tasks, but got {name}.")
    spread = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE", str(tasks)))
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", "1")))
    uniform = re.fullmatch(r"(\d+)(?:\(x\d+\))?", spread)
    if uniform is None:
        raise ValueError(f"Expected the same number of tasks on every node, but SLURM has started {spread}.")
    environment.setdefault("SLURM_NTASKS_PER_NODE", uniform[1])  # Lightning asks for it
    return Launch(
        "SLURM",
        nodes,
        int(uniform[1]),
        int(environment["SLURM_PROCID"]),
        f"SLURM {environment['SLURM_JOB_ID']}",
        environment.get("SLURM_RESTART_COUNT", "0") != "0",
    )


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
    """How many processes of one machine ``trainer.devices`` means.

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
    """Whether the exchange between processes has failed, and not this process.

    Args:
        error: What ended it.
    """
    import torch.distributed

    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "nccl", "closed by peer"))
    )


def _is_a_task() -> bool:
    """Whether srun has started this process, rather than the job's script itself."""
    return "SLURM_STEP_ID" in os.environ and "SLURM_STEP_NUM_TASKS" in os.environ
