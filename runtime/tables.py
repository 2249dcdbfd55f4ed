"""Tables for the terminal: the topology of a network, and the results of a run."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = [
    "as_measured",
    "calls",
    "measure_rows",
    "network_title",
    "not_measured",
    "print_rows",
    "results_table",
    "rich_table",
    "terminal",
    "topology_table",
]

_HEADINGS = ("quantity", "value")


def terminal() -> Console:
    """Console for tables; wide enough for them where the output goes to a file or a pipe."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=160 if piped else None)


def topology_table(topology: dict[str, Any]) -> Table:
    """Table of ``nnmass.zoo.Topology.as_dict()``."""
    return rich_table("Topology", _HEADINGS, _topology_rows(topology))


def results_table(
    run: Mapping[str, Any], metrics: Mapping[str, Any], parts: Mapping[str, str | None] = MappingProxyType({})
) -> Table:
    """Accuracy beside topology.

    Args:
        run: The record in the run's ``run.json``; empty where a checkpoint belongs to no run.
        metrics: The newest metrics, by names such as ``test/accuracy``.
        parts: Of ``val`` and ``test``, the part of the samples that the metrics are of; None for all.
    """
    rows = [(name.replace("/", " "), f"{float(value):.4f}") for name, value in metrics.items() if "/" in name]
    if run.get("best_val_accuracy") is not None:
        rows.append(("best val accuracy", f"{run['best_val_accuracy']:.4f}"))
    if run.get("val_part"):
        rows.append(("best val accuracy of", run["val_part"]))
    rows += [(f"{stage} figures of", part) for stage, part in parts.items() if part]
    if run:
        rows += [("epochs", str(run.get("epochs", 0))), ("wall time (s)", f"{run.get('wall_time_s', 0):.1f}")]
    rows += [("weights from", run["weights"]["source"])] if run.get("weights") else []
    rows += [("extends", run["parent"])] if run.get("parent") else []
    title = f"{network_title(run)} on {run.get('data')}" if run else "Results"
    rows += _topology_rows(run.get("topology", {}))
    return rich_table(title, _HEADINGS, rows + measure_rows(run.get("measures", {})))


def network_title(run: Mapping[str, Any]) -> str:
    """Title for the network of a run: its class, and the name that it is known by.

    Args:
        run: The record in the run's ``run.json``; runs of older versions have no names.

    Example:
        >>> network_title({"network": "ConvNeXt", "network_name": "timm/convnext_tiny"})
        'ConvNeXt timm/convnext_tiny'
    """
    return " ".join(str(run[key]) for key in ("network", "network_name") if run.get(key))


def _topology_rows(topology: dict[str, Any]) -> list[tuple[str, str]]:
    if not topology:
        return []
    rows = [("NN-Mass", f"{topology['nn_mass']:.3f}"), ("NN-density", f"{topology['nn_density']:.3f}")]
    densities = topology["cell_densities"]
    if 0 < len(densities) <= 4:
        rows.append(("cell densities", ", ".join(f"{density:.3f}" for density in densities)))
    else:
        rows.append(("cells with skips", str(topology["num_cells"])))
    if topology["average_degree"] is not None:
        rows.append(("average degree", f"{topology['average_degree']:.3f}"))
    if topology["not_judged"]:
        rows.append(("joints not judged", str(len(topology["not_judged"]))))
    uncounted = topology.get("uncounted")  # runs of older versions do not have it
    return [
        *rows,
        ("parameters", f"{topology['num_params']:,}"),
        ("MACs", f"{topology['macs']:,}"),
        *([("not in the MACs", calls(uncounted))] if uncounted else []),
        ("input (px)", " x ".join(map(str, topology["input_size"]))),
        *(("note", note) for note in topology.get("notes", ())),
    ]


def measure_rows(measures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write the measures of a network as rows of a table, those without a value too.

    Args:
        measures: The entry ``measures`` in a run's ``run.json``; empty where nothing was measured.
    """
    values = [(name, as_measured(value)) for name, value in measures.get("values", {}).items()]
    return values + [(name, "not measured") for name in measures.get("not_measured", {})]


def as_measured(value: float) -> str:
    """Write the value of a measure: whole numbers with all of their digits, others with six.

    Example:
        >>> as_measured(11689512.0), as_measured(-3.14159265)
        ('11,689,512', '-3.14159')
    """
    return f"{value:,.0f}" if value == int(value) and abs(value) < 10**15 else f"{value:.6g}"


def not_measured(names: Iterable[str], reason: str) -> str:
    """Write which measures have no value for a reason.

    Example:
        >>> not_measured(["snip", "zico"], "Expected a batch with labels, but got none.")
        'snip, zico are not measured: Expected a batch with labels, but got none.'
    """
    names = list(names)
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not measured: {reason}"


def calls(operators: Mapping[str, int]) -> str:
    """Operators and how often each ran, in words.

    Example:
        >>> calls({"aten::fft_rfft2": 3, "aten::cdist": 1})
        '3 x aten::fft_rfft2, 1 x aten::cdist'
    """
    return ", ".join(f"{times} x {operator}" for operator, times in operators.items())


def print_rows(console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; where the terminal is too narrow for its columns, each row as lines of its own instead.

    Args:
        console: Where to.
        title: Above the table.
        headings: One per column.
        rows: Their entries, as they are to be printed.
    """
    rows = [list(map(str, row)) for row in rows]
    table = rich_table(title, headings, rows)
    if _folds(console, table):
        table = Table(title=title, title_justify="left", show_header=False, show_lines=True)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for row in rows:
            named = [(heading, entry) for heading, entry in zip(headings, row, strict=True) if entry]
            table.add_row(*("\n".join(part) for part in zip(*named, strict=True)))
    console.print(table)


def _folds(console: Console, table: Table) -> bool:
    """Return whether a word would not fit into its column."""
    words = (" ".join(map(str, [column.header, *column.cells])).split() for column in table.columns)
    longest = sum(max(map(len, column), default=0) for column in words)
    return longest + 3 * len(table.columns) + 1 > console.width


def rich_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose first column is text and whose others are numbers, aligned to the right.

    Args:
        title: Above the table.
        headings: One per column.
        rows: Their entries, as they are to be printed.
    """
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    return table
