"""Numba's cache on disk, in the user's cache folder instead of the package's, where files would outlive the package."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

__all__ = ["kept"]

_config: Any = numba.config  # whose names are made when it is loaded


def kept(compiled: Callable[[bool], Any]) -> Any:
    """Decorate a function with numba, whose machine code is kept on disk where there is a folder for it.

    The folder is ``NUMBA_CACHE_DIR``, by default ``$XDG_CACHE_HOME/nnmass/numba`` or ``~/.cache/nnmass/numba``.
    Numba's own choice is the package's folder, where the files would outlive the package.

    Args:
        compiled: Decorates the function; it is told whether to keep anything.
    """
    before = _config.CACHE_DIR
    folder = _writable(before)
    if folder is None:
        return compiled(False)
    _config.CACHE_DIR = folder  # read when a function is decorated; the user's own functions do not see it
    try:
        return compiled(True)
    finally:
        _config.CACHE_DIR = before


def _writable(chosen: str) -> str | None:
    """Return the folder to keep files in; None where it takes none, or where there is no home."""
    try:
        users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(chosen or Path(users) / "nnmass" / "numba")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):
        return None
    return str(folder)
