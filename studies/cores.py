"""How many trainings fit beside each other."""

import os

__all__ = ["available_cores"]


def available_cores() -> int:
    """Cores that this process may use; in a cluster's job they are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
