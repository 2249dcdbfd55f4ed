"""Cores that a process may use, and how many processes read for each training process of a machine."""

import os

from joblib import cpu_count

__all__ = ["reading_processes", "usable_cores"]

_MOST = 32  # more only fill memory: each holds two batches, and so many decode faster than any GPU trains


def usable_cores() -> int:
    """Cores that this process may use, of all that the machine has.

    They are those of its affinity, at most the processor time that its container is granted, at most what SLURM has
    allotted to its job on this machine, and at most the environment variable ``LOKY_MAX_CPU_COUNT``.
    """
    return min(cpu_count(), _allotted() or cpu_count())


def reading_processes(processes: int) -> int:
    """Processes that read for each training process: its share of the cores, at least 1 and at most 32.

    One core leaves nothing to share: the training process then reads by itself.

    Args:
        processes: Training processes on this machine.
    """
    if usable_cores() == 1:
        return 0
    # SLURM may have bound this process to its own share already, which is not divided once more.
    share = min(cpu_count(), _allotted() // processes) if _allotted() else cpu_count() // processes
    return min(max(share, 1), _MOST)


def _allotted() -> int:
    """Cores of SLURM's job on this machine, for all its tasks; 0 outside of one."""
    return int(os.environ.get("SLURM_CPUS_ON_NODE") or 0)
