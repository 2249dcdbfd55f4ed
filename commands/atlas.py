"""atlas: NN-Mass of every architecture of timm, beside the accuracy of its pretrained weights."""

from collections.abc import Sequence
from pathlib import Path

from nnmass.commands.options.parser import MOST_PROCESSES, Parser, at_least, user_path

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Read what is missing in the atlas, then write its tables and figure.

    Args:
        arguments: ``atlas`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass atlas",
        "Read the topology of every architecture of timm; go on where an earlier run stopped.",
        ["nnmass atlas --pattern 'resnet*'", "nnmass atlas --accuracies results-imagenet.csv --output-dir my_atlas"],
    )
    parser.add_argument("--pattern", default="*", help="names to read, shell style (default: all)")
    parser.add_argument("--output-dir", type=user_path, default=Path("atlas"), help="folder (default: atlas)")
    parser.add_argument("--accuracies", type=user_path, help="CSV with columns model and top1, to be explained")
    parser.add_argument(
        "--workers", type=at_least("--workers", 1, MOST_PROCESSES), help="processes (default: one per core)"
    )
    options = parser.parse_args(list(arguments)[1:])
    if options.accuracies is not None and not options.accuracies.is_file():
        reason = "is a folder" if options.accuracies.is_dir() else "does not exist"
        raise FileNotFoundError(f"Expected --accuracies to be a file, but {options.accuracies} {reason}.")
    import timm
    from rich.progress import track

    from nnmass.runtime.tables import terminal
    from nnmass.studies.atlas.report import write_report
    from nnmass.studies.atlas.survey import read_atlas, require_accuracies, unread, update_atlas
    from nnmass.studies.cores import available_cores

    names = timm.list_models(options.pattern) if options.pattern else []
    if not names:
        raise ValueError(f"Expected --pattern to match names that timm knows, but got {options.pattern!r}.")
    if options.accuracies is not None:
        require_accuracies(options.accuracies)  # before hours of reading
    file = options.output_dir / "atlas.jsonl"
    console = terminal()
    rows = update_atlas(file, names, options.workers or available_cores())
    missing = len(unread(file, names))
    for _ in track(rows, "Reading", total=missing, console=console, disable=not missing):
        pass
    for table in write_report(read_atlas(file), options.output_dir, options.accuracies):
        console.print(table)
    console.print(f"Written to {options.output_dir}.")
    return 0
