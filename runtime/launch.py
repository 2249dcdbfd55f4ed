"""Launchers of this process, read from the environment variables of SLURM and torchrun; loads nothing of theirs."""

import os
import platform
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["LOCATION_VARIABLE", "Launch", "launched", "require_launcher", "require_ranks"]

LOCATION_VARIABLE = "NNMASS_PLACE"
"""Set in the processes that a training starts itself, for further devices of its machine: where the run is."""

_BY_HAND = "start the processes with torchrun or srun, or unset"
_LARGEST_PORT = 65535


class Launch(NamedTuple):
    """Launcher, machines and processes of a command, and the rank of this one.

    Attributes:
        by: ``SLURM``, ``torchrun``, or empty for a process that nothing but the user has started.
        num_nodes: Machines that take part.
        per_node: Processes on each of them.
        rank: This process among all of them.
        job: What stays the same when the job is started again; None where nothing starts it again.
        restarts: How often it has been started again.
    """

    by: str = ""
    num_nodes: int = 1
    per_node: int = 1
    rank: int = 0
    job: str | None = None
    restarts: int = 0

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


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """Read the launcher, machines and ranks from the environment.

    Args:
        environment: Variables that torchrun, srun or no launcher has set.

    Raises:
        ValueError: If they contradict each other, or tell of processes that were started in a way that cannot work.
    """
    if LOCATION_VARIABLE in environment:  # the first process has looked
        return Launch()
    if "MASTER_PORT" in environment and not 1 <= _number(environment, "MASTER_PORT") <= _LARGEST_PORT:
        port = environment["MASTER_PORT"]
        raise ValueError(f"Expected MASTER_PORT to be a port from 1 to {_LARGEST_PORT}, but got {port}.")
    if "TORCHELASTIC_RUN_ID" in environment:
        return _of_torchrun(environment)
    slurm = _of_slurm(environment)
    if slurm.by:
        return slurm
    _require_alone(environment)
    return slurm


def require_launcher(num_nodes: int, devices: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse what a process that neither torchrun nor srun has started cannot do, and would wait for.

    Args:
        num_nodes: Machines that are to take part.
        devices: Processes on each of them.
        environment: This process's variables.

    Raises:
        ValueError: If several machines are to take part, or if the processes would not find each other.
    """
    if LOCATION_VARIABLE in environment:
        return
    if num_nodes != 1:
        raise ValueError(
            f"Expected trainer.num_nodes to be 1 without torchrun or srun, which start a process on each machine, but "
            f"got {num_nodes}; nnmass submit fit --nodes {num_nodes} writes the job, and torchrun --nnodes {num_nodes} "
            "begins the command on each machine."
        )
    if devices > 1 and "LOCAL_RANK" in environment:
        raise ValueError(
            f"Expected LOCAL_RANK to be unset, so that the {devices} processes of trainer.devices are started, but "
            f"got {environment['LOCAL_RANK']}."
        )
    address = environment.get("MASTER_ADDR", "localhost")
    if devices > 1 and address not in ("localhost", "127.0.0.1", "::1", platform.node()):
        raise ValueError(
            f"Expected MASTER_ADDR to be unset or this machine without torchrun or srun, but got {address!r}."
        )


def _of_torchrun(environment: Mapping[str, str]) -> Launch:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    _require_all(environment, ("TORCHELASTIC_RUN_ID", *names, "MASTER_ADDR", "MASTER_PORT"), "torchrun")
    rank, size, local_rank, per_node = (_number(environment, name) for name in names)
    _require_rank("RANK", rank, "WORLD_SIZE", size)
    _require_rank("LOCAL_RANK", local_rank, "LOCAL_WORLD_SIZE", per_node)
    if size % per_node:
        raise ValueError(
            f"Expected WORLD_SIZE to be a multiple of LOCAL_WORLD_SIZE, the same number of processes on each machine, "
            f"but got {size} and {per_node}."
        )
    run_id = environment["TORCHELASTIC_RUN_ID"]
    # Without a rendezvous the id is "none"; torchrun itself stays the same process.
    job = f"torchrun {run_id if run_id != 'none' else os.getppid()}"
    return Launch(
        "torchrun", size // per_node, per_node, rank, job, _number(environment, "TORCHELASTIC_RESTART_COUNT", 0)
    )


def _of_slurm(environment: Mapping[str, str]) -> Launch:
    """A task that srun has started; a shell or a script in a job is nothing but the user's, if the job has one task."""
    given = next((name for name in ("SLURM_NTASKS", "SLURM_PROCID") if name in environment), None)
    if "SLURM_JOB_ID" not in environment:
        if given is not None:
            raise ValueError(
                f"Expected SLURM_JOB_ID beside {given}={environment[given]}, as SLURM sets it, but it is not set; "
                f"unset {given} outside of a job."
            )
        return Launch()
    tasks = _number(environment, "SLURM_NTASKS", 1, least=1)
    job = _number(environment, "SLURM_JOB_ID")
    if not _is_a_task(environment):
        if tasks == 1:
            return Launch()
        raise ValueError(
            f"Expected srun before the command, for a job of {tasks} tasks, but it was started without; with "
            "SLURM_NTASKS unset it is one process."
        )
    name = environment.get("SLURM_JOB_NAME")
    if name in ("bash", "interactive"):  # in which Lightning knows no tasks
        if tasks == 1:
            return Launch()
        raise ValueError(f"Expected a --job-name other than bash and interactive for several tasks, but got {name}.")
    names = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
    _require_all(environment, ("SLURM_STEP_ID", *names), "srun")
    rank, local_rank = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_LOCALID")
    _require_rank("SLURM_PROCID", rank, "SLURM_NTASKS", tasks)
    tasks_per_node = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE", str(tasks)))
    uniform = re.fullmatch(r"(\d+)(?:\(x\d+\))?", tasks_per_node)
    if uniform is None:
        raise ValueError(f"Expected the same number of tasks on every node, but SLURM has started {tasks_per_node}.")
    nodes_name = "SLURM_STEP_NUM_NODES" if "SLURM_STEP_NUM_NODES" in environment else "SLURM_NNODES"
    nodes, per_node = _number(environment, nodes_name, 1, least=1), int(uniform[1])
    if nodes * per_node != tasks:
        raise ValueError(
            f"Expected SLURM_NTASKS to be the {per_node} tasks on each of {nodes} nodes of which SLURM tells, but got "
            f"{tasks}."
        )
    _require_rank("SLURM_LOCALID", local_rank, "the tasks on each node", per_node)
    return Launch("SLURM", nodes, per_node, rank, f"SLURM {job}", _number(environment, "SLURM_RESTART_COUNT", 0))


def _is_a_task(environment: Mapping[str, str]) -> bool:
    """Return whether srun has started this process, rather than the job's script itself."""
    return "SLURM_STEP_ID" in environment and "SLURM_STEP_NUM_TASKS" in environment


def _require_alone(environment: Mapping[str, str]) -> None:
    """Refuse ranks that no known launcher has set: Lightning takes each of them for the process's own."""
    both = ("RANK", "WORLD_SIZE")
    given = [name for name in both if name in environment]
    if len(given) == 1:
        (missing,) = set(both) - set(given)
        raise ValueError(
            f"Expected {missing} beside {given[0]}={environment[given[0]]}, but it is not set; {_BY_HAND} {given[0]}."
        )
    if given:
        rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
        _require_rank("RANK", rank, "WORLD_SIZE", size)
        if size > 1:
            raise ValueError(
                f"Expected torchrun or srun to start the {size} processes of WORLD_SIZE, but neither has; {_BY_HAND} "
                "RANK and WORLD_SIZE."
            )
    for name in ("LOCAL_RANK", "NODE_RANK", "JSM_NAMESPACE_RANK", "SLURM_PROCID"):
        rank = _number(environment, name, 0)
        if rank:
            raise ValueError(
                f"Expected {name} to be unset or 0 in a process that neither torchrun nor srun has started, but got "
                f"{rank}; {_BY_HAND} it."
            )


def _require_all(environment: Mapping[str, str], names: tuple[str, ...], launcher: str) -> None:
    """Refuse variables of which ``launcher`` sets all, where one is missing; the first is there."""
    for name in names:
        if name not in environment:
            raise ValueError(
                f"Expected {name} to be set beside {names[0]}, as {launcher} does, but it is not; start the command "
                f"with {launcher}, or unset {names[0]}."
            )


def _require_rank(name: str, rank: int, of: str, size: int) -> None:
    if rank >= size:
        raise ValueError(f"Expected {name} to be less than {of}, which is {size}, but got {rank}.")


def _number(environment: Mapping[str, str], name: str, default: int | None = None, least: int = 0) -> int:
    """The number in a variable, or ``default`` where it is not set."""
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise ValueError(f"Expected {name} to be a whole number of at least {least}, but got {text!r}.")
    return int(text)


def require_ranks(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse bad values of the variables that Lightning reads as soon as it is loaded.

    Args:
        environment: The process's variables.

    Raises:
        ValueError: If one is no whole number.
    """
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        _number(environment, name, 0)
