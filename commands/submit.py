"""submit fit: write the job file of a training for SLURM from the training's own configuration, and submit it."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

from nnmass.commands.options.parser import Parser
from nnmass.runtime.config_names import resolve_config_arguments
from nnmass.runtime.program import program

__all__ = ["Allocation", "allocation", "run", "split_arguments", "submit"]

_FIT_OPTIONS = (
    "config",
    "output_dir",
    "ckpt_path",
    "seed_everything",
    "checkpoint_minutes",
    "extend",
    "tf32",
    "data",
    "model",
    "trainer",
)

# Cores for a process whose readers are as many as it has cores: a node of 8 GPUs seldom has fewer than 64.
_READING_CORES = 8


class Allocation(NamedTuple):
    """Resources that a training needs of a cluster.

    Attributes:
        num_nodes: Machines.
        per_node: Processes on each of them.
        cpus_per_task: Cores for each process.
    """

    num_nodes: int
    per_node: int
    cpus_per_task: int


def run(arguments: Sequence[str]) -> int:
    """Write the job file of ``fit`` with these arguments, and submit it.

    Args:
        arguments: ``submit fit``, the options of ``fit`` and those of sbatch, in any order.
    """
    parser = Parser(
        "nnmass submit fit",
        "Train on a SLURM cluster. Options of fit and of sbatch, in any mix: what fit does not know goes to sbatch. "
        "One process per GPU, or --ntasks-per-node of them; the job comes back when its time is over, and goes on.",
        [
            "nnmass submit fit --config imagenet_dense.yaml --nodes 2 --gpus-per-node 8 --time 24:00:00",
            "nnmass submit fit --config digits_dense.yaml --trainer.max_epochs 5 -p cpu -t 10:00 --dry-run",
        ],
    )
    parser.add_argument("--dry-run", action="store_true", help="only write the job file")
    words = list(arguments)[1:]
    if {"-h", "--help"} & set(words):
        parser.parse_args(["--help"])
    if words[:1] != ["fit"]:
        what = repr(words[0]) if words else "nothing"
        raise ValueError(f"Expected submit to be followed by fit, but got {what}; for a study: nnmass study submit.")
    dry_run = "--dry-run" in words
    fit_words, sbatch_words = split_arguments([word for word in words[1:] if word != "--dry-run"])
    fit_words, name = resolve_config_arguments(fit_words)
    from nnmass.commands.training.lightning_cli import parsed_fit
    from nnmass.runtime.job_scripts import job_script, sbatch_options
    from nnmass.runtime.quiet import quieten

    quieten()
    config, options = parsed_fit(fit_words), sbatch_options(sbatch_words)
    _require_trainable(config)
    needed = allocation(config, options)
    options |= {"nodes": str(needed.num_nodes), "ntasks-per-node": str(needed.per_node)}
    options = {"cpus-per-task": str(needed.cpus_per_task), "chdir": str(Path.cwd()), **options}
    folder = Path(config.output_dir).expanduser().absolute() / "jobs"
    command = [*program(), "fit", *_absolute(fit_words)]
    command += ["--trainer.devices", str(needed.per_node), "--trainer.num_nodes", str(needed.num_nodes)]
    data_dir = os.environ.get("NNMASS_DATA")
    script = job_script(
        name,
        options,
        folder / "%x_%j.txt",
        command,
        "# A job that comes back goes on with its own run; --ckpt_path last goes on with that of a job that has ended.",
        {"NNMASS_DATA": data_dir} if data_dir else {},
    )
    submit(script, folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}.sh", dry_run)
    return 0


def _require_trainable(config: Any) -> None:
    """Refuse here, and not after hours in a queue, what the job cannot do.

    Raises:
        ValueError: If network or data cannot be made of the configuration.
        FileNotFoundError: If there is no such checkpoint.
    """
    from nnmass.runtime.configuration import instantiate

    instantiate({key: config[key] for key in ("model", "data", "seed_everything")}, "submit fit")
    checkpoint = config.ckpt_path
    if checkpoint not in (None, "last", "best") and not Path(checkpoint).expanduser().is_file():
        raise FileNotFoundError(f"Expected --ckpt_path to be a file, last or best, but got {checkpoint!r}.")


def submit(script: str, path: Path, dry_run: bool) -> None:
    """Write a job file, show it, and hand it to sbatch.

    Args:
        script: Its text.
        path: Where to write it.
        dry_run: Leave it at that.

    Raises:
        FileNotFoundError: If there is no sbatch.
        RuntimeError: If sbatch refuses it; the message is sbatch's own.
    """
    from nnmass.runtime.files import write_atomically

    write_atomically(path, script)
    print(script)
    if dry_run:
        print(f"Written to {path}; sbatch {shlex.quote(str(path))} submits it.")
        return
    if which("sbatch") is None:
        raise FileNotFoundError(f"Expected sbatch on this machine, but there is none; the job file is {path}.")
    done = subprocess.run(["sbatch", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Expected sbatch to take {path}, but it says: {' '.join(done.stderr.split())}")
    print(done.stdout.strip())


def split_arguments(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the options of ``fit`` from those of sbatch.

    Returns:
        The words of each, in their order.

    Raises:
        ValueError: If an option is of neither.

    Example:
        >>> split_arguments(["--config", "a.yaml", "-N", "2", "--trainer.max_epochs=3", "--exclusive"])
        (['--config', 'a.yaml', '--trainer.max_epochs=3'], ['-N', '2', '--exclusive'])
    """
    ours: list[str] = []
    theirs: list[str] = []
    chosen = theirs
    for word in words:
        if word.startswith("-") and not word[1:2].isdigit():
            name = word.lstrip("-").split("=")[0].removesuffix("+").split(".")[0]
            chosen = ours if word.startswith("--") and name in _FIT_OPTIONS else theirs
            misspelt = "-" in name and name.replace("-", "_") in _FIT_OPTIONS
            if chosen is theirs and (misspelt or re.match(r"--[^=]*[._]", word)):  # sbatch has no such options
                near = get_close_matches(name, _FIT_OPTIONS, n=1)
                hint = f"; did you mean --{near[0]}?" if near else "; nnmass fit --help lists those of fit."
                raise ValueError(f"Expected an option of fit or of sbatch, but got {word.split('=')[0]!r}{hint}")
            if word.startswith("--dry-run="):
                raise ValueError(f"Expected --dry-run without a value, but got {word}.")
        chosen.append(word)
    return ours, theirs


def allocation(config: Any, options: dict[str, str | None]) -> Allocation:
    """Compute what a training needs, from its configuration and what sbatch is asked for.

    Args:
        config: Of ``fit``, parsed.
        options: Of sbatch, by their long names.

    Raises:
        ValueError: If the two contradict each other.
    """
    from nnmass.runtime.processes import number_of_devices

    if "ntasks" in options:
        raise ValueError(f"Expected --nodes and --ntasks-per-node rather than --ntasks, but got {options['ntasks']}.")
    if "gpus-per-task" in options:  # each process would see its own GPU alone, as number 0
        raise ValueError(f"Expected --gpus-per-node rather than --gpus-per-task, but got {options['gpus-per-task']}.")
    gpus, trainer = _gpus_per_node(options), config.trainer
    if gpus is not None and trainer.accelerator == "cpu":
        raise ValueError(f"Expected no GPUs for trainer.accelerator cpu, but got {gpus} of each node.")
    if gpus is None and trainer.accelerator in ("gpu", "cuda"):
        raise ValueError(f"Expected --gpus-per-node for trainer.accelerator {trainer.accelerator}, but got none.")
    devices = None if trainer.devices == "auto" else number_of_devices(trainer.devices)
    per_node = _number("ntasks-per-node", options) or gpus or devices or 1
    for name, number in (("trainer.devices", devices), ("--gpus-per-node", gpus)):
        if number not in (None, per_node):
            hint = f"; --trainer.devices {per_node} says so." if name == "trainer.devices" else "."
            raise ValueError(f"Expected {name} to be the {per_node} tasks of each node, but got {number}{hint}")
    num_nodes = _number("nodes", options) or trainer.num_nodes
    if trainer.num_nodes not in (1, num_nodes):
        raise ValueError(f"Expected trainer.num_nodes to be the {num_nodes} of --nodes, but got {trainer.num_nodes}.")
    workers = (config.data.get("init_args") or {}).get("num_workers", 0)
    return Allocation(num_nodes, per_node, _READING_CORES if workers is None else workers + 1)


def _gpus_per_node(options: dict[str, str | None]) -> int | None:
    """Read the GPUs of each node from ``--gpus-per-node=[TYPE:]NUMBER`` or ``--gres=gpu[:TYPE][:NUMBER]``."""
    for name in ("gpus-per-node", "gres"):
        parts = (options.get(name) or "").split(":")
        if options.get(name) and (name != "gres" or parts[0] == "gpu"):
            if parts[-1].isdigit():
                return int(parts[-1])
            if name == "gres":
                return 1
            raise ValueError(f"Expected --{name} to be a number of GPUs, but got {options[name]}.")
    return None


def _number(name: str, options: dict[str, str | None]) -> int | None:
    if name not in options:
        return None
    value = options[name] or ""
    if not value.isdigit() or int(value) < 1:
        raise ValueError(f"Expected --{name} to be a whole number of at least 1, but got {value or 'nothing'}.")
    return int(value)


def _absolute(words: Sequence[str]) -> list[str]:
    """Replace configurations by their absolute paths: a job may be submitted from another folder."""
    done = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        if before in ("--config", "-c"):
            word = str(Path(word).absolute())
        elif option == "--config" and equals:
            word = f"--config={Path(value).absolute()}"
        done.append(word)
    return done
