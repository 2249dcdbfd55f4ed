"""Standard streams that are closed or no longer read; loads nothing, so that it can be set up first."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

__all__ = ["indifferent", "open_closed_streams"]


def open_closed_streams() -> None:
    """Open closed standard streams on the null device, before a file of ours gets their descriptors and their text."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


@contextmanager
def indifferent(*names: str) -> Iterator[None]:
    """Let output inside the block be lost where it cannot be written, rather than end the command.

    Args:
        names: ``stdout``, ``stderr``. A stream that is not the process's own stays as it is.
    """
    before = {name: getattr(sys, name) for name in names}
    for name, stream in before.items():
        setattr(sys, name, _tolerant(stream))
    try:
        yield
    finally:
        for name, stream in before.items():
            ours = getattr(sys, name)
            with suppress(OSError, ValueError):
                ours.flush()
            setattr(sys, name, stream)


class _Indifferent(io.FileIO):
    """A file of which no write fails."""

    def write(self, data: Any, /) -> int:
        """Write ``data``, or lose it."""
        with suppress(OSError):  # a broken pipe, a terminal that was closed, a full disk
            return super().write(data)
        return memoryview(data).nbytes


def _tolerant(stream: TextIO) -> TextIO:
    """The same stream, whose writes never fail; what is no stream of the operating system stays as it is."""
    try:
        raw = _Indifferent(stream.fileno(), "w", closefd=False)
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return stream
    assert isinstance(stream, io.TextIOWrapper)
    buffer: Any = raw if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
