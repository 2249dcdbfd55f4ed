"""The topology atlas: NN-Mass of every architecture that timm knows, and how well it explains ImageNet accuracy."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from nnmass.runtime.files import write_atomically
from nnmass.runtime.signals import ignore_interruptions, undisturbed_starts
from nnmass.studies.explain import fits_by_group

__all__ = [
    "EXPLAINING",
    "best_accuracies",
    "explained",
    "join_accuracies",
    "read_architecture",
    "read_atlas",
    "require_accuracies",
    "unread",
    "update_atlas",
]

EXPLAINING = {"log NN-Mass": "nn_mass", "log params": "num_params", "log MACs": "macs"}

# Marks in a timm tag of other data, of pretraining, or of a teacher.
_MORE_THAN_IN1K = re.compile(r"_ft_|in12k|in21k|in22k|dist|ssl|ns_|swag|seer|usi|bd_|yfcc")


def read_architecture(name: str) -> dict[str, Any]:
    """Read one row of the atlas: topology and size of one of timm's architectures, or why they cannot be read.

    The network is built without weights (on the meta device), so that its size costs no memory.

    Args:
        name: timm's name of the architecture, without a tag.

    Returns:
        ``name``, ``family`` (timm's module), and the figures, or ``error``.
    """
    import timm
    import torch
    from timm.models import model_entrypoint

    from nnmass.zoo.libraries.library import built_on_meta
    from nnmass.zoo.reader.topology import topology

    torch.set_num_threads(1)
    row: dict[str, Any] = {"name": name, "family": model_entrypoint(name).__module__.rpartition(".")[2]}
    try:
        network = built_on_meta(partial(timm.create_model, name))
        record = topology(network)
    except Exception as error:  # a stranger's network may fail in any way: the reason is the result
        return {**row, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
    verdicts = [joint.verdict for joint in record.joints]
    return {
        **row,
        "nn_mass": round(record.nn_mass, 6),
        "nn_density": round(record.nn_density, 6),
        "num_cells": record.num_cells,
        "num_layers": record.num_layers,
        "num_params": record.num_params,
        "macs": record.macs,
        "input_size": "x".join(map(str, record.input_size)),
        "attention_products": record.num_products,
        "joints": len(verdicts),
        "skips": verdicts.count("skip"),
        "not_judged": verdicts.count("not judged"),
        "reasons": "; ".join(sorted({joint.reason for joint in record.not_judged})),
    }


def unread(file: Path, names: Sequence[str]) -> list[str]:
    """Return those of the architectures that the file does not hold, or holds as failed.

    Args:
        file: What :func:`update_atlas` writes; it need not exist.
        names: Architectures wanted.
    """
    done = {row["name"] for row in _whole_rows(file) if "error" not in row}
    return [name for name in names if name not in done]


def update_atlas(file: Path, names: Sequence[str], workers: int) -> Iterator[dict[str, Any]]:
    """Read the architectures that the file does not hold yet, or that failed, and add each row as soon as it is known.

    Args:
        file: JSON lines; a line that was cut off in an earlier run is dropped.
        names: Architectures wanted.
        workers: Processes; each is replaced after 50 networks, which bounds its memory.

    Yields:
        The new rows, in the order in which they become known.
    """
    wanted = unread(file, names)
    known = [row for row in _whole_rows(file) if row["name"] not in wanted]
    write_atomically(file, "".join(f"{json.dumps(row)}\n" for row in known))
    # Numeric libraries read these when a worker starts.
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with undisturbed_starts():
        processes = get_context("spawn").Pool(workers, ignore_interruptions, maxtasksperchild=50)
    with processes as pool:
        for row in pool.imap_unordered(read_architecture, wanted):
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
            yield row


def read_atlas(file: Path) -> pd.DataFrame:
    """Read the rows of an atlas, one per architecture, by name.

    Args:
        file: What :func:`update_atlas` writes.
    """
    table = pd.DataFrame(_whole_rows(file))
    return table.sort_values("name", ignore_index=True) if len(table) else pd.DataFrame({"name": []})


def _whole_rows(file: Path) -> list[dict[str, Any]]:
    """Read the rows of a file of JSON lines, without one that was cut off; none where there is no file."""
    rows: list[dict[str, Any]] = []
    if not file.exists():
        return rows
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def require_accuracies(accuracies: Path) -> pd.DataFrame:
    """Read a table of accuracies.

    Args:
        accuracies: A CSV with columns ``model`` and ``top1``, in percent.

    Raises:
        ValueError: If a column or all rows are missing, or an accuracy is no number.
    """
    try:
        table = pd.read_csv(accuracies)
        missing = {"model", "top1"} - set(table.columns)
        table = table.astype({"top1": float}) if not missing else table
    except ValueError as error:  # pandas' EmptyDataError and ParserError are ValueErrors too
        raise ValueError(f"Expected {accuracies} to be a CSV with numbers in its column top1, but {error}.") from error
    if missing or table.empty:
        lack = f"it lacks {', '.join(sorted(missing))}" if missing else "it has no rows"
        raise ValueError(f"Expected {accuracies} to have columns model and top1, but {lack}.")
    return table


def join_accuracies(atlas: pd.DataFrame, accuracies: Path) -> pd.DataFrame:
    """Give every architecture the accuracy of its pretrained weights, where there are any.

    Args:
        atlas: What :func:`read_atlas` returns.
        accuracies: A CSV with columns ``model`` (timm's name, with or without a tag) and ``top1``, in percent.

    Returns:
        The architectures that were read and have an accuracy: ``top1`` is that of their best weights, ``top1_in1k``
        that of their best weights whose tag names neither other data than ImageNet-1k nor pretraining nor a teacher.

    Raises:
        ValueError: If a column or all rows are missing, or an accuracy is no number.
    """
    best = best_accuracies(accuracies)
    readable = atlas[atlas["nn_mass"].notna()]
    return readable.merge(best, on="name")


def best_accuracies(accuracies: Path) -> pd.DataFrame:
    """Return the best accuracy of each architecture that a table names.

    Args:
        accuracies: As in :func:`join_accuracies`.

    Returns:
        Columns ``top1`` and ``top1_in1k`` as there, the latter NaN where there are no such weights; the index is
        ``name``.

    Raises:
        ValueError: If a column or all rows are missing, or an accuracy is no number.
    """
    table = require_accuracies(accuracies)
    name, _, tag = zip(*(str(model).partition(".") for model in table["model"]), strict=True)
    table = table.assign(name=name, plain=[not _MORE_THAN_IN1K.search(part) for part in tag])
    best = table.groupby("name")["top1"].max().rename("top1")
    best_plain = table[table["plain"]].groupby("name")["top1"].max().rename("top1_in1k")
    return pd.concat([best, best_plain.reindex(best.index)], axis=1)


def explained(joined: pd.DataFrame) -> pd.DataFrame:
    """Fit top-1 on each of mass, size and cost: over all, without attention, and per family.

    Args:
        joined: What :func:`join_accuracies` returns.

    Returns:
        Columns ``networks`` (which ones), ``accuracy`` (which weights), and those of
        :func:`studies.explain.fits_by_group`.
    """
    parts = []
    for networks, table in (("all", joined), ("without attention", joined[joined["attention_products"] == 0])):
        for accuracy in ("top1", "top1_in1k"):
            known = table[table[accuracy].notna()]
            fits = fits_by_group(known, accuracy, EXPLAINING, "family")
            parts.append(fits.assign(networks=networks, accuracy=accuracy))
    return pd.concat(parts, ignore_index=True)
