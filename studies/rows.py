"""The rows of a study on disk: one folder each, claimed by one process at a time, and all of them as one table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from nnmass.runtime.files import read_json, read_table, write_atomically
from nnmass.runtime.strict_yaml import yaml_text
from nnmass.studies.choices import JacobianChoice
from nnmass.studies.definition import Row, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

__all__ = [
    "Lacking",
    "claimed",
    "is_locked",
    "lacking",
    "load",
    "load_curves",
    "prepare",
    "read_row",
    "row_folder",
    "runs_of",
    "statuses",
    "write_curve",
    "write_row",
    "write_weights",
]

# Whoever only asks holds a lock for a moment, whoever works for long: one more try, or a process that follows another
# waits at each of its rows and never overtakes it.
_PATIENCE_S = 0.06

_RESULTS = (
    *("nn_mass", "nn_density", "average_degree", "num_params", "macs", "flops", "num_layers"),
    *("mean_singular_value", "isometry", "wall_time_s"),
)


def row_folder(study_folder: Path, row: Row) -> Path:
    """Return the folder of a row."""
    return study_folder / "rows" / row.id


def prepare(study_folder: Path, row: Row) -> Path:
    """Write the row's configuration, which ``nnmass fit --config`` takes too.

    Returns:
        The file.
    """
    path = row_folder(study_folder, row) / f"{row.id}.yaml"
    if not path.exists():
        write_atomically(path, yaml_text(row.configuration))
    return path


def read_row(study_folder: Path, row: Row) -> dict[str, Any]:
    """Read the record of a row; empty where there is none yet.

    Raises:
        ValueError: If the file is not JSON.
    """
    return read_json(row_folder(study_folder, row) / "row.json")


def write_row(study_folder: Path, row: Row, record: Mapping[str, Any]) -> None:
    """Write the record of a row, which has one level of numbers and texts."""
    write_atomically(row_folder(study_folder, row) / "row.json", json.dumps(record, indent=2) + "\n")


def write_curve(study_folder: Path, row: Row, curve: "pd.DataFrame") -> None:
    """Write loss and accuracy of the row's training, one line per epoch."""
    write_atomically(row_folder(study_folder, row) / "curve.csv", curve.to_csv(index=False))


def write_weights(study_folder: Path, row: Row, network: "nn.Module") -> None:
    """Write the trained weights of the row's network, with its links, as ``nnmass release`` takes them."""
    from safetensors.torch import save  # which loads torch, and the plan of a study needs none

    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(row_folder(study_folder, row) / "weights.safetensors", save(state))


@contextmanager
def claimed(study_folder: Path, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Keep for this process those of the rows that no other is working on.

    Yields:
        The rows that are now this process's.
    """
    with ExitStack() as locks:
        ours = []
        for row in rows:
            row_folder(study_folder, row).mkdir(parents=True, exist_ok=True)
            try:
                locks.enter_context(FileLock(row_folder(study_folder, row) / ".lock", timeout=_PATIENCE_S))
            except Timeout:
                continue
            ours.append(row)
        yield ours


def runs_of(study_folder: Path, row: Row) -> list[Path]:
    """List the run folders of a row that ``nnmass fit`` trains, the newest last."""
    records = row_folder(study_folder, row).glob("*/run.json")
    return sorted(path.parent for path in records if not path.parent.is_symlink())


def is_locked(folder: Path) -> bool:
    """Tell whether a process is working in a folder."""
    if not (folder / ".lock").exists():
        return False
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


class Lacking(NamedTuple):
    """Measurements that a study asks for and a row does not have.

    Attributes:
        jacobian: How the Jacobians are to be measured; None for not at all.
        measures: Training-free measures.
    """

    jacobian: JacobianChoice | None
    measures: list[str]


def lacking(study: Study, record: Mapping[str, Any]) -> Lacking | None:
    """Return what a row's network has not been measured by yet; None where that is nothing.

    Args:
        study: The study. What it no longer asks for stays in the record.
        record: Of the row.
    """
    measured = str(record.get("measures") or "").split()
    jacobian = study.jacobian if study.jacobian and record.get("jacobian") != str(study.jacobian) else None
    measures = [name for name in study.measures if name not in measured]
    return Lacking(jacobian, measures) if jacobian or measures else None


def statuses(study_folder: Path, rows: Sequence[Row], study: Study | None = None) -> dict[str, str]:
    """Return the status of each row: ``finished``, ``failed``, ``running``, ``interrupted`` or ``missing``.

    Args:
        study_folder: The study's folder.
        rows: Its rows.
        study: Tells apart the rows that are trained, but not measured as it asks for: they are ``unmeasured``.

    Returns:
        Status by row id. A row is running as long as a process holds it or the training that it has started.
    """
    by_row = {}
    for row in rows:
        record = read_row(study_folder, row)
        status = record.get("status", "missing")
        if status == "finished" and study is not None and lacking(study, record):
            status = "unmeasured"
        folders = [row_folder(study_folder, row), *runs_of(study_folder, row)]
        if status == "running" and not any(map(is_locked, folders)):
            status = "interrupted"
        by_row[row.id] = status
    return by_row


def load(study_folder: str | Path) -> "pd.DataFrame":
    """Read the results of a study, one row per training.

    Args:
        study_folder: What ``nnmass study run`` has filled.

    Returns:
        Topology, singular values, size, MACs, protocol, seed, accuracies, time and run folder of every row that
        has begun, of this version of the study.

    Raises:
        FileNotFoundError: If there is no study in the folder.
        ValueError: If the record of a row is damaged; the message names the file.
    """
    import pandas as pd  # which takes longer to load than all that only asks of rows

    files = [folder / "row.json" for folder in _row_folders(study_folder)]
    records = [record for file in files if (record := _read_results(file))]
    table = pd.DataFrame(records)
    for name in table.columns:  # an argument may be a number of one network and a list, so a text, of another
        if table[name].dropna().map(type).nunique() > 1 and table[name].map(lambda value: isinstance(value, str)).any():
            table[name] = table[name].map(str, na_action="ignore")
    return table


def load_curves(study_folder: str | Path) -> "pd.DataFrame":
    """Read loss and accuracy of every training after each epoch.

    Args:
        study_folder: As in :func:`load`.

    Returns:
        Columns ``row``, ``epoch`` and what was logged.

    Raises:
        FileNotFoundError: If there is no study in the folder.
        ValueError: If a curve is damaged; the message names the file.
    """
    import pandas as pd

    files = [folder / "curve.csv" for folder in _row_folders(study_folder)]
    parts = [_read_curve(file).assign(row=file.parent.name) for file in files if file.is_file()]
    if not parts:
        return pd.DataFrame({"row": [], "epoch": []})
    table = pd.concat(parts, ignore_index=True)
    return table[["row", *(column for column in table.columns if column != "row")]]


def _read_results(file: Path) -> dict[str, Any]:
    """Read the record of a row, whose results are numbers."""
    record = read_json(file)
    for name, value in record.items():
        is_result = name in _RESULTS or name.endswith(("_last", "_best", "_late"))
        if is_result and not (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
            raise ValueError(f"Expected {name} in {file} to be a number, but got {value!r}.")
    return record


def _read_curve(file: Path) -> "pd.DataFrame":
    try:
        return read_table(file, ["epoch"])
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; without that file the row has results, and no curve.") from error


def _row_folders(study_folder: str | Path) -> list[Path]:
    listing = Path(study_folder) / "rows.txt"
    if not listing.is_file():
        raise FileNotFoundError(f"Expected a folder that study run has filled, but {study_folder} holds no rows.txt.")
    return [Path(study_folder) / "rows" / name for name in listing.read_text().splitlines()]
