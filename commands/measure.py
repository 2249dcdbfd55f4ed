"""measure: training-free measures of networks, side by side, with their spread over seeds."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmass.commands.options.devices import device_name, device_named
from nnmass.commands.options.files import new_file
from nnmass.commands.options.parser import MOST_PROCESSES, Parser, at_least, user_path
from nnmass.commands.options.types import name_list

if TYPE_CHECKING:
    from nnmass.commands.options.measured import MeasuredNetwork

__all__ = ["run"]

_COLUMNS = ("network", "seed", "measure", "value", "reason", "seconds", "setting")


def run(arguments: Sequence[str]) -> int:
    """Measure the networks that are named, and show mean and spread over the seeds.

    Args:
        arguments: ``measure`` and what follows it on the command line.
    """
    options = _parser().parse_args(list(arguments)[1:])
    known = [] if options.output is None else _read(options.output)
    import os

    from rich.progress import track

    from nnmass.commands.options.measured import find_measured
    from nnmass.runtime.quiet import quieten
    from nnmass.runtime.tables import terminal
    from nnmass.studies.measuring import measure_subjects, missing_of
    from nnmass.zoo.measures import find_measures

    quieten()
    names = [one.name for one in find_measures(options.measures)]
    device = str(device_named(options.device))
    if options.data_dir is not None:
        os.environ["NNMASS_DATA"] = str(options.data_dir.absolute())
    chosen = (options.data, options.images, options.seeds, options.data_dir)
    try:
        networks = [find_measured(name, *chosen) for name in dict.fromkeys(options.networks)]
    except FileNotFoundError as error:  # of data, whose messages name the options of a training
        raise FileNotFoundError(str(error).replace("--data.data_dir", "--data-dir")) from error
    subjects = list({subject.key: subject for network in networks for subject in network.subjects}.values())
    rows = {(row["network"], row["seed"], row["setting"]): row for row in known}
    missing = len(list(missing_of(subjects, names, known)))
    if options.output is not None:
        _write(options.output, rows.values())  # a file that cannot be written is known before hours of measuring
    new = measure_subjects(subjects, names, options.workers, known, device)
    try:
        for row in track(new, "Measuring", total=missing, transient=True, disable=not sys.stdout.isatty()):
            rows[row["network"], row["seed"], row["setting"]] = row
            if options.output is not None and "error" not in row:
                _write(options.output, [one for one in rows.values() if "error" not in one])
    except KeyboardInterrupt as stop:
        kept = "" if options.output is None else f"; {options.output} has what was measured, the same command goes on"
        raise KeyboardInterrupt(f"Stopped{kept}.") from stop
    _show(networks, rows, names, options.images)
    if options.output is not None:
        held = f"{len(known):,} pairs of a network and a seed" if len(known) > 1 else "a network with a seed"
        kept = f"it held {held} before" if known else "all measured now"
        terminal().print(f"Written to {options.output}; {kept}.", highlight=False)
    failed = [rows[subject.key] for subject in subjects if "error" in rows[subject.key]]
    for row in failed:
        print(f"{row['network']}, seed {row['seed']}: {row['error']}", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> Parser:
    parser = Parser(
        "nnmass measure",
        "Compare training-free measures of networks at initialisation, with mean and spread over seeds.",
        [
            "nnmass measure resnet18_cifar dense_31_w1_small --data CIFAR10 --measures synflow,naswot",
            "nnmass measure timm/convnext_tiny resnet50 --data noise --measures params,synflow --images 16",
            "nnmass measure cifar10_dense.yaml --seeds 5 --workers 4 --output measures.csv",
        ],
    )
    parser.add_argument(
        "networks",
        nargs="+",
        metavar="NETWORK",
        help="name in the zoo, timm or torchvision, a configuration, a checkpoint",
    )
    parser.add_argument("--data", help="data set such as CIFAR10, configuration whose data to take, or noise")
    parser.add_argument("--data-dir", type=user_path, help="folder of the data sets")
    parser.add_argument("--measures", type=name_list, default=["all"], help="names with commas between (all)")
    parser.add_argument("--seeds", type=at_least("--seeds", 1, 10_000), default=1, help="seeds per network (1)")
    parser.add_argument("--images", type=at_least("--images", 1, 100_000), default=64, help="images per batch (64)")
    parser.add_argument("--workers", type=at_least("--workers", 1, MOST_PROCESSES), default=1, help="processes (1)")
    parser.add_argument(
        "--output",
        type=new_file("--output", ".csv", ".json"),
        help="file to keep the values in, .csv or .json: what it holds is not measured again",
    )
    parser.add_argument("--device", type=device_name, default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    return parser


def _show(
    networks: "Sequence[MeasuredNetwork]", rows: Mapping[Any, Mapping[str, Any]], names: Sequence[str], images: int
) -> None:
    """Print a line for each network and measure, and what there is to say of them."""
    from nnmass.runtime.tables import not_measured, print_rows, terminal

    console = terminal()
    headings = ["network", "measure", "mean", "spread over seeds", "seeds", "seconds", "images of"]
    lines: list[tuple[object, ...]] = []
    unmeasured: dict[tuple[str, str], dict[str, None]] = {}  # the measures of each network and reason, each once
    notes: dict[str, None] = {}
    for network in networks:
        measured = [rows[subject.key].get("measured", {}) for subject in network.subjects]
        for name in names:
            found = [one[name] for one in measured if name in one]
            values = [one["value"] for one in found if one["value"] is not None]
            seconds = f"{sum(one['seconds'] for one in found) / len(found):.3f}" if found else ""
            lines.append((network.name, name, *_mean_and_spread(values), len(values), seconds, network.data))
            for one in found:
                if one["reason"] is not None:
                    unmeasured.setdefault((network.name, one["reason"]), {})[name] = None
        if network.is_trained:
            notes[f"{network.name}: its weights are fixed; the seeds draw the images and probes alone."] = None
    print_rows(console, f"Measures, {images} image{'s' * (images > 1)} per seed", headings, lines)
    if any(network.data == "noise" for network in networks):
        notes["noise: independent standard normal numbers of the network's input size, without labels."] = None
    for note in (*(f"{one}: {not_measured(found, why)}" for (one, why), found in unmeasured.items()), *notes):
        console.print(note, highlight=False, markup=False)


def _mean_and_spread(values: Sequence[float]) -> tuple[str, str]:
    """Write the mean and the standard deviation over the seeds."""
    from statistics import fmean, stdev

    from nnmass.runtime.tables import as_measured

    if not values:
        return "not measured", ""
    return as_measured(fmean(values)), f"{stdev(values):.3g}" if len(values) > 1 else ""


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a line for each network, seed and measure."""
    import pandas as pd

    from nnmass.runtime.csv_text import csv_text
    from nnmass.runtime.files import write_atomically

    lines = [
        {"network": row["network"], "seed": row["seed"], "measure": name, **one, "setting": row["setting"]}
        for row in rows
        for name, one in row["measured"].items()
    ]
    if file.suffix == ".json":
        write_atomically(file, json.dumps(lines, indent=2) + "\n")
    else:
        write_atomically(file, csv_text(pd.DataFrame(lines, columns=list(_COLUMNS))))


def _read(file: Path) -> list[dict[str, Any]]:
    """Read what an earlier call has written.

    Raises:
        ValueError: If the file holds something else.
    """
    import pandas as pd

    if file.is_dir():
        raise ValueError(f"Expected the name of a file to write, but {file} is a folder.")
    if not file.exists():
        return []
    try:
        if file.suffix == ".json":
            lines = json.loads(file.read_text(encoding="utf-8"))
        else:  # as text, which keeps every digit
            lines = pd.read_csv(file, dtype=str, keep_default_na=False).to_dict("records")
        return _rows(lines)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"Expected --output to be new or written by nnmass measure, but {file} is not.") from error


def _rows(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Gather the lines of each network and seed."""
    rows: dict[tuple[str, int, str], dict[str, Any]] = {}
    for line in lines:
        key = (line["network"], int(line["seed"]), line["setting"])
        row = rows.setdefault(key, {"network": key[0], "seed": key[1], "setting": key[2], "measured": {}})
        value = None if line["value"] in (None, "") else float(line["value"])
        reason = line["reason"] if value is None else None
        row["measured"][line["measure"]] = {"value": value, "reason": reason, "seconds": float(line["seconds"])}
    return list(rows.values())
