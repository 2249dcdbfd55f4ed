"""Train each row of a study by ``nnmass fit`` in a process of its own."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from itertools import count, cycle, islice
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

from nnmass.runtime.device_facts import DEVICE_FACTS
from nnmass.runtime.files import read_run, read_table
from nnmass.runtime.program import program
from nnmass.runtime.signals import COME_BACK, STAY_STOPPED
from nnmass.studies.cores import available_cores, visible_gpus
from nnmass.studies.definition import Row, takes_one_device
from nnmass.studies.measurer import Measurer
from nnmass.studies.rows import is_locked, prepare, row_folder, runs_of, write_curve, write_row
from nnmass.studies.work import Work, begun, failed, protocol, reached_by

__all__ = ["fill_by_fit", "one_device"]

_STOP_S = 60  # that a training has to end by itself when it is stopped
_LOOK_S = 1.0  # between looks at how far a training is


def fill_by_fit(work: Work, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train each row by ``nnmass fit`` in a process of its own, which goes on where an earlier one was stopped.

    Every network is trained once before any is trained with a second seed: a study that ends early has told of all.
    """
    rows = sorted(rows, key=lambda row: work.study.seed_list.index(row.seed))
    measure, stop = Measurer(work.study.jacobian, work.study.measures), Event()
    gpus: Queue[str] = Queue()  # those that no row is trained on; more workers than GPUs share them
    for gpu in islice(cycle(visible_gpus()), work.workers):
        gpus.put(gpu)
    allowance = iter(range(work.limit)) if work.limit else count()
    with ThreadPoolExecutor(work.workers) as pool:
        try:
            waiting = {pool.submit(_fit_one, work, row, measure, stop, allowance, gpus): row for row in rows}
            for future in as_completed(waiting):
                record = future.result()
                if record is not None:
                    yield waiting[future], record
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _fit_one(
    work: Work, row: Row, measure: Measurer, stop: Event, allowance: Iterator[int], gpus: Queue[str]
) -> dict[str, Any] | None:
    """Return the record of the row; None if another process has it, or if no more are to be taken."""
    with work.ours([row]) as ours:
        if not ours or any(is_locked(run) for run in runs_of(work.folder, row)):
            return None
        if next(allowance, None) is None:
            return None
        record = begun(work.study, row)
        write_row(work.folder, row, record)
        try:
            with measure.lock:
                model, data = row.build()
                data.prepare_data()
                record |= protocol(model, data, row) | measure(row, model, data)
            write_row(work.folder, row, record)
            record |= _trained(row, work, data.val_on_test, stop, gpus)
        except Exception as error:  # whatever is wrong with a row is that row's result
            record = failed(record, error)
        write_row(work.folder, row, record)
        return record


def _trained(row: Row, work: Work, val_on_test: bool, stop: Event, gpus: Queue[str]) -> dict[str, Any]:
    """Let ``nnmass fit`` train the row where that is not done yet, and read its run folder.

    Raises:
        RuntimeError: If the training fails; the message is the training's own.
    """
    runs = runs_of(work.folder, row)
    if not any(_is_whole(run) for run in runs):
        resumable = runs and (runs[-1] / "checkpoints" / "last.ckpt").is_file()
        with one_device(row, gpus) as (options, environment):
            options += ["--ckpt_path", "last"] if resumable else []
            reason = _train(row, work, options, environment, stop)
        if reason is not None:
            return reason
    whole = [run for run in runs_of(work.folder, row) if _is_whole(run)]
    if not whole:
        return {"status": "interrupted", "reason": "The training ended before its last epoch."}
    run = read_run(whole[-1])
    curve = read_table(whole[-1] / "metrics.csv")
    curve = curve[[name for name in curve.columns if name == "epoch" or name.startswith(("train/", "val/"))]]
    write_curve(work.folder, row, curve)
    reached = reached_by(curve, val_on_test)
    tested = {"last": run["test_last"]["test/accuracy"], "best": run["test"]["test/accuracy"]}
    parts = {"val_part": run.get("val_part"), "test_part": run["test"].get("part")}
    reached |= {f"test_accuracy_{which}": value for which, value in tested.items()}
    return {
        **reached,
        **{name: part for name, part in parts.items() if part},  # else the figures are of all samples
        **{name: run[name] for name in (*DEVICE_FACTS, "threads", "precision", "tf32") if run.get(name) is not None},
        "wall_time_s": run["wall_time_s"],
        "run_folder": str(whole[-1].relative_to(work.folder)),
        "status": "finished",
    }


def _is_whole(folder: Path) -> bool:
    """Tell whether a run has come to its end and was tested."""
    run = read_run(folder)
    return run.get("status") == "finished" and "test" in run and "test_last" in run


@contextmanager
def one_device(row: Row, gpus: Queue[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Options and environment that keep a row to one device, unless its configuration says how many it takes.

    Its protocol must not depend on how many the machine has.

    Args:
        row: The row.
        gpus: Those that no other row of this process is trained on; empty where there are none.
    """
    if not takes_one_device(row.configuration):
        yield [], {}
        return
    gpu = None if gpus.empty() else gpus.get()
    try:
        yield ["--trainer.devices", "1"], {"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {}
    finally:
        if gpu is not None:
            gpus.put(gpu)


def _train(row: Row, work: Work, options: list[str], environment: dict[str, str], stop: Event) -> dict[str, Any] | None:
    """Run ``nnmass fit`` to its end; if it is stopped before, what the row's record says then.

    Raises:
        RuntimeError: If it fails.
    """
    folder = row_folder(work.folder, row)
    command = [*program(), "fit", "--config", str(prepare(work.folder, row))]
    # A row is one process's, whatever job of a cluster it runs in.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    threads = str(max(1, available_cores() // work.workers))
    # The first is for computing, and the user's where it is set; the second for the processes that read photographs.
    environment = {"OMP_NUM_THREADS": threads, **inherited, "LOKY_MAX_CPU_COUNT": threads, **environment}
    with (folder / "log.txt").open("a+", encoding="utf-8") as log:
        begin = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [*command, "--output_dir", str(folder), *options],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        if _is_stopped(process, row, work, stop):
            return {"status": "interrupted"}
        log.seek(begin)
        lines = log.read().splitlines()
    if process.returncode in (COME_BACK, STAY_STOPPED):
        return {"status": "interrupted"}
    if process.returncode < 0:
        raise RuntimeError(f"The training was ended by signal {-process.returncode}.")
    if process.returncode:
        raise RuntimeError(lines[-1] if lines else f"The training ended with status {process.returncode}.")
    return None


def _is_stopped(process: subprocess.Popen, row: Row, work: Work, stop: Event) -> bool:
    """Wait for a training to end, and tell how far it is; True if it had to be stopped."""
    told, look_at = None, 0.0
    while process.poll() is None:
        if time.monotonic() >= look_at:
            look_at = time.monotonic() + _LOOK_S
            with suppress(OSError, ValueError):  # a record that cannot be read now is read later
                run = next((read_run(folder) for folder in reversed(runs_of(work.folder, row))), {})
                if (epochs := run.get("epochs", 0)) != told:
                    work.watch(row, told := epochs, run.get("last", {}))
        if stop.wait(0.2):
            process.terminate()  # not SIGINT, which a process started in the background ignores
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
            return True
    return False
