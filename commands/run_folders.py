"""One folder per run: made once, found again by configuration, never written to by two runs."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from callbacks.run_file import read_run

__all__ = ["claim", "configuration_id", "find_run", "new_run", "run_of_checkpoint"]

# What makes two runs the same run: everything but where the results go and how the command was given.
_IDENTITY = ("seed_everything", "model", "data", "trainer")


def configuration_id(configuration: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that change whenever the network, the data, the seed or the training does."""
    identity = {key: configuration.get(key) for key in _IDENTITY}
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:8]


def new_run(output_dir: Path, name: str, identity: str) -> Path:
    """Make a new folder ``<date>_<time>_<name>_<id>`` for one run.

    Raises:
        ValueError: If the folder cannot be made.
    """
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}_{identity}"
    for attempt in range(1000):
        folder = output_dir / (stem if not attempt else f"{stem}_{attempt + 1}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            reason = f"{output_dir.absolute()} cannot be used ({error.strerror})"
            raise ValueError(f"Expected --output_dir to be a folder that can be written to, but {reason}.") from error
        else:
            _point_latest_at(folder)
            return folder
    raise ValueError(f"Expected a free folder name in {output_dir}, but {stem} is taken a thousand times.")


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Keep the folder for this process inside the block.

    Raises:
        ValueError: If another process is writing to the folder.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"Expected the run in {folder} to be idle, but another process is working in it.") from error
    try:
        yield
    finally:
        lock.release()


def find_run(output_dir: Path, identity: str, name: str, checkpoint: str, unfinished: bool) -> Path:
    """The newest run of a configuration that has a checkpoint.

    Args:
        output_dir: Where the run folders are.
        identity: The configuration's id.
        name: The configuration's name, for the message.
        checkpoint: ``last`` or ``best``.
        unfinished: Pass over runs whose training came to its end.

    Raises:
        FileNotFoundError: If there is none; the message says what there is instead.
    """
    folders = sorted(output_dir.glob(f"*_{identity}*"), reverse=True)
    for folder in folders:
        if (folder / "checkpoints" / f"{checkpoint}.ckpt").is_file() and not (unfinished and _is_finished(folder)):
            return folder
    kind = "an unfinished run" if unfinished else "a run"
    if not folders:
        there = f"there is no run of this configuration ({name}, id {identity})"
    elif unfinished and _is_finished(folders[0]):
        there = f"its newest run, {folders[0].name}, is finished"
    else:
        there = f"its newest run, {folders[0].name}, has no checkpoint {checkpoint}.ckpt"
    raise FileNotFoundError(f"Expected {kind} for --ckpt_path {checkpoint} in {output_dir.absolute()}, but {there}.")


def run_of_checkpoint(checkpoint: Path, identity: str) -> Path | None:
    """The run folder that a checkpoint file belongs to, if that run has this configuration."""
    folder = checkpoint.parent.parent
    return folder if read_run(folder).get("configuration_id") == identity else None


def _is_finished(folder: Path) -> bool:
    return read_run(folder).get("status") == "finished"


def _point_latest_at(folder: Path) -> None:
    """Let ``latest`` beside the folder lead to it."""
    link = folder.parent / f".latest.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name, target_is_directory=True)
    os.replace(link, folder.parent / "latest")
