"""study plan: the rows of a study and what they will cost, before anything is trained."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from nnmass.commands.options.parser import Actions
from nnmass.commands.study.opened import OpenedStudy, add_data_dir, add_study, open_one
from nnmass.commands.study.soundness import require_sound

__all__ = ["add_to"]


def add_to(actions: Actions) -> None:
    """Add the action ``plan``."""
    examples = ["nnmass study plan digits_mlp", "nnmass study plan mnist_mlp --data-dir ~/data --time"]
    parser = actions.add("plan", "show the rows and what they cost", _plan, examples)
    add_study(parser)
    add_data_dir(parser)
    parser.add_argument("--time", action="store_true", help="take a few steps of each network, to tell its time")


def _plan(options: Namespace) -> None:
    from rich.progress import track

    from nnmass.runtime.quiet import quieten
    from nnmass.runtime.tables import terminal
    from nnmass.studies.plan import planned

    opened = open_one(options)
    quieten()
    require_sound(opened)
    study, _, rows, _ = opened
    console = terminal()
    total = len({(row.config, row.network) for row in rows})
    costs = planned(study, rows, options.time)
    lines = list(track(costs, "Measuring", total=total, console=console, transient=True))
    _print_table(opened, lines, options.time)
    console.print(f"{len(rows)} rows, {study.engine}: nnmass study run fills them.", highlight=False)
    seconds = sum(line["seeds"] * line.get("seconds", 0.0) for line in lines)
    if seconds:
        steps = f"About {_duration(seconds)} of training steps on this machine, one row at a time"
        console.print(f"{steps}; starting, evaluating and measuring come on top.", highlight=False)
    for data, samples in dict.fromkeys(line["published"] for line in lines if "published" in line):
        console.print(f"{data} is taken as it is published: {samples:,} samples to train on.", highlight=False)
    for reason in dict.fromkeys(line["reason"] for line in lines if "reason" in line):
        unknown = "training MACs and time are" if options.time else "training MACs are"
        console.print(f"The {unknown} not known: {reason}", highlight=False, markup=False)
    if not options.time and study.engine != "published":
        console.print("--time adds how long each takes on this machine, by a few of its steps.", highlight=False)


def _print_table(opened: OpenedStudy, lines: Sequence[dict[str, Any]], timed: bool) -> None:
    """Print topology, size and cost, a line for each network of each configuration."""
    from nnmass.runtime.tables import print_rows, terminal

    several = len({line["config"] for line in lines}) > 1
    headings = [
        "network",
        *(["config"] if several else []),
        "seeds",
        "NN-Mass",
        "parameters",
        "MACs",
        "training MACs",
        *(["time each"] if timed else []),
    ]
    shown = [
        (
            line["network"],
            *([line["config"]] if several else []),
            line["seeds"],
            f"{line['nn_mass']:,.2f}",
            f"{line['num_params']:,}",
            f"{line['macs']:,}",
            f"{line['training_macs']:.2e}" if "training_macs" in line else "",
            *([_duration(line["seconds"]) if "seconds" in line else ""] if timed else []),
        )
        for line in lines
    ]
    print_rows(terminal(), f"Study {opened.study.name}", headings, shown)


def _duration(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
