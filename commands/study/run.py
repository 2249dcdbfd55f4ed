"""study run: fill the rows that are missing."""

from argparse import Namespace
from typing import Any

from nnmass.commands.options.parser import MOST_PROCESSES, Actions, at_least
from nnmass.commands.study.opened import (
    OpenedStudy,
    add_data_dir,
    add_output_dir,
    add_study,
    open_one,
    require_fit_engine,
    write_definition,
)
from nnmass.commands.study.soundness import require_sound
from nnmass.commands.study.status import print_status
from nnmass.runtime.signals import StopSignals

__all__ = ["add_to"]


def add_to(actions: Actions) -> None:
    """Add the action ``run``."""
    examples = ["nnmass study run mnist_mlp --data-dir ~/data", "nnmass study run runs/study_mnist_mlp --workers 2"]
    parser = actions.add("run", "fill the rows that are missing", _run, examples)
    add_study(parser)
    add_output_dir(parser)
    add_data_dir(parser)
    parser.add_argument(
        "--workers", type=at_least("--workers", 1, MOST_PROCESSES), help="trainings at once (ensemble: a core each)"
    )
    parser.add_argument("--limit", type=at_least("--limit", 1), help="end after so many rows (fit)")


def _run(options: Namespace) -> None:
    opened = open_one(options)
    with StopSignals() as signals:
        _fill(opened, options, signals)


def _fill(opened: OpenedStudy, options: Namespace, signals: StopSignals) -> None:
    from nnmass.commands.study.progress import RowsAtWork
    from nnmass.runtime.quiet import quieten
    from nnmass.runtime.tables import terminal
    from nnmass.studies.cores import available_cores
    from nnmass.studies.engines import run_study
    from nnmass.studies.rows import statuses

    quieten()
    study, _, rows, folder = opened
    require_fit_engine(study, "--limit", options.limit)
    require_sound(opened)
    write_definition(opened)
    workers = options.workers or (available_cores() if study.engine == "ensemble" else 1)
    status_by_row = statuses(folder, rows, study)
    done = sum(status == "finished" for status in status_by_row.values())
    again = {name for name, status in status_by_row.items() if status == "unmeasured"}
    failed_again = 0
    console = terminal()
    for sentence in _slow_precisions(opened):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    if again:
        console.print(f"{len(again)} trained rows are measured, and not trained again.", highlight=False)
    signals.stop_at_once()  # as Ctrl-C does
    with RowsAtWork(console, study.name, len(rows), done) as at_work:
        for row, record in run_study(study, rows, folder, workers, options.limit, at_work.watch):
            at_work.end(row)
            done += 1
            failed_again += record["status"] == "unmeasured"
            is_measured = row.id in again and record["status"] == "finished"
            line = f"[{done}/{len(rows)}] {row.id}: {'measured' if is_measured else _outcome(record)}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    print_status(opened)
    failed = failed_again + sum(status == "failed" for status in statuses(folder, rows).values())
    if failed:
        raise RuntimeError(f"Expected every row to come to its end, but {failed} of {len(rows)} failed; see above.")


def _slow_precisions(opened: OpenedStudy) -> list[str]:
    """Say which precisions of the trainings this processor emulates; their own lines go into each row's log."""
    from nnmass.runtime.device_facts import slow_on_processor
    from nnmass.studies.cores import visible_gpus

    if opened.study.engine != "fit" or visible_gpus():
        return []
    precisions = dict.fromkeys(row.precision for row in opened.rows)
    return list(filter(None, map(slow_on_processor, precisions)))


def _outcome(record: dict[str, Any]) -> str:
    """Write what a row has reached, or why it has not."""
    if record["status"] != "finished":
        return " ".join(str(record[key]) for key in ("status", "reason") if key in record)
    return ", ".join(
        f"{key.replace('_', ' ')} {record[key]:.4f}"
        for key in ("train_accuracy_last", "val_accuracy_last", "test_accuracy_last")
        if key in record
    )
