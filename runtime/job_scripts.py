"""Job files for sbatch: short, readable, to be edited and submitted again by hand."""

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which

from nnmass.runtime.names import is_one_line, require_name
from nnmass.runtime.signals import COME_BACK

__all__ = ["job_script", "largest_array", "sbatch_options"]

_SHORT = {
    "-A": "account",
    "-a": "array",
    "-c": "cpus-per-task",
    "-C": "constraint",
    "-D": "chdir",
    "-d": "dependency",
    "-e": "error",
    "-G": "gpus",
    "-J": "job-name",
    "-n": "ntasks",
    "-N": "nodes",
    "-o": "output",
    "-p": "partition",
    "-q": "qos",
    "-t": "time",
    "-w": "nodelist",
    "-x": "exclude",
}

_SCRIPT = """\
#!/bin/bash
{options}
{notes}
{environment}# Some versions of srun do not take this over from sbatch.
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun --kill-on-bad-exit=1 {command}
status=$?
# {come_back}: stopped by SIGUSR1 before the job's time was over; 137: a process was killed. Come back, and go on.
if [ $status = {come_back} ] || [ $status = 137 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $status
"""


def sbatch_options(words: Sequence[str]) -> dict[str, str | None]:
    """Options of sbatch by their long names, with their values; None for those without.

    Args:
        words: As one types them.

    Raises:
        ValueError: If a value follows no option.

    Example:
        >>> sbatch_options(["-N", "2", "--time=1:00:00", "--exclusive", "-pgpu"])
        {'nodes': '2', 'time': '1:00:00', 'exclusive': None, 'partition': 'gpu'}
    """
    options: dict[str, str | None] = {}
    last = ""
    for word in words:
        if word.startswith("--"):
            last, equals, value = word[2:].partition("=")
            options[last] = value if equals else None
        elif word.startswith("-") and word[:2] in _SHORT:
            last = _SHORT[word[:2]]
            options[last] = word[2:].removeprefix("=") or None
        elif word.startswith("-"):
            last = word[1:]
            options[last] = None
        elif not last or options[last] is not None:
            raise ValueError(f"Expected an option of sbatch before its value, but got {word!r}.")
        else:
            options[last] = word
    return options


def job_script(
    name: str,
    options: Mapping[str, str | None],
    log: Path,
    command: Sequence[str],
    notes: str,
    environment: Mapping[str, str],
) -> str:
    """The text of a job file that comes back when its time is over, and goes on where it was.

    Args:
        name: Of the job.
        options: Options of sbatch by their long names; they win over those that every job of ours has.
        log: File of the job's output, in sbatch's notation.
        command: What each task runs.
        notes: Comment on what the job does.
        environment: Variables to set.

    Raises:
        ValueError: If an option or its value would not stay in its line, where bash would take the rest for a command.

    Example:
        >>> text = job_script("study", {"array": "1-4"}, Path("log.txt"), ["nnmass", "study", "run"], "# All.", {})
        >>> [line for line in text.splitlines() if "signal" in line or "array" in line]
        ['#SBATCH --array=1-4', '#SBATCH --signal=SIGUSR1@120']
    """
    literal = str(log.parent).replace("%", "%%")  # sbatch has patterns of its own
    defaults: dict[str, str | None] = {"job-name": name, "output": f"{literal}/{log.name}"}
    defaults |= {"open-mode": "append", "requeue": None, "signal": "SIGUSR1@120"}
    if "no-requeue" in options:
        del defaults["requeue"]
    chosen = {**options, **{key: value for key, value in defaults.items() if key not in options}}
    require_name("--job-name", chosen["job-name"] or "")
    lines = [_option(option, value) for option, value in chosen.items()]
    exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in environment.items())
    return _SCRIPT.format(
        options="\n".join(lines),
        notes=notes,
        environment=exports,
        command=shlex.join(command),
        come_back=COME_BACK,
    )


def _option(name: str, value: str | None) -> str:
    """A line of the job file that sbatch reads; to bash it is a comment, which ends with the line."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise ValueError(f"Expected an option of sbatch such as --time, but got {f'--{name}'!r}.")
    if not is_one_line(value or ""):
        raise ValueError(f"Expected --{name} to be one line without control characters, but got {value!r}.")
    return f"#SBATCH --{name}" if value is None else f"#SBATCH --{name}={shlex.quote(value)}"


def largest_array() -> int:
    """Tasks that the cluster takes in one job array; SLURM's own default, 1000, where there is no cluster to ask."""
    if which("scontrol") is not None:
        shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False).stdout
        if limit := re.search(r"^MaxArraySize\s*=\s*(\d+)", shown, re.MULTILINE):
            return max(1, int(limit[1]) - 1)
    return 1000
