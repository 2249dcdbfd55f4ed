"""One folder per run: made once, found again by configuration, never written to by two runs."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from nnmass.runtime.checkpoints import read_checkpoint
from nnmass.runtime.files import part_of, read_run, remove_parts
from nnmass.runtime.identity import (
    as_json,
    configuration_id,
    deciding_keys,
    differences,
    evaluated,
    recorded,
    recorded_id,
)

__all__ = [
    "RunLocation",
    "checkpoints",
    "claim",
    "continued_run",
    "find_run",
    "new_run",
    "newest_intact",
    "require_progress",
    "run_of_job",
    "runs_of",
]


class RunLocation(NamedTuple):
    """Folder and checkpoint with which a command works.

    Attributes:
        folder: The run's folder; None for a checkpoint that belongs to no run of this configuration.
        checkpoint: Path of the checkpoint to start from.
        resume_step: Optimizer steps that a continued training has behind it.
    """

    folder: Path | None
    checkpoint: str | None
    resume_step: int

    def to_json(self) -> str:
        """For an environment variable."""
        return json.dumps([self.folder and str(self.folder), self.checkpoint, self.resume_step])

    @classmethod
    def from_json(cls, text: str) -> "RunLocation":
        """The inverse of :meth:`to_json`."""
        folder, checkpoint, resume_step = json.loads(text)
        return cls(folder and Path(folder), checkpoint, resume_step)


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
        _point_latest_at(folder)
        return folder
    raise ValueError(f"Expected a free folder name in {output_dir}, but {stem} is taken a thousand times.")


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Keep the folder for this process inside the block, without what others have left unfinished in it.

    Raises:
        ValueError: If another process is writing to the folder.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"Expected the run in {folder} to be idle, but another process is working in it.") from error
    try:
        remove_parts(folder)
        yield
    finally:
        lock.release()


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that a run can go on from, the newest first."""
    paths = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous"))
    return [path for path in paths if path.is_file()]


def newest_intact(folder: Path, required: bool = True) -> tuple[Path | None, dict[str, Any] | None]:
    """The newest checkpoint of a run that is whole, and its content; one that is damaged is named.

    Args:
        folder: The run's.
        required: Whether there must be one; else a run that has none yet begins at its beginning.

    Raises:
        ValueError: If there are checkpoints, and none is whole.
    """
    found = checkpoints(folder)
    for path in found:
        try:
            return path, read_checkpoint(path)
        except ValueError as error:
            if path == found[-1]:
                raise
            print(f"{error} The run goes on from the one before.", file=sys.stderr)
    if required:
        raise FileNotFoundError(f"Expected {folder} to hold a checkpoint, but it has none.")
    return None, None


def run_of_job(output_dir: Path, identity: str, job: str | None) -> Path | None:
    """The newest run of a configuration that a job had begun before it was started again.

    Args:
        output_dir: Where the run folders are.
        identity: The configuration's id.
        job: What names the job.
    """
    return next((folder for folder in runs_of(output_dir, identity) if read_run(folder).get("job") == job), None)


def require_progress(folder: Path, step: int) -> None:
    """Refuse to start a job once more that gets no further.

    Args:
        folder: The run's.
        step: Where it would go on.

    Raises:
        ValueError: If its last three starts were at this step too.
    """
    if read_run(folder).get("starts", [])[-3:] == [step] * 3:
        raise ValueError(
            f"Expected the run in {folder} to get further when its job is started again, but three starts at step "
            f"{step} have come to no checkpoint; once the cause is mended, --ckpt_path last continues it."
        )


def find_run(output_dir: Path, configuration: Mapping[str, Any], name: str, checkpoint: str, fitting: bool) -> Path:
    """The newest run of a configuration that has a checkpoint.

    An evaluation also takes a run whose training differs in what is no matter to it, such as the number of devices.

    Args:
        output_dir: Where the run folders are.
        configuration: The whole of it.
        name: Its name, for the message.
        checkpoint: ``last`` or ``best``.
        fitting: Whether the training is to go on, which passes over runs whose training came to its end.

    Raises:
        FileNotFoundError: If there is none; the message says what there is instead.
        ValueError: If an evaluation might mean several trainings.
    """
    identity = configuration_id(configuration)
    folders = runs_of(output_dir, identity)
    for folder in folders:
        if _has(folder, checkpoint) and not (fitting and _is_finished(folder)):
            return folder
    if not fitting:
        others = [folder for folder in _runs_to_evaluate(output_dir, configuration) if _has(folder, checkpoint)]
        _require_one_training(others, checkpoint)
        if others:
            return others[0]
    kind = "an unfinished run" if fitting else "a run"
    if not folders:
        there = f"there is no run of this configuration ({name}, id {identity})"
        namesakes = sorted(output_dir.glob(f"*_{name}_*"), reverse=True)
        other = next((folder for folder in namesakes if read_run(folder).get("name") == name), None)
        changes = _changes(configuration, read_run(other), fitting) if other is not None else ""
        if other is not None and changes:
            there += f"; in the newest of its name, {other.name}, {changes}"
        elif other is not None:
            there += f"; the newest of its name, {other.name}, has no checkpoint {checkpoint}.ckpt"
    elif fitting and _is_finished(folders[0]):
        there = f"its newest run, {folders[0].name}, is finished"
    else:
        there = f"its newest run, {folders[0].name}, has no checkpoint {checkpoint}.ckpt"
    raise FileNotFoundError(f"Expected {kind} for --ckpt_path {checkpoint} in {output_dir.absolute()}, but {there}.")


def _has(folder: Path, checkpoint: str) -> bool:
    """Test for the checkpoint ``last`` or ``best`` of a run."""
    found = checkpoints(folder) if checkpoint == "last" else [folder / "checkpoints" / "best.ckpt"]
    return any(path.is_file() for path in found)


def runs_of(output_dir: Path, identity: str) -> list[Path]:
    """The runs of a configuration, the newest first; folders of earlier versions may bear another id."""
    others = {folder for folder, theirs in _records(output_dir) if recorded_id(theirs) == identity}
    return sorted({*output_dir.glob(f"*_{identity}*"), *others}, reverse=True)


def _runs_to_evaluate(output_dir: Path, configuration: Mapping[str, Any]) -> list[Path]:
    """The runs that an evaluation of a configuration may mean, the newest first."""
    wanted = as_json(evaluated(deciding_keys(configuration)))
    return [folder for folder, theirs in _records(output_dir) if as_json(evaluated(theirs)) == wanted]


def _records(output_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run with what decides its result, the newest first."""
    for file in sorted(output_dir.glob("*/run.json"), reverse=True):
        theirs = read_run(file.parent).get("configuration")
        if theirs and not file.parent.is_symlink():
            yield file.parent, recorded(theirs)


def _require_one_training(folders: list[Path], checkpoint: str) -> None:
    """Refuse several runs that were trained differently, of which any could be meant."""
    trainings = {as_json(recorded(read_run(folder)["configuration"])): folder for folder in reversed(folders)}
    if len(trainings) > 1:
        one, other = list(trainings.values())[-1:-3:-1]
        changes = differences(read_run(one)["configuration"], read_run(other)["configuration"])
        raise ValueError(
            f"Expected --ckpt_path {checkpoint} to mean one training, but {one.name} and {other.name} fit, and differ: "
            f"{changes}; name the file, such as --ckpt_path {one / 'checkpoints' / checkpoint}.ckpt."
        )


def continued_run(checkpoint: Path, identity: str, configuration: Mapping[str, Any], fitting: bool) -> Path | None:
    """The run folder that a checkpoint file belongs to, if a command may go on in it.

    Args:
        checkpoint: The file.
        identity: The id of the configuration that is asked for.
        configuration: That configuration.
        fitting: Whether the training is to go on, rather than a test.

    Returns:
        The folder, or None if the file lies in no run, or is to be tested under another configuration.

    Raises:
        ValueError: If a training is to go on that is finished, or under another configuration: its optimizer and
            schedule would come from the checkpoint, whatever the configuration says.
    """
    folder = checkpoint.parent.parent
    run = read_run(folder)
    if not run:
        return None
    if not fitting:
        same = run.get("configuration_id") == identity or not _changes(configuration, run, fitting)
        return folder if same else None
    changes = _changes(configuration, run, fitting)
    if changes:
        raise ValueError(f"Expected --ckpt_path to continue a run of this configuration, but {changes}.")
    if _is_finished(folder):
        raise ValueError(f"Expected --ckpt_path to continue an unfinished run, but {folder.name} is finished.")
    return folder


def _changes(configuration: Mapping[str, Any], run: Mapping[str, Any], fitting: bool) -> str:
    """In what a run's configuration is another one, for a training or an evaluation; empty if in nothing."""
    ours, theirs = deciding_keys(configuration), recorded(run.get("configuration", {}))
    return differences(theirs, ours) if fitting else differences(evaluated(theirs), evaluated(ours))


def _is_finished(folder: Path) -> bool:
    return read_run(folder).get("status") == "finished"


def _point_latest_at(folder: Path) -> None:
    """Let ``latest`` beside the folder lead to it, where the file system has links."""
    link = part_of(folder.parent / "latest")
    with suppress(OSError):
        link.symlink_to(folder.name, target_is_directory=True)
        os.replace(link, folder.parent / "latest")
