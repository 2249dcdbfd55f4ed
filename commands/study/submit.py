"""study submit: fill the rows by a SLURM job array."""

import os
import shlex
from argparse import Namespace
from math import ceil

from nnmass.commands.options.parser import MOST_PROCESSES, Actions, at_least
from nnmass.commands.study.opened import (
    add_data_dir,
    add_output_dir,
    add_study,
    open_one,
    require_fit_engine,
    write_definition,
)
from nnmass.commands.study.soundness import require_sound
from nnmass.runtime.program import program

__all__ = ["add_to"]

_NOTES = """\
# Every task takes rows that no other task has taken, until none is left. A task that comes back, or this file submitted
# once more, goes on with what is missing."""


def add_to(actions: Actions) -> None:
    """Add the action ``submit``."""
    examples = [
        "nnmass study submit mnist_mlp --tasks 8 --sbatch='--partition=cpu --time=2:00:00' --dry-run",
        "nnmass study submit cifar10_dense --runs-per-task 4 --parallel 16 --sbatch='--gpus=1 --time=12:00:00'",
    ]
    parser = actions.add("submit", "fill the rows by a SLURM job array", _submit, examples)
    add_study(parser)
    add_output_dir(parser)
    add_data_dir(parser)
    parser.add_argument(
        "--workers", type=at_least("--workers", 1, MOST_PROCESSES), help="trainings at once (ensemble: a core each)"
    )
    parser.add_argument("--tasks", type=at_least("--tasks", 1), help="tasks of the job array (1)")
    parser.add_argument(
        "--runs-per-task",
        type=at_least("--runs-per-task", 1),
        help="let each task end after so many rows, and have as many tasks as that takes (fit)",
    )
    parser.add_argument("--parallel", type=at_least("--parallel", 1), help="tasks at work at once (all)")
    parser.add_argument("--sbatch", default="", help="further options of sbatch, as one text")
    parser.add_argument("--dry-run", action="store_true", help="only write the job file")


def _submit(options: Namespace) -> None:
    from nnmass.commands.submit import submit
    from nnmass.runtime.job_scripts import job_script, largest_array, sbatch_options
    from nnmass.studies.rows import statuses

    opened = open_one(options)
    if options.tasks and options.runs_per_task:
        raise ValueError(f"Expected either --tasks or --runs-per-task, but got {options.tasks} and the other.")
    require_fit_engine(opened.study, "--runs-per-task", options.runs_per_task)
    require_sound(opened)
    write_definition(opened)
    missing = sum(status != "finished" for status in statuses(opened.folder, opened.rows, opened.study).values())
    if not missing:
        raise ValueError(f"Expected rows that are missing or have failed, but all of {opened.folder} are finished.")
    folder = opened.folder.absolute()
    command = [*program(), "study", "run", str(folder)]
    command += ["--workers", str(options.workers)] if options.workers else []
    environment = {"NNMASS_DATA": os.environ["NNMASS_DATA"]} if options.data_dir else {}
    tasks = ceil(missing / options.runs_per_task) if options.runs_per_task else min(options.tasks or 1, missing)
    command += ["--limit", str(options.runs_per_task)] if options.runs_per_task else []
    log = folder / "slurm" / "%A_%a.txt"
    log.parent.mkdir(exist_ok=True)
    most, further = largest_array(), sbatch_options(_words(options.sbatch))
    for number, first in enumerate(range(0, tasks, most)):
        array = f"1-{min(most, tasks - first)}" + (f"%{options.parallel}" if options.parallel else "")
        sbatch = {"array": array, **further}
        script = job_script(f"study_{opened.study.name}", sbatch, log, command, _NOTES, environment)
        submit(script, folder / (f"job_{number + 1}.sh" if number else "job.sh"), options.dry_run)


def _words(sbatch: str) -> list[str]:
    """Split the text of ``--sbatch`` as a shell does."""
    try:
        return shlex.split(sbatch)
    except ValueError as error:
        raise ValueError(
            f"Expected --sbatch to hold options as a shell takes them, but got {sbatch}: {error}."
        ) from error
