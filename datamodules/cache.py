"""Decoded data on disk: written once, atomically, and memory-mapped by every process after that."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from secrets import token_hex

from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from nnmass.datamodules.listing import as_text

__all__ = ["cached", "fingerprint"]

log = logging.getLogger(__name__)


def cached(folder: Path, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Read tensors from ``folder/name.safetensors``; where it is absent, make them and keep them there.

    Of several processes one makes the file and the others wait for it; a damaged one is made again. Where the folder
    cannot be written to, the user's cache folder (``$XDG_CACHE_HOME/nnmass``, by default ``~/.cache/nnmass``) serves
    instead; where that fails too, the tensors are made anew each time, and a warning says so.

    Args:
        folder: Where the file is kept.
        name: File name without its ending; it must change whenever the content would.
        make: Makes the tensors.

    Returns:
        The tensors by name, memory-mapped where they come from the file.
    """
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnmass"
    tensors: dict[str, Tensor] | None = None
    reasons = []
    for path in (folder / f"{name}.safetensors", users / f"{name}.safetensors"):
        part = path.with_name(f"{path.name}.{token_hex(4)}.part")
        try:
            if (stored := _stored(path, says_why=True)) is not None:
                return stored
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"))
            lock.acquire()
            for stale in path.parent.glob(f"{path.name}.*.part"):  # of a process that was killed; the lock is ours
                stale.unlink(missing_ok=True)
            part.touch()  # a folder that takes no files says so before the work is done
        except OSError as error:
            reasons.append(f"{path.parent}: {error}")
            continue
        try:
            if (stored := _stored(path)) is not None:
                return stored
            tensors = make() if tensors is None else tensors
            save_file(tensors, part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.chmod(0o666 & ~_umask())  # safetensors lets only its owner read the file
            os.replace(part, path)
            return _load(path)
        except (OSError, SafetensorError) as error:
            if tensors is None:  # making them failed, not keeping them
                raise
            reasons.append(f"{path.parent}: {error}")
        finally:
            part.unlink(missing_ok=True)
            lock.release()
    log.warning("No copy of the decoded data is kept (%s).", as_text("; ".join(reasons)))
    return make() if tensors is None else tensors


def _stored(path: Path, says_why: bool = False) -> dict[str, Tensor] | None:
    """The tensors of a file; None where there is no file, or a damaged one."""
    if not path.exists():
        return None
    try:
        return _load(path)
    except SafetensorError as error:
        if says_why:
            log.warning("The decoded data in %s are damaged (%s) and are made again.", as_text(path), error)
        return None


def _load(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; safetensors maps none whose path is not UTF-8, which is read into memory instead."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return load(path.read_bytes())
    return load_file(path)


def fingerprint(files: Iterable[Path]) -> str:
    """Fingerprint of files by path, size and times of change, also that of the state, which no program can set."""
    digest = hashlib.sha256()
    for file in files:
        state = file.stat()
        digest.update(os.fsencode(f"{file.absolute()} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n"))
    return digest.hexdigest()[:16]


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
