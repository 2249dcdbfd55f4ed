"""gradients: whether the mean singular value of the initial Jacobians follows NN-Mass."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmass.commands.options.parser import Parser, at_least, refuse_unread, user_path
from nnmass.runtime.quiet import quieten

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from torch import Tensor

__all__ = ["run"]

_SUBJECTS = {
    "simulation": "Gaussian matrices (CVPR-F1b, ICLR-F7 and F8)",
    "mlp": "the papers' 75 MLPs on MNIST (CVPR-F3), by four initialisations",
    "cnn": "the papers' 60 CIFAR networks on CIFAR-10",
}


def run(arguments: Sequence[str]) -> int:
    """Measure what is asked for, and write tables and figures.

    Args:
        arguments: ``gradients`` and what follows it on the command line.
    """
    parser = Parser(
        "gradients",
        "Ask whether the mean singular value of the layers' Jacobians at initialisation follows NN-Mass.",
        ["nnmass gradients simulation", "nnmass gradients mlp --data_dir ~/data", "nnmass gradients cnn --seeds 1"],
    )
    parser.add_argument("subject", choices=_SUBJECTS, help="; ".join(f"{k}: {v}" for k, v in _SUBJECTS.items()))
    parser.add_argument("--output_dir", type=user_path, default=Path("gradients"), help="where to write (gradients)")
    parser.add_argument("--data_dir", type=user_path, help="mlp, cnn: where MNIST or CIFAR-10 lies")
    parser.add_argument("--images", type=at_least("--images", 1), help="training images to measure at (mlp 200, cnn 4)")
    parser.add_argument("--seeds", type=at_least("--seeds", 1), help="seeds per architecture (mlp 5, cnn 2)")
    options = parser.parse_args(list(arguments)[1:])
    if options.subject == "simulation":
        asked = {name: getattr(options, name) for name in ("data_dir", "images", "seeds")}
        refuse_unread("simulation", "mlp and cnn", **asked)
    earlier = options.output_dir / f"{options.subject}.csv"
    if earlier.exists():
        raise ValueError(f"Expected --output_dir to hold no earlier {earlier.name}, but {earlier} exists.")
    quieten()
    tables: Iterable[Table] = _MEASURE[options.subject](options)
    from nnmass.runtime.tables import terminal

    console = terminal()
    for table in tables:
        console.print(table)
    console.print(f"Written to {options.output_dir}.")
    return 0


def _simulation(options: Any) -> "Iterator[Table]":
    from nnmass.studies.gradients.measurements import simulated_rows
    from nnmass.studies.gradients.report import write_simulation

    yield from write_simulation(_collected(simulated_rows(), "Gaussian matrices", None), options.output_dir)


def _mlp(options: Any) -> "Iterator[Table]":
    from nnmass.studies.gradients.measurements import MLP_GRID, mlp_rows
    from nnmass.studies.gradients.report import write_measured
    from nnmass.zoo.networks.initialisation import INITIALISATIONS

    seeds = options.seeds or 5
    images = _images("MNIST", options.data_dir, options.images or 200, standardise=False)
    total = len(INITIALISATIONS) * len(MLP_GRID) * seeds
    rows = _collected(mlp_rows(images, seeds), "MLPs", total)
    yield from write_measured(rows, "initialisation", options.output_dir, "mlp")


def _cnn(options: Any) -> "Iterator[Table]":
    from itertools import chain

    from nnmass.studies.gradients.measurements import cnn_rows
    from nnmass.studies.gradients.report import write_measured
    from nnmass.zoo import list_models

    seeds = options.seeds or 2
    images = _images("CIFAR10", options.data_dir, options.images or 4)
    names = list_models("dense_??_w[123]_*_*_*")
    rows = chain.from_iterable(cnn_rows(images, names, seeds, bn) for bn in ("batch", "eval"))
    table = _collected(rows, "CNNs", 2 * len(names) * seeds)
    multiplier = table["width_multiplier"].map("w_m {:g}".format)
    table = table.assign(networks=multiplier + ", bn " + table["bn"])
    yield from write_measured(table, "networks", options.output_dir, "cnn")


_MEASURE = {"simulation": _simulation, "mlp": _mlp, "cnn": _cnn}


def _images(data_set: str, data_dir: Path | None, count: int, **arguments: Any) -> "Tensor":
    """So many training images, drawn by the data module's seed 0."""
    from nnmass import datamodules

    place = {} if data_dir is None else {"data_dir": str(data_dir)}
    module = getattr(datamodules, data_set)(batch_size=count, **place, **arguments)
    module.prepare_data()
    images, _ = next(iter(module.train_dataloader()))
    return images


def _collected(rows: Iterable[dict[str, Any]], what: str, total: int | None) -> "pd.DataFrame":
    import pandas as pd
    from rich.progress import track

    from nnmass.runtime.tables import terminal

    return pd.DataFrame(track(rows, what, total=total, console=terminal(), transient=True))
