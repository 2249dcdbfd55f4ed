"""Measures of many networks and seeds, in several processes; what was measured before is not measured again."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import torch
from joblib import Parallel, delayed, parallel_config
from torch import nn

from nnmass.runtime.files import write_atomically
from nnmass.runtime.signals import ignore_interruptions, undisturbed_starts
from nnmass.zoo.measures import Batch, find_measures, measure_network

__all__ = ["Subject", "measure_subjects", "missing_of", "read_rows", "update_rows"]

Row = dict[str, Any]


class Subject(NamedTuple):
    """A network with one seed, to be measured.

    Attributes:
        network: Its name.
        seed: Draws what the measures draw, and whatever ``prepare`` draws by it.
        setting: All else that decides the values, such as data, number of images and the network's description, in
            words or as a digest: what was measured in another setting is measured anew.
        prepare: Builds the network, and its batch, from the seed. It is called in the process that measures, so it must
            be one that can be sent there: a function, or a ``functools.partial`` of one.
    """

    network: str
    seed: int
    setting: str
    prepare: Callable[[int], tuple[nn.Module, Batch]]

    @property
    def key(self) -> tuple[str, int, str]:
        """Network, seed and setting, by which its row is known."""
        return self.network, self.seed, self.setting


def measure_subjects(
    subjects: Iterable[Subject],
    names: Sequence[str],
    workers: int = 1,
    known: Iterable[Row] = (),
    device: str = "cpu",
) -> Iterator[Row]:
    """Measure what is not known yet.

    Args:
        subjects: Networks with their seeds.
        names: Measures, as :func:`zoo.measures.find_measures` takes them.
        workers: Processes; one is this process itself. Each of several computes with one thread.
        known: Rows of an earlier call.
        device: On which to compute.

    Yields:
        A row for each subject that lacked a measure, in the order in which they are done: ``network``, ``seed``,
        ``setting``, and ``measured``, which maps every measure that is now known to its ``value`` (None where it has
        none), ``reason`` and ``seconds``. A subject that cannot be built or measured has an ``error`` instead.

    Raises:
        ValueError: If a name is unknown.
        RuntimeError: If a process ends before its work does, for lack of memory as a rule.
    """
    earlier = _by_key(known)
    tasks = (
        delayed(_measured)(subject, missing, earlier.get(subject.key, {}), device)
        for subject, missing in missing_of(subjects, names, earlier.values())
    )
    if workers == 1:
        yield from (function(*arguments) for function, arguments, _ in tasks)
        return
    with parallel_config("loky", inner_max_num_threads=1, initializer=ignore_interruptions):
        # A subject is sent to a process when that is free, so that ending early leaves little behind.
        parallel = Parallel(workers, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
        with undisturbed_starts():
            results = parallel(tasks)
        with closing(results) as rows:
            try:
                yield from rows
            except BrokenProcessPool as error:
                why = "a process was ended, for lack of memory as a rule; take fewer workers or images"
                raise RuntimeError(f"Expected every process to measure to its end, but {why}.") from error


def missing_of(
    subjects: Iterable[Subject], names: Sequence[str], known: Iterable[Row]
) -> Iterator[tuple[Subject, tuple[str, ...]]]:
    """Yield the subjects that are not measured wholly, each with the measures that it lacks.

    Args:
        subjects: Networks with their seeds.
        names: Measures wanted.
        known: Rows of an earlier call of :func:`measure_subjects`.
    """
    wanted, earlier = [one.name for one in find_measures(names)], _by_key(known)
    for subject in subjects:
        measured = earlier.get(subject.key, {}).get("measured", {})
        missing = tuple(name for name in wanted if name not in measured)
        if missing:
            yield subject, missing


def read_rows(file: Path) -> list[Row]:
    """Read the rows of a file of JSON lines, the newest of each subject, without a line that was cut off.

    Args:
        file: What :func:`update_rows` writes; it need not exist.
    """
    rows: list[Row] = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # the process was ended while it wrote
            continue
    return list(_by_key(rows).values())


def update_rows(
    file: Path, subjects: Iterable[Subject], names: Sequence[str], workers: int = 1, device: str = "cpu"
) -> Iterator[Row]:
    """Measure what a file does not hold yet, and add each row to it as soon as it is known.

    Args:
        file: JSON lines.
        subjects: As in :func:`measure_subjects`.
        names: As there.
        workers: As there.
        device: As there.

    Yields:
        The new rows; errors are yielded, but not kept, so that the next call tries again.
    """
    known = read_rows(file)
    write_atomically(file, "".join(f"{json.dumps(row)}\n" for row in known))
    for row in measure_subjects(subjects, names, workers, known, device):
        if "error" not in row:
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
        yield row


def _by_key(rows: Iterable[Row]) -> dict[tuple[str, int, str], Row]:
    return {(row["network"], row["seed"], row["setting"]): row for row in rows if "error" not in row}


def _measured(subject: Subject, missing: Sequence[str], earlier: Mapping[str, Any], device: str) -> Row:
    """Build and measure one subject; its row has what was measured earlier too."""
    row: Row = {"network": subject.network, "seed": subject.seed, "setting": subject.setting}
    try:
        network, batch = subject.prepare(subject.seed)
        found = measure_network(network.to(torch.device(device)), batch, missing, subject.seed)
    except Exception as error:  # a stranger's network may fail in any way: the reason is the result
        return {**row, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
    new = {
        name: {"value": one.value, "reason": one.reason, "seconds": round(one.seconds, 6)}
        for name, one in found.items()
    }
    return {**row, "measured": {**earlier.get("measured", {}), **new}}
