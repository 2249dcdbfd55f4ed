"""design: configurations of networks that the NN-Mass rules choose, without building or training any."""

import shlex
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmass.commands.options.design_options import FAMILIES, GRIDS, design_parser, option_name, require_budget
from nnmass.commands.options.devices import device_named
from nnmass.commands.options.parser import refuse_unread
from nnmass.commands.options.types import grid

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from nnmass.commands.options.design_measures import DesignMeasures
    from nnmass.commands.options.design_reference import Reference
    from nnmass.zoo import Design, Shape
    from nnmass.zoo.design.latency import Latency

__all__ = ["run"]

_LETTERS = {"cell_depth": "d", "depth": "d", "width_multiplier": "w", "width": "w", "tc": "t", "repeats": "r"}
_HEADINGS = {"cell_depth": "d_c", "depth": "d", "width_multiplier": "w_m", "width": "w", "tc": "t_c"}
_MOST_MEASURED = 100

Rows = Sequence[tuple["Design", "Latency | None"]]


def run(arguments: Sequence[str]) -> int:
    """Search a grid, show the best networks beside the reference, and write a configuration for each.

    Args:
        arguments: ``design`` and what follows it on the command line.
    """
    options = design_parser().parse_args(list(arguments)[1:])
    from nnmass.commands.options.design_measures import prepared_measures
    from nnmass.commands.options.design_reference import find_reference, start_of
    from nnmass.commands.options.design_study import write_study
    from nnmass.runtime.quiet import quieten
    from nnmass.runtime.tables import terminal

    if not options.max_latency:
        refuse_unread("no --max-latency", "--max-latency", batch=options.batch, device=options.device)
    if not options.measures:
        refuse_unread("no --measures", "--measures", data=options.data, images=options.images)
    options.batch, options.device = options.batch or 1, options.device or "cpu"
    if options.max_latency and options.rule in ("pareto-front", "d-optimal"):
        raise ValueError(f"Expected --max-latency with the rule highest-mass or fewest-params, but got {options.rule}.")
    require_budget(options)
    quieten()
    console = terminal()
    reference = find_reference(options.like) if options.like else start_of(options.family or FAMILIES[0])
    folder = _folder(options.output_dir, reference.name)
    measures = prepared_measures(options, reference)
    shapes = _shapes(options, reference)
    has_budget = reference.is_given and options.rule != "d-optimal"
    options.max_params = options.max_params or (reference.design.num_params if has_budget else inf)
    options.max_macs = options.max_macs or (reference.design.macs if has_budget else inf)
    with console.status("Searching") as status:
        designs, sentence = _search(options, reference, shapes, status)
    if not designs:
        raise ValueError(_nothing(options, reference, shapes))
    rows: Rows = [(design, None) for design in designs]
    if options.max_latency:
        rows = _within_latency(options, reference, designs, console)
    shown = rows if len(rows) <= options.count else [rows[i] for i in _spread(len(rows), options.count)]
    if measures.names:
        measures.measure({_name(design): design for design, _ in shown}, console)
    _report(options, reference, rows, shown, measures, folder, console)
    for note in (sentence, *measures.notes()):
        console.print(note, markup=False)
    if len(shown) < len(rows):
        told = f"{len(shown)} of the {len(rows):,} are shown, and have a configuration (--count); designs.csv has all."
        console.print(told, highlight=False)
    if options.rule == "d-optimal":
        command = f"study run {shlex.quote(str(write_study(reference, designs, folder)))}"
    else:
        heaviest = max((design for design, _ in shown), key=lambda design: design.nn_mass)
        chosen = heaviest if options.rule == "pareto-front" else shown[0][0]
        command = f"fit --config {shlex.quote(str(folder / _file(reference.name, chosen)))}"
    console.print(f"Written to {folder}. Train {'all' if options.rule == 'd-optimal' else 'one'}:", highlight=False)
    console.print(f"nnmass {command}", highlight=False, soft_wrap=True)
    return 0


def _budget(options: Namespace) -> str:
    """Write what limits the search, in words."""
    limits = ((options.max_params, "parameters"), (options.max_macs, "MACs"))
    return " and ".join(f"{limit:,.0f} {word}" for limit, word in limits if limit < inf)


def _folder(given: Path | None, name: str) -> Path:
    """Choose a folder of this search's own, so that no earlier result is written over.

    Raises:
        ValueError: If the one asked for holds something.
    """
    if given is None:
        return Path("designs") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    if given.exists() and (not given.is_dir() or any(given.iterdir())):
        raise ValueError(f"Expected --output-dir to be a new or empty folder, but {given} holds something.")
    return given


def _shapes(options: Namespace, reference: "Reference") -> "list[Shape]":
    """Make the grid of the reference's family, as asked for.

    Raises:
        ValueError: If an option belongs to another family.
    """
    grids = reference.family.grids
    for name in GRIDS:
        if getattr(options, name) is not None and name not in grids:
            family, known = type(reference.network).__name__, ", ".join(map(option_name, grids))
            raise ValueError(f"Expected of the grids of a {family} ({known}), but got {option_name(name)}.")
    chosen = {
        name: getattr(options, name) or (grid(option_name(name))(text) if text else [reference.design.arguments[name]])
        for name, text in grids.items()
    }
    return reference.family.make(reference, chosen)


def _search(
    options: Namespace, reference: "Reference", shapes: "list[Shape]", status: "Status"
) -> "tuple[list[Design], str]":
    """Return the networks that the rule chooses, the best first, and what is proved about them."""
    from nnmass.commands.options.design_study import told_apart
    from nnmass.zoo import d_optimal, fewest_params, highest_mass, pareto_front

    many = f"Of {sum(shape.networks for shape in shapes):,} networks"
    budget = (options.max_params, options.max_macs)
    # What is too slow is struck out later: then every shape is a candidate.
    count = len(shapes) if options.max_latency else options.count
    least = options.min_mass or 0.0
    if options.rule == "pareto-front":

        def report(done: int, length: int) -> None:
            status.update(f"Searching: {done} of {len(shapes)} depths and widths, {length:,} networks on the front")

        front = [design for design in pareto_front(shapes, *budget, report) if design.nn_mass >= least]
        return front, f"{many} these {len(front):,} are the front: no other has more mass, fewer parameters and MACs."
    if options.rule == "d-optimal":
        choice = d_optimal(shapes, options.count, *budget, least)
        return choice.designs, f"{many}{told_apart(choice)}"
    if options.rule == "fewest-params":
        options.min_mass = options.min_mass or reference.design.nn_mass
        answer = fewest_params(shapes, options.min_mass, *budget, count)
        return (
            answer.designs,
            f"{many} none with that mass and those MACs has fewer than {answer.bound:,.0f} parameters.",
        )
    answer = highest_mass(shapes, *budget, count)
    heavy = [design for design in answer.designs if design.nn_mass >= least]
    return heavy, f"{many} none within these parameters and MACs has an NN-Mass above {answer.bound:,.3f}."


def _nothing(options: Namespace, reference: "Reference", shapes: "list[Shape]") -> str:
    """Say why no network is good enough, and what comes nearest."""
    from nnmass.zoo import fewest_params, highest_mass

    heaviest = highest_mass(shapes, options.max_params, options.max_macs, 1).designs
    if heaviest:
        nearest = f"the highest within the budget is {heaviest[0].nn_mass:.3f}, of {_words(heaviest[0])}"
        return f"Expected --min-mass to be in reach, but got {options.min_mass:g}; {nearest}."
    smallest = fewest_params(shapes, 0.0, count=1).designs[0]
    return (
        f"Expected a budget that a network of the grid fits into, but the smallest, {_words(smallest)}, has "
        f"{smallest.num_params:,} parameters and {smallest.macs:,} MACs, and the budget is {_budget(options)}."
    )


def _words(design: "Design") -> str:
    return ", ".join(f"{name} {value}" for name, value in design.arguments.items())


def _within_latency(
    options: Namespace, reference: "Reference", designs: "list[Design]", console: "Console"
) -> "list[tuple[Design, Latency]]":
    """Return the first designs that are fast enough, as measured.

    Raises:
        ValueError: If there is no such device, or none is fast enough; it names the fastest.
    """
    from rich.progress import track

    from nnmass.zoo.design.latency import measure_latency

    device = device_named(options.device)
    rows: list[tuple[Design, Latency]] = []
    enough = 0
    for design in track(designs[:_MOST_MEASURED], "Timing", console=console, transient=True):
        network = reference.build(design).to(device)
        latency = measure_latency(network, reference.input_size, options.batch)
        rows.append((design, latency))
        enough += latency.median <= options.max_latency
        if enough == options.count:
            break
    fast = [(design, latency) for design, latency in rows if latency.median <= options.max_latency]
    if not fast:
        best, latency = min(rows, key=lambda row: row[1].median)
        raise ValueError(
            f"Expected --max-latency to be in reach, but got {1000 * options.max_latency:g} ms; the fastest of the "
            f"{len(rows)} that were timed, {_words(best)}, takes {1000 * latency.median:.2f} ms."
        )
    return fast


def _spread(length: int, count: int) -> list[int]:
    """Choose ``count`` indices of a list, evenly, first and last among them."""
    return sorted({round(number * (length - 1) / max(count - 1, 1)) for number in range(count)})


def _name(design: "Design") -> str:
    parts = []
    for name, value in design.arguments.items():
        values = value if isinstance(value, list) else [value]
        parts.append(_LETTERS[name] + "_".join(f"{one:g}".replace(".", "p") for one in values))
    return "_".join(parts)


def _file(like: str, design: "Design") -> str:
    return f"{like}_{_name(design)}.yaml"


def _report(
    options: Namespace,
    reference: "Reference",
    rows: Rows,
    shown: Rows,
    measures: "DesignMeasures",
    folder: Path,
    console: "Console",
) -> None:
    """Print the table, and write the files and the configurations of what is shown."""
    from nnmass.runtime.files import write_atomically, write_figures, write_table
    from nnmass.runtime.strict_yaml import yaml_text
    from nnmass.runtime.tables import print_rows
    from nnmass.studies.report.designs import designs_table, draw_designs

    measured = measures.columns([_name(design) for design, _ in rows])
    write_table(folder / "designs.csv", designs_table(rows).assign(**measured))
    given = [reference.design] if reference.is_given else []
    write_figures(folder / "designs", draw_designs(reference.name, given, rows))
    for design, _ in shown:
        mass, params, macs = _mass_and_size(design)
        heading = f"# As {reference.name}; NN-Mass {mass}, {params} parameters, {macs} MACs.\n"
        text = yaml_text(reference.configuration(design))
        write_atomically(folder / _file(reference.name, design), heading + text)
    names = list(reference.family.grids)
    headings = ["network", *(_HEADINGS.get(name, name) for name in names), "NN-Mass", "parameters", "MACs"]
    timed = [f"latency at batch {options.batch} (ms, ± interquartile range)"] if options.max_latency else []
    lines = [
        [
            name,
            *(_cell(design.arguments[key]) for key in names),
            *_mass_and_size(design),
            *([_time(latency)] if timed else []),
            *measures.cells(name),
        ]
        for name, design, latency in [
            *((reference.name, design, None) for design in given),
            *((_name(design), design, latency) for design, latency in shown),
        ]
    ]
    mass = f", NN-Mass at least {options.min_mass:g}" if options.min_mass else ""
    budget = f"within {_budget(options)}" if _budget(options) else "without a budget"
    print_rows(console, f"{options.rule}: {budget}{mass}", [*headings, *timed, *measures.names], lines)


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value:g}"


def _time(latency: "Latency | None") -> str:
    return f"{1000 * latency.median:.2f} ± {1000 * latency.spread:.2f}" if latency else ""


def _mass_and_size(design: "Design") -> tuple[str, str, str]:
    return f"{design.nn_mass:,.3f}", f"{design.num_params:,}", f"{design.macs:,}"
