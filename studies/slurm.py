"""A study as a SLURM job array."""

import shlex
from collections.abc import Sequence
from pathlib import Path

__all__ = ["array_script"]

_SCRIPT = """\
#!/bin/bash
#SBATCH {name}
#SBATCH --array=1-{tasks}
#SBATCH {log}
#SBATCH --open-mode=append
#SBATCH --requeue
{options}
# Every task takes rows that no other task has taken, until none is left. A task that is requeued, or this file
# submitted once more, goes on with what is missing.
{environment}# Some versions of srun do not take this over from sbatch.
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun {command}
"""


def array_script(
    name: str, folder: Path, tasks: int, command: Sequence[str], options: str, data_dir: str | None
) -> str:
    """The text of a job file whose tasks fill the rows of a study together.

    Args:
        name: Of the study.
        folder: The study's folder, which all nodes see.
        tasks: Tasks of the array.
        command: What each task runs.
        options: Further options of sbatch, as one would type them.
        data_dir: Folder of the data sets; None for what the submitting shell says.

    Example:
        >>> text = array_script("s", Path("/runs/s"), 4, ["nnmass", "study", "run", "/runs/s"], "--time=1:00:00", None)
        >>> [line for line in text.splitlines() if "time" in line or "array" in line]
        ['#SBATCH --array=1-4', '#SBATCH --time=1:00:00']
    """
    lines: list[str] = []
    for word in shlex.split(options):
        if word.startswith("-") or not lines:
            lines.append(f"#SBATCH {shlex.quote(word)}")
        else:  # the value of an option that has no equals sign
            lines[-1] += f" {shlex.quote(word)}"
    return _SCRIPT.format(
        name=shlex.quote(f"--job-name=study_{name}"),
        tasks=tasks,
        log=shlex.quote(f"--output={folder / 'slurm' / '%A_%a.txt'}"),
        options="\n".join(lines),
        environment=f"export NNMASS_DATA={shlex.quote(data_dir)}\n" if data_dir else "",
        command=shlex.join(command),
    )
