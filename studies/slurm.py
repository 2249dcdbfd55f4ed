"""A study as a SLURM job array."""

import shlex
from collections.abc import Sequence
from pathlib import Path

__all__ = ["array_script"]

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=study_{name}
#SBATCH --array=1-{tasks}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --requeue
{options}
# Every task takes rows that no other task has taken, until none is left. A task that is requeued, or this file
# submitted once more, goes on with what is missing.
{environment}srun {command}
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
    words = shlex.split(options)
    lines: list[str] = []
    for word in words:
        if word.startswith("-") or not lines:
            lines.append(f"#SBATCH {word}")
        else:  # the value of an option that has no equals sign
            lines[-1] += f" {word}"
    return _SCRIPT.format(
        name=name,
        tasks=tasks,
        log=folder / "slurm" / "%A_%a.txt",
        options="\n".join(lines),
        environment=f"export NNMASS_DATA={shlex.quote(data_dir)}\n" if data_dir else "",
        command=shlex.join(command),
    )
