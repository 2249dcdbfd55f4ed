"""inspect: topology and size of any networks, side by side, without training."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnmass.commands.options.changes import split_changes
from nnmass.commands.options.devices import device_name, device_named
from nnmass.commands.options.parser import Parser, refuse_unread, user_path

if TYPE_CHECKING:
    from argparse import Namespace

    import pandas as pd
    import torch

    from nnmass.commands.options.named_networks import NamedNetwork
    from nnmass.zoo import Topology, Wiring
    from nnmass.zoo.closed_forms import ClosedForm

__all__ = ["run"]

_CONFIG_HELP = "configuration whose network to show; --model... and --data... change it as in fit"


def run(arguments: Sequence[str]) -> int:
    """Read the networks that are named, and show or write their topology.

    Args:
        arguments: ``inspect`` and what follows it on the command line.
    """
    words, changes = split_changes(arguments[1:])
    options = _parser().parse_args(words)
    if not options.networks and not options.config and not changes:
        raise ValueError("Expected inspect to be given networks or --config, but got neither.")
    if changes:
        _require_read(changes, options)
    if not (options.plot or options.degrees):
        refuse_unread("tables alone", "--plot or --degrees", output_dir=options.output_dir)
    if not options.ldi:
        refuse_unread("no --ldi", "--ldi", device=options.device)
    input_size = _input_size(options.input_size)
    device = device_named(options.device or "auto") if options.ldi else None
    from nnmass.runtime.network_tables import block_rows, network_rows, show

    for file in (options.csv, options.json):
        if file is not None and file.is_dir():
            raise ValueError(f"Expected the name of a file to write, but {file} is a folder.")
    looks_inside = options.per_block or options.ldi or options.degrees or options.plot or options.graph
    closed = None if looks_inside or options.config or changes else _closed_forms(options.networks, input_size)
    if closed is not None:
        show(closed, per_block=False)
        _write(options, network_rows, closed)
        return 0
    networks = _find(options.networks, options.config, changes, weights=options.ldi)
    records = _read(networks, input_size)
    show(records, options.per_block)
    _write(options, block_rows if options.per_block else network_rows, records)
    if device is not None:
        _show_jacobians(networks, records, device)
    if options.graph:
        _show_graphs(records)
    if options.degrees or options.plot:
        _draw(records, options.output_dir or Path("inspected"), options.plot, options.degrees)
    return 0


def _require_read(changes: list[str], options: "Namespace") -> None:
    """Refuse options of model and data that change no network which is shown.

    Raises:
        ValueError: It names one.
    """
    first = changes[0].partition("=")[0]
    if options.networks and not options.config:
        raise ValueError(f"Expected {first} to change a configuration, but got {options.networks[0]} without --config.")
    if any(word.partition("=")[0] == "--model.weights" for word in changes):
        raise ValueError("Expected a checkpoint to be given by itself, as NETWORK, but got --model.weights.")


def _parser() -> Parser:
    parser = Parser(
        "nnmass inspect",
        "Show the topology of networks: names of the zoo, timm or torchvision, checkpoints, configurations.",
        [
            "nnmass inspect resnet50 densenet121 --config cifar10_dense.yaml",
            "nnmass inspect --config cifar10_dense.yaml --model.network.tc '[10, 20, 30]'",
            "nnmass inspect mobilenetv2_a --per-block --csv blocks.csv",
            "nnmass inspect --config cifar10_dense.yaml --plot --degrees --output-dir figures",
        ],
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="name in the zoo or in timm, or a checkpoint")
    parser.add_argument("--config", "-c", action="append", default=[], help=_CONFIG_HELP)
    parser.add_argument("--input-size", help="shape of one input, such as 3,224,224 (default: the network's own)")
    parser.add_argument("--per-block", action="store_true", help="one row per block, and all that was not judged")
    parser.add_argument("--csv", type=user_path, metavar="FILE", help="write the rows as CSV")
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument(
        "--ldi",
        action="store_true",
        help="singular values of every layer's Jacobian",
    )
    parser.add_argument("--device", type=device_name, help="--ldi: auto, cpu, cuda or cuda:N (auto: a GPU, if any)")
    parser.add_argument("--degrees", action="store_true", help="degree distributions against Poisson: table, figure")
    parser.add_argument("--graph", action="store_true", help="clustering and path lengths of the cells' neurons")
    parser.add_argument("--plot", action="store_true", help="draw the cells and their links")
    parser.add_argument("--output-dir", type=user_path, help="--plot, --degrees: folder of figures (inspected)")
    return parser


def _write(options: "Namespace", rows: Callable[..., "pd.DataFrame"], records: Mapping[str, object]) -> None:
    """Write the table to the files that are asked for."""
    from nnmass.runtime.csv_text import csv_text
    from nnmass.runtime.files import write_atomically

    if options.csv or options.json:
        table = rows(records)
    if options.csv:
        write_atomically(options.csv, csv_text(table))
    if options.json:
        write_atomically(options.json, json.dumps(json.loads(table.to_json(orient="records")), indent=2) + "\n")


def _closed_forms(names: list[str], input_size: tuple[int, ...] | None) -> dict[str, "ClosedForm"] | None:
    """Compute the topology of networks of the zoo by closed forms; None if one of them has none."""
    from nnmass.zoo.closed_forms import closed_form
    from nnmass.zoo.networks.variants import VARIANTS

    records: dict[str, ClosedForm] = {}
    for name in names:
        variant = VARIANTS.get(name)
        record = closed_form(variant.builder, variant.arguments, input_size) if variant else None
        if record is None:
            return None
        records[_title(name, records)] = record
    return records


def _title(name: str, taken: Mapping[str, object]) -> str:
    """Give each network a name of its own, also where one is named twice."""
    title, number = name, 1
    while title in taken:
        number += 1
        title = f"{name} ({number})"
    return title


def _input_size(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d*([,x][1-9]\d*)*", text):
        raise ValueError(f"Expected --input-size to be whole numbers with commas, such as 3,224,224, but got {text!r}.")
    return tuple(int(size) for size in re.split("[,x]", text))


def _find(names: list[str], configs: list[str], changes: list[str], weights: bool) -> dict[str, "NamedNetwork"]:
    """Build the networks, by names of their own; the options change every configuration, or are one by themselves."""
    from nnmass.commands.options.named_networks import find_network, network_of_config, network_of_options
    from nnmass.runtime.quiet import quieten

    quieten()
    found = [find_network(name, weights) for name in names]
    if not changes:
        found += map(network_of_config, configs)
    elif configs:
        found += [network_of_options(config, changes) for config in configs]
    else:
        found.append(network_of_options(None, changes))
    networks: dict[str, NamedNetwork] = {}
    for named in found:
        networks[_title(named.name, networks)] = named
    return networks


def _read(networks: dict[str, "NamedNetwork"], input_size: tuple[int, ...] | None) -> dict[str, "Topology"]:
    from rich.progress import track

    from nnmass.zoo import topology

    names = track(networks, "Reading", transient=True, disable=not sys.stdout.isatty())
    return {name: topology(networks[name].network, input_size or networks[name].input_size) for name in names}


def _show_jacobians(
    networks: dict[str, "NamedNetwork"], records: dict[str, "Topology"], device: "torch.device"
) -> None:
    import torch
    from rich.progress import track

    from nnmass.runtime.tables import print_rows, terminal
    from nnmass.zoo import hidden_isometry, hidden_mean, layer_spectra

    console = terminal()
    headings = ["layer", "rows", "columns", "mean", "standard error", "error of"]
    headings += ["std", "smallest", "largest", "mean |s - 1|"]
    for name, named in networks.items():
        inputs = torch.randn(4, *records[name].input_size, generator=torch.Generator().manual_seed(0))
        network = named.network.to(device)
        layers = layer_spectra(network, inputs.to(device), probes=2)
        total = records[name].num_layers
        spectra = list(track(layers, name, total=total, transient=True, disable=not sys.stdout.isatty()))
        network.cpu()  # its memory may be needed for the next one
        rows = []
        for spectrum in spectra:
            row = spectrum.as_dict()
            mean = (f"{row['mean']:.4f}", f"{row['mean_standard_error']:.4f}", row["error_of"])
            others = (f"{row[value]:.4f}" for value in ("std", "min", "max", "isometry"))
            rows.append((row["name"], row["rows"], row["columns"], *mean, *others))
        what = "Jacobians" if named.is_trained else "initial Jacobians"
        print_rows(console, f"{name}: singular values of the {what}", headings, rows)
        if len(spectra) > 2:
            console.print(f"{name}: mean singular value of the hidden layers {hidden_mean(spectra):.4f}")
            console.print(f"{name}: mean |s - 1| of the hidden layers {hidden_isometry(spectra):.4f}")


def _wirings(record: "Topology") -> "list[Wiring]":
    """Return the links of the cells of concatenated units."""
    return [block.wiring for block in record.blocks if block.wiring is not None]


def _show_graphs(records: dict[str, "Topology"]) -> None:
    from rich.progress import track

    from nnmass.runtime.tables import print_rows, terminal
    from nnmass.zoo import graph_statistics

    console = terminal()
    for name, record in records.items():
        wirings = _wirings(record)
        if not wirings:
            console.print(f"{name} holds no concatenation-type skips: there is no graph of neurons.")
            continue
        rows = []
        for wiring in track(wirings, name, transient=True, disable=not sys.stdout.isatty()):
            graph = graph_statistics(wiring)
            values = [graph.clustering, graph.random_clustering, graph.lattice_clustering]
            values += [graph.path_length, graph.random_path_length, graph.lattice_path_length, graph.sigma, graph.omega]
            rows.append((wiring.scope or "network", graph.neurons, *(f"{value:.3f}" for value in values)))
        headings = ["cell", "neurons", "C", "C random", "C lattice", "L", "L random", "L lattice", "sigma", "omega"]
        print_rows(console, f"{name}: clustering C, path length L; a small world has sigma > 1", headings, rows)


def _draw(records: dict[str, "Topology"], folder: Path, plot: bool, degrees: bool) -> None:
    from nnmass.runtime.files import write_figures
    from nnmass.runtime.tables import print_rows, terminal
    from nnmass.zoo import degree_distributions, draw_cells, draw_degrees

    console = terminal()
    for name, record in records.items():
        wirings = _wirings(record)
        if not wirings:
            console.print(f"{name} holds no concatenation-type skips: there is nothing to draw.")
            continue
        file = re.sub(r"[^\w.-]+", "_", name)
        if degrees:
            rows = [
                (
                    distribution.scope or "network",
                    distribution.degree,
                    f"{distribution.mean:.3f}",
                    f"{distribution.dispersion:.3f}",
                    f"{distribution.distance_to_poisson:.3f}",
                )
                for wiring in wirings
                for distribution in degree_distributions(wiring)
            ]
            headings = ["cell", "degree of long-range links", "mean", "variance / mean", "distance to Poisson"]
            print_rows(console, f"{name}: a Poisson distribution has variance / mean 1", headings, rows)
            write_figures(folder / f"{file}_degrees", draw_degrees(wirings))
        if plot:
            write_figures(folder / f"{file}_cells", draw_cells(wirings))
    if any(map(_wirings, records.values())):
        console.print(f"The figures are in {folder}.")
