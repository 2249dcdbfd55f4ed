"""run.json, the record of one run, and the other files of a run: always whole on disk."""

import io
import json
import os
import platform
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from nnmass.runtime.csv_text import csv_text
from nnmass.runtime.fonts import choose_fonts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "part_of",
    "read_json",
    "read_run",
    "read_table",
    "remove_parts",
    "update_run",
    "write_atomically",
    "write_figure",
    "write_figures",
    "write_table",
]


_PART = re.compile(r"\.(?P<host>[0-9a-f]{8})\.(?P<process>\d+)\.[0-9a-f]{8}\.part$")


def read_run(folder: str | Path) -> dict[str, Any]:
    """The record of the run in ``folder``; empty where there is none yet.

    Raises:
        ValueError: If the file is not JSON.
    """
    return read_json(Path(folder) / "run.json")


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a file of JSON; empty where there is no file yet.

    Raises:
        ValueError: If the file is not JSON, or no mapping; the message names it.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected JSON in {path}, but it holds other bytes.") from error
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}, but {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"Expected keys and values in {path}, but it holds {type(content).__name__}.")
    return content


def read_table(path: Path, numbers: Sequence[str] = ()) -> "pd.DataFrame":
    """The table in a CSV.

    Args:
        path: The file.
        numbers: Columns that it must have, and that hold numbers.

    Raises:
        ValueError: If the file is none, or lacks such a column; the message names it.
    """
    import pandas as pd  # which takes longer to load than all that only writes

    try:
        table = pd.read_csv(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected a CSV in {path}, but it holds other bytes.") from error
    except ValueError as error:  # pandas' EmptyDataError and ParserError are ValueErrors too
        raise ValueError(f"Expected a CSV in {path}, but {str(error).strip().rstrip('.')}.") from error
    missing = [name for name in numbers if name not in table]
    if missing:
        raise ValueError(f"Expected {path} to have a column {missing[0]}, but it has {', '.join(table.columns)}.")
    for name in numbers:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(f"Expected numbers in the column {name} of {path}, but it holds texts.")
    return table


def update_run(folder: str | Path, **entries: Any) -> None:
    """Set entries of the record, leaving the others as they are."""
    record = {**read_run(folder), **entries}
    write_atomically(Path(folder) / "run.json", json.dumps(record, indent=2) + "\n")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, never finds half of it.

    A link stays a link: what it leads to is written. What is no file, such as a device or a pipe, is written through.

    Raises:
        OSError: If it cannot be written; it names the file, and what stood there before is as it was.
    """
    content = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    if _is_written_through(path):
        with path.open("ab") as stream:
            stream.write(content)
        return
    target = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale_parts(target.parent)
    part = part_of(target)
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:  # a full disk is not told with the file's name
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def _is_written_through(path: Path) -> bool:
    """Return whether a path is a device, a pipe or an open stream such as ``/dev/stdout``, not a file to replace."""
    return path.exists() and not path.is_dir() and (not path.is_file() or path.absolute().is_relative_to("/dev"))


def part_of(path: Path) -> Path:
    """A name beside ``path`` for its unfinished content, which tells of this process and which no other chooses."""
    return path.with_name(f".{path.name[:50]}.{_host()}.{os.getpid()}.{token_hex(4)}.part")


def remove_parts(folder: Path) -> None:
    """Remove unfinished files in a folder and below, which no other process may be using.

    Args:
        folder: It is claimed by this process.
    """
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


@cache
def _remove_stale_parts(folder: Path) -> None:
    """Remove, once, what processes of this host have left in a folder when they were killed while they wrote."""
    for part in folder.glob(".*.part"):
        told = _PART.search(part.name)
        if told is not None and told["host"] == _host() and not _is_alive(int(told["process"])):
            with suppress(OSError):
                part.unlink()


@cache
def _host() -> str:
    """Name of this machine, and of the container in which the numbers of processes hold."""
    try:
        numbering = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbering = ""
    return sha256(f"{platform.node()} {numbering}".encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    if os.name != "posix":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure in the format that the file's ending names, such as ``.png`` or ``.svg``."""
    choose_fonts(figure)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of which no font that is installed has one
        figure.savefig(content, format=path.suffix.removeprefix("."), dpi=150)
    write_atomically(path, content.getvalue())


def write_figures(path: Path, figure: "Figure") -> None:
    """Write a figure as PNG and as SVG; ``path`` has neither ending."""
    for ending in ("png", "svg"):
        write_figure(path.with_name(f"{path.name}.{ending}"), figure)


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV, for people, and as Parquet, which keeps types and lists, beside it.

    Args:
        path: The CSV; the other file has the ending ``.parquet``.
        table: Its columns; the index is left out.
    """
    write_atomically(path, csv_text(table))
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    write_atomically(path.with_suffix(".parquet"), content.getvalue())
