"""list: the names that the other subcommands take."""

import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from textwrap import shorten
from typing import Any

from nnmass.commands.options.parser import Actions, Parser, user_path
from nnmass.runtime.config_names import CONFIG_FOLDER, STUDY_FOLDER

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Print one name per line and what it is; loads no torch.

    Args:
        arguments: ``list`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass list",
        "List the networks, configurations or studies that come with the program, or your runs, one per line.",
        ["nnmass list models 'dense_40_*'", "nnmass list configs", "nnmass list runs"],
    )
    kinds = Actions(parser, "kind")
    for kind, summary, names in (
        ("models", "networks of the zoo; 'timm/*' and 'torchvision/*' are theirs", _models),
        ("configs", "configurations of fit", lambda _: _files(CONFIG_FOLDER)),
        ("studies", "studies", lambda _: _files(STUDY_FOLDER)),
        ("runs", "your runs, and what came out", lambda options: _runs(options.output_dir)),
    ):
        listing = kinds.add(kind, summary, names)
        listing.add_argument("pattern", nargs="?", default="*", help="shell-style pattern of names (all)")
        if kind == "runs":
            listing.add_argument("--output-dir", type=user_path, default=Path("runs"), help="folder of runs (runs)")
    options = parser.parse_args(list(arguments)[1:])
    chosen = [(name, what) for name, what in options.run(options) if fnmatch(name, options.pattern)]
    if not chosen and options.kind == "runs" and options.pattern == "*":
        raise ValueError(f"Expected --output-dir to hold runs, but {options.output_dir} holds none.")
    if not chosen:
        raise ValueError(f"Expected the pattern to match some of the {options.kind}, but got {options.pattern!r}.")
    width = max(len(name) for name, _ in chosen)
    print("\n".join(f"{name:<{width}}  {what}" for name, what in chosen))
    return 0


def _models(options: Namespace) -> Iterator[tuple[str, str]]:
    from nnmass.zoo.networks.variants import VARIANTS, list_models
    from nnmass.zoo.weights.pretrained import find_pretrained, list_pretrained

    if "/" in options.pattern:  # loads the library, and torch with it
        library = options.pattern.partition("/")[0]
        yield from ((name, f"of {library}, as {library} initialises it") for name in list_models(options.pattern))
    trained = {name: find_pretrained(name) for name in list_pretrained()}
    weights = {
        name: f"weights: {record.data}, {100 * record.test['accuracy']:.2f} %" for name, record in trained.items()
    }
    known = {name: f"{variant.builder.partition(':')[2]}; {variant.source}" for name, variant in VARIANTS.items()}
    own = {name: f"{record.network['class']}; yours" for name, record in trained.items()}
    for name, what in sorted({**own, **known}.items()):
        yield name, f"{what}; {weights[name]}" if name in weights else what


def _runs(folder: Path) -> Iterator[tuple[str, str]]:
    """List the runs of a folder by date, with their results."""
    from nnmass.runtime.files import read_run
    from nnmass.runtime.tables import network_title

    if not folder.is_dir():
        raise ValueError(f"Expected --output-dir to be a folder with runs, but {folder} is none.")
    for path in sorted(folder.iterdir()):
        record = path / "run.json"
        if record.is_file() and not path.is_symlink():
            try:
                run = read_run(path)
            except ValueError:
                yield path.name, f"{record.name} is damaged"
                continue
            topology, tested = run.get("topology", {}), run.get("test", {})
            results = {
                "epochs": (run.get("epochs"), ""),
                "NN-Mass": (topology.get("nn_mass"), ",.1f"),
                "parameters": (topology.get("num_params"), ","),
                "best val accuracy": (run.get("best_val_accuracy"), ".4f"),
                "test accuracy": (tested.get("test/accuracy"), ".4f"),
            }
            parts = {"best val accuracy": run.get("val_part"), "test accuracy": tested.get("part")}
            known = [
                f"{name} {value:{form}}" + (f" (of {parts[name]})" if parts.get(name) else "")
                for name, (value, form) in results.items()
                if value is not None
            ]
            status = run.get("status", "not begun")
            reason = [_why(run)] if run.get("reason") and status != "running" else []
            yield (
                path.name,
                ", ".join([f"{network_title(run)}: {status}" if "network" in run else status, *known, *reason]),
            )


def _why(run: dict[str, Any]) -> str:
    """Write in one line why a run came to no end."""
    return shorten(f"because of {run['reason']}", width=300, placeholder=" ...")


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """List the files, with the first sentence of the comment that each begins with."""
    for path in sorted(folder.glob("*.yaml")):
        comment = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.lstrip("# "))
        yield path.stem, re.split(r"(?<=[.?:]) ", " ".join(comment), maxsplit=1)[0].rstrip(":")
