"""check: the fast passes of cells and MLPs against their plain modules, on the user's own machine."""

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from nnmass.commands.options.devices import device_name, device_named
from nnmass.commands.options.parser import Parser

if TYPE_CHECKING:
    import torch

    from nnmass.zoo import Agreement

__all__ = ["run"]

_OFF = "--model.network.share_outputs false"
_HEADINGS = ("check", "buffers", "outputs", "weights", "inputs", "fast (ms)", "plain (ms)", "verdict")
_SWEEPS = (
    "In the rows of sweeps, store and normalise make the buffers, gather makes the outputs, scatter the gradients of "
    "weights, batch_norm_backward those of inputs."
)


def run(arguments: Sequence[str]) -> int:
    """Check the fast passes here, and return 1 if anything is wrong.

    Args:
        arguments: ``check`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass check",
        "Hold the fast passes of random-skip cells and MLPs against their plain modules in double precision, here:\n"
        "outputs, gradients and running statistics, in several precisions, sizes and surroundings, with times.",
        ["nnmass check", "nnmass check --device cuda:1"],
    )
    parser.add_argument("--device", type=device_name, default="auto", help="auto, cpu, cuda or cuda:N (a GPU, if any)")
    name = parser.parse_args(list(arguments)[1:]).device
    from nnmass.runtime.quiet import quieten

    quieten()
    device = device_named(name)
    from rich.progress import track

    from nnmass.runtime.tables import print_rows, terminal
    from nnmass.zoo import check_fast_passes
    from nnmass.zoo.agreement.cases import cases_on

    console = terminal()
    console.print(_machine(device), highlight=False)
    checks = track(
        check_fast_passes(device),
        "Checking",
        total=len(cases_on(device)),
        console=console,
        transient=True,
        disable=not sys.stdout.isatty(),
    )
    rows = list(checks)
    for section, part in groupby(rows, lambda row: row.section):
        print_rows(console, f"{section}: errors as shares of what rounding explains", _HEADINGS, map(_entries, part))
    console.print(_SWEEPS, highlight=False)
    for row in rows:
        if row.sentence:
            console.print(f"{row.title}, {row.section}: {row.sentence}.", highlight=False)
    console.print(_verdict(rows), highlight=False)
    return int(any(row.is_wrong for row in rows))


def _machine(device: "torch.device") -> str:
    """Describe the versions and the device with which the check runs."""
    import torch

    from nnmass.runtime.device_facts import device_facts

    facts = device_facts(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"torch {torch.__version__}, {facts['device']}, {threads} thread{'s' if threads > 1 else ''}"
    versions = ", ".join(f"{name} {facts[name] or 'unknown'}" for name in ("driver", "cuda", "cudnn"))
    return f"torch {torch.__version__}, {facts['device']}, {versions}"


def _entries(row: "Agreement") -> list[str]:
    from nnmass.zoo.agreement.errors import KINDS

    shares = [f"{row.errors[kind].share:.2g}" if kind in row.errors else "" for kind in KINDS]
    times = ["" if seconds is None else f"{1000 * seconds:.3g}" for seconds in (row.fast, row.plain)]
    return [row.title, *shares, *times, row.verdict]


def _verdict(rows: Sequence["Agreement"]) -> str:
    counts: Counter[str] = Counter(row.verdict for row in rows)
    others = [
        f"{counts[verdict]} {words}"
        for verdict, words in (
            ("agrees", "agree"),
            ("modules run", "have no fast pass here"),
            ("needs a GPU", "need a GPU"),
            ("not checked", "could not be checked"),
        )
        if counts[verdict]
    ]
    wrong = sum(row.is_wrong for row in rows)
    if wrong:
        return f"WRONG: {', '.join([f'{wrong} differ or fail', *others])}. Train with {_OFF} on this machine."
    return f"Right: {', '.join(others)}."
