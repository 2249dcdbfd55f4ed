"""Decoded images on disk: written once, atomically, and memory-mapped by every process after that."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["cached"]

log = logging.getLogger(__name__)


def cached(folder: Path, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Read tensors from ``folder/name.safetensors``; where it is absent, make them and keep them there.

    Of several processes one makes the file and the others wait for it. A folder that cannot be written to costs time,
    not the run: the tensors are then made anew each time.

    Args:
        folder: Where the file is kept.
        name: File name without its ending; it must change whenever the content would.
        make: Makes the tensors.

    Returns:
        The tensors by name, memory-mapped where they come from the file.
    """
    path = folder / f"{name}.safetensors"
    if path.exists():
        return load_file(path)
    lock = FileLock(path.with_suffix(".lock"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        log.warning("No copy of the decoded images is kept: %s.", error)
        return make()
    with lock:
        lock.release()  # the with statement has taken it a second time
        if not path.exists():
            tensors = make()
            if not _write(path, tensors):
                return tensors
    return load_file(path)


def _write(path: Path, tensors: dict[str, Tensor]) -> bool:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, part)
        part.chmod(0o666 & ~_umask())  # safetensors lets only its owner read the file
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        log.warning("No copy of the decoded images is kept: %s.", error)
        return False
    return True


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
