"""study benchmark: how well measures rank networks whose accuracy is known; nothing is trained."""

from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from nnmass.commands.options.parser import MOST_PROCESSES, Actions, at_least, user_path
from nnmass.commands.options.types import amount, name_list
from nnmass.commands.study.opened import open_study

if TYPE_CHECKING:
    from nnmass.studies.benchmark.images import Images
    from nnmass.studies.benchmark.known import KnownNetwork

__all__ = ["add_to"]

_NAMED = (
    "timm",
    "torchvision",
    "pytorchcv-imagenet",
    "pytorchcv-cifar10",
    "pytorchcv-cifar100",
    "pytorchcv-svhn",
    "nas-bench-201",
)


def add_to(actions: Actions) -> None:
    """Add the action ``benchmark``."""
    examples = [
        "nnmass study benchmark torchvision --max-macs 1G --size 96",
        "nnmass study benchmark nas-bench-201 pytorchcv-cifar10 --images data/cifar10/train --output-dir measured",
        "nnmass study benchmark runs/study_mnist_mlp/results.csv --seeds 5",
    ]
    parser = actions.add("benchmark", "hold measures against known accuracies, without training", _run, examples)
    parser.add_argument(
        "benchmarks",
        nargs="+",
        type=_benchmark,
        metavar="BENCHMARK",
        help=f"{', '.join(_NAMED)}; a study's results.csv",
    )
    parser.add_argument("--accuracies", type=user_path, help="CSV with columns model and top1, for timm")
    parser.add_argument("--measures", type=name_list, default=["all"], help="names with commas between (all)")
    parser.add_argument(
        "--networks", type=at_least("--networks", 3), default=100, help="of each benchmark at most (100)"
    )
    parser.add_argument("--max-macs", type=amount("--max-macs"), help="of a network at its own image size")
    parser.add_argument("--size", type=at_least("--size", 1), help="side of images in px, at most (each network's own)")
    parser.add_argument(
        "--images", type=user_path, nargs="+", default=[], help="folders that hold a folder of images per class (noise)"
    )
    parser.add_argument("--batch-size", type=at_least("--batch-size", 2), default=16, help="images (16)")
    parser.add_argument("--seeds", type=at_least("--seeds", 1), default=1, help="initialisations of each network (1)")
    parser.add_argument("--output-dir", type=user_path, default=Path("benchmark"), help="folder (benchmark)")
    parser.add_argument(
        "--workers", type=at_least("--workers", 1, MOST_PROCESSES), help="processes (default: one per core)"
    )


def _benchmark(text: str) -> str:
    from difflib import get_close_matches

    if text in _NAMED or text.endswith(".csv"):
        return text
    near = get_close_matches(text, _NAMED, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    known = f"one of {', '.join(_NAMED)}, or a study's results.csv"
    raise ArgumentTypeError(f"Expected BENCHMARK to be {known}, but got {text!r}{hint}")


def _run(options: Namespace) -> None:
    from nnmass.runtime.quiet import quieten
    from nnmass.runtime.tables import terminal
    from nnmass.studies.benchmark.report import write_benchmark
    from nnmass.studies.benchmark.sample import measured_table
    from nnmass.zoo.measures import find_measures

    quieten()
    names = list(dict.fromkeys(["params", *(one.name for one in find_measures(options.measures))]))
    for folder in options.images:
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected --images to be folders, but {folder} is none.")
    chosen = _chosen(options)
    rows = _measured(chosen, names, options)
    table, untold = measured_table([network for network, _ in chosen], rows, names)
    if table.empty:
        raise RuntimeError(f"Expected some of {len(chosen)} networks to be measured, but none could be; see above.")
    console = terminal()
    for one in write_benchmark(table, untold, names, options.output_dir):
        console.print(one)
    console.print(f"{len(table)} of {len(chosen)} networks; written to {options.output_dir}.", highlight=False)


def _chosen(options: Namespace) -> "list[tuple[KnownNetwork, Images]]":
    """Choose the networks of all benchmarks within the budget, each with what makes its images."""
    from rich.progress import Progress

    from nnmass.runtime.tables import terminal
    from nnmass.studies.benchmark.macs import KeptMacs
    from nnmass.studies.benchmark.sample import resized, sampled

    console = terminal()
    count = KeptMacs(options.output_dir / "macs.json")
    chosen = []
    for networks, images in (pair for name in options.benchmarks for pair in _listed(name, options)):
        name = networks[0].benchmark
        console.print(f"{name}: measured at {images}.", highlight=False, markup=False)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"Choosing of {name}", total=min(options.networks, len(networks)))
            for network, reason, is_broken in sampled(networks, options.networks, options.max_macs, count=count):
                if reason is None:
                    chosen.append((resized(network, options.size), images))
                    progress.advance(task)
                elif is_broken:
                    left_out = f"{name}/{network.name} is left out: {reason}"
                    console.print(left_out, highlight=False, markup=False)
    if not chosen:
        raise ValueError("Expected --max-macs to leave some networks, but it leaves none.")
    return chosen


def _listed(name: str, options: Namespace) -> "list[tuple[list[KnownNetwork], Images]]":
    """List the networks that a word on the command line means."""
    from nnmass.studies.benchmark.images import images_of
    from nnmass.studies.benchmark.sources import BENCHMARKS, timm_networks

    if name.endswith(".csv"):
        return _of_study(user_path(name), options)
    if name == "timm" and (options.accuracies is None or not options.accuracies.is_file()):
        raise ValueError(f"Expected --accuracies to be a file with timm's accuracies, but got {options.accuracies}.")
    networks = timm_networks(options.accuracies) if name == "timm" else BENCHMARKS[name]()
    return [(networks, images_of(options.images, options.batch_size, networks[0].num_classes))]


def _of_study(file: Path, options: Namespace) -> "list[tuple[list[KnownNetwork], Images]]":
    from nnmass.runtime.files import read_table
    from nnmass.studies.benchmark.study_networks import study_networks

    if not file.is_file():
        raise FileNotFoundError(f"Expected a study's results.csv, but {file} does not exist.")
    results = read_table(file, ["test_accuracy_last"])
    names: list[str] = results["study"].dropna().unique().tolist() if "study" in results else []
    if len(names) != 1:
        raise ValueError(f"Expected {file} to hold the results of one study, but it names {len(names)}.")
    opened = open_study(names[0])
    return study_networks(opened.rows, results, options.batch_size, opened.study.report.colour)


def _measured(chosen: "list[tuple[KnownNetwork, Images]]", names: list[str], options: Namespace) -> list[dict]:
    """Measure what was not measured before, and return the rows of all chosen networks."""
    from rich.progress import track

    from nnmass.runtime.tables import terminal
    from nnmass.studies.benchmark.sample import subject_of
    from nnmass.studies.cores import available_cores
    from nnmass.studies.measuring import missing_of, read_rows, update_rows

    file = options.output_dir / "measured.jsonl"
    subjects = [subject_of(network, seed, images) for network, images in chosen for seed in range(options.seeds)]
    missing = sum(1 for _ in missing_of(subjects, names, read_rows(file)))
    console = terminal()
    workers = options.workers or available_cores()
    new = update_rows(file, subjects, names, workers)
    for row in track(new, "Measuring", total=missing, console=console, disable=not missing):
        if "error" in row:
            console.print(f"{row['network']} is left out: {row['error']}", highlight=False, markup=False)
    wanted = {subject.key for subject in subjects}
    return [row for row in read_rows(file) if (row["network"], row["seed"], row["setting"]) in wanted]
