"""The command line: one subcommand per task, one sentence per mistake."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from nnmass.commands import SUBCOMMANDS, Subcommand
from nnmass.runtime.launch import require_ranks
from nnmass.runtime.program import program_version
from nnmass.runtime.signals import INTERRUPTED
from nnmass.runtime.streams import indifferent, open_closed_streams

_MISTAKE = 2  # exit status of a command that cannot do what it is told
_READER_GONE = 128 + 13  # exit status after SIGPIPE, as shells have it

HELP = """usage: nnmass SUBCOMMAND [options]

Train networks of known topology, and see NN-Mass beside accuracy.

subcommands:
{subcommands}

examples:
  nnmass fit --config digits_dense.yaml
  nnmass fit --config cifar10_dense.yaml --data.data_dir ~/data --trainer.max_epochs 10
  nnmass fit --config cifar10_dense.yaml --ckpt_path last

nnmass SUBCOMMAND --help lists the options of a subcommand; nnmass --version prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; ``python cli.py`` and ``nnmass`` both come here.

    Args:
        arguments: What follows the program's name; by default ``sys.argv[1:]``.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    open_closed_streams()
    # A training goes on though nobody reads what it prints any more; what others print is their result.
    with indifferent("stderr", *(("stdout",) if arguments[:1] == ["fit"] else ())):
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    """Run a subcommand, and say in one sentence what was wrong."""
    try:
        _look_for_classes_here()
        if not arguments or arguments[0] in ("-h", "--help"):
            lines = (f"  {name:<10}{command.summary}" for name, command in SUBCOMMANDS.items())
            print(HELP.format(subcommands="\n".join(lines)), end="")
            status = 0
        elif arguments == ["--version"]:
            print(f"nnmass {program_version()}")
            status = 0
        else:
            require_ranks()
            status = import_module(_subcommand(arguments[0]).module).run(arguments)
        sys.stdout.flush()  # here, and not when the interpreter ends: nobody may be reading any more
        return status
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    except KeyboardInterrupt as stop:
        return _report(str(stop) or "Stopped.", getattr(stop, "exit_status", INTERRUPTED))
    except Exception as error:
        if os.environ.get("NNMASS_DEBUG") == "1":
            raise
        from nnmass.runtime.messages import sentence

        return _report(sentence(error), getattr(error, "exit_status", _MISTAKE))


def _look_for_classes_here() -> None:
    """Let a configuration name classes of one's own in the current folder, behind everything else.

    Raises:
        FileNotFoundError: If that folder was deleted.
    """
    try:
        here = str(Path.cwd())
    except FileNotFoundError as error:
        raise FileNotFoundError("Expected the current folder to exist, but it was deleted; cd to another.") from error
    if here not in sys.path:
        sys.path.append(here)
    clone = str(Path(__file__).resolve().parent.parent)
    if clone in sys.path and clone != here:  # a project's own datamodules/ comes before a clone's folder of that name
        sys.path.remove(clone)
        sys.path.append(clone)


def _subcommand(name: str) -> Subcommand:
    if name in SUBCOMMANDS:
        return SUBCOMMANDS[name]
    if name.startswith("-"):
        near = get_close_matches(name, ("--help", "--version"), n=1)
        hint = f"did you mean {near[0]}?" if near else f"as in: nnmass fit {name} ..."
        raise ValueError(f"Expected a subcommand first, but got {name!r}; {hint}")
    near = get_close_matches(name, SUBCOMMANDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ValueError(f"Expected a subcommand ({', '.join(SUBCOMMANDS)}), but got {name!r}{hint}")


def _report(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
