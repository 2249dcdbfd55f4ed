"""Run a compiled function on PyTorch's own threads.

A second pool beside PyTorch's would fight it for the cores: OpenMP's threads go on spinning for a while after each
convolution. So the loops between convolutions enter the same pool, through the entry point that compilers emit for a
parallel block. Where PyTorch was built with another OpenMP than GNU's there is none, and ``available`` is False.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["TEAM_SIZE", "THREAD_NUMBER", "available", "run"]

THREAD_NUMBER = "nnmass_thread_number"
"""Name under which compiled code finds the number of the thread that it runs on."""

TEAM_SIZE = "nnmass_team_size"
"""Name under which it finds how many threads there are: OpenMP may grant fewer than were asked for."""


@cache
def _openmp() -> ctypes.CDLL | None:
    for library in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
        import llvmlite.binding

        openmp = ctypes.CDLL(str(library))
        for name, function in ((THREAD_NUMBER, openmp.omp_get_thread_num), (TEAM_SIZE, openmp.omp_get_num_threads)):
            llvmlite.binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
        return openmp
    return None


def available() -> bool:
    """Test for PyTorch's threads, on which compiled functions can run."""
    return _openmp() is not None


def run(function: Any, *numbers: int) -> None:
    """Run a compiled function once on each of PyTorch's threads.

    Args:
        function: A numba cfunc of one argument, a pointer to int64.
        numbers: What it points to, behind the count of parts to do: sizes and addresses.
    """
    openmp = _openmp()
    assert openmp is not None
    threads = torch.get_num_threads()
    arguments = np.array([threads, *numbers], dtype=np.int64)
    openmp.GOMP_parallel(ctypes.c_void_p(function.address), ctypes.c_void_p(arguments.ctypes.data), threads, 0)
