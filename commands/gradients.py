"""gradients: mean singular values of initial Jacobians against NN-Mass."""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmass.commands.options.parser import Actions, Parser, at_least, user_path
from nnmass.runtime.quiet import quieten

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from torch import Tensor

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Measure what is asked for, and write tables and figures.

    Args:
        arguments: ``gradients`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass gradients",
        "Ask whether the mean singular value of the layers' Jacobians at initialisation follows NN-Mass.",
        ["nnmass gradients simulation", "nnmass gradients mlp --data-dir ~/data", "nnmass gradients cnn --seeds 1"],
    )
    subjects = Actions(parser, "subject")
    simulation = subjects.add("simulation", "Gaussian matrices (CVPR-F1b, ICLR-F7 and F8)", _simulation)
    mlp = subjects.add("mlp", "the papers' 75 MLPs on MNIST (CVPR-F3), by four initialisations", _mlp)
    _add_measuring(mlp, "MNIST", images=200, seeds=5)
    cnn = subjects.add("cnn", "the papers' 60 CIFAR networks on CIFAR-10", _cnn)
    _add_measuring(cnn, "CIFAR-10", images=4, seeds=2)
    for subject in (simulation, mlp, cnn):
        subject.add_argument("--output-dir", type=user_path, default=Path("gradients"), help="folder (gradients)")
    options = parser.parse_args(list(arguments)[1:])
    earlier = options.output_dir / f"{options.subject}.csv"
    if earlier.exists():
        raise ValueError(f"Expected --output-dir to hold no earlier {earlier.name}, but {earlier} exists.")
    quieten()
    tables: Iterable[Table] = options.run(options)
    from nnmass.runtime.tables import terminal

    console = terminal()
    for table in tables:
        console.print(table)
    console.print(f"Written to {options.output_dir}.")
    return 0


def _add_measuring(parser: Parser, data: str, images: int, seeds: int) -> None:
    """Add the options of a subject that is measured at images of a data set."""
    parser.add_argument("--data-dir", type=user_path, help=f"folder of {data}")
    parser.add_argument(
        "--images", type=at_least("--images", 1), default=images, help=f"training images to measure at ({images})"
    )
    parser.add_argument("--seeds", type=at_least("--seeds", 1), default=seeds, help=f"seeds per network ({seeds})")


def _simulation(options: Namespace) -> "Iterator[Table]":
    from nnmass.studies.gradients.measurements import simulated_rows
    from nnmass.studies.gradients.report import write_simulation

    yield from write_simulation(_collected(simulated_rows(), "Gaussian matrices", None), options.output_dir)


def _mlp(options: Namespace) -> "Iterator[Table]":
    from nnmass.studies.gradients.measurements import MLP_GRID, mlp_rows
    from nnmass.studies.gradients.report import write_measured
    from nnmass.zoo.networks.initialisation import INITIALISATIONS

    images = _images("MNIST", options.data_dir, options.images, standardise=False)
    total = len(INITIALISATIONS) * len(MLP_GRID) * options.seeds
    rows = _collected(mlp_rows(images, options.seeds), "MLPs", total)
    yield from write_measured(rows, "initialisation", options.output_dir, "mlp")


def _cnn(options: Namespace) -> "Iterator[Table]":
    from itertools import chain

    from nnmass.studies.gradients.measurements import cnn_rows
    from nnmass.studies.gradients.report import write_measured
    from nnmass.zoo import list_models

    images = _images("CIFAR10", options.data_dir, options.images)
    names = list_models("dense_??_w[123]_*_*_*")
    rows = chain.from_iterable(cnn_rows(images, names, options.seeds, bn) for bn in ("batch", "eval"))
    table = _collected(rows, "CNNs", 2 * len(names) * options.seeds)
    multiplier = table["width_multiplier"].map("w_m {:g}".format)
    table = table.assign(networks=multiplier + ", bn " + table["bn"])
    yield from write_measured(table, "networks", options.output_dir, "cnn")


def _images(data_set: str, data_dir: Path | None, count: int, **arguments: Any) -> "Tensor":
    """Load ``count`` training images, drawn by the data module's seed 0."""
    from nnmass import datamodules

    folder = {} if data_dir is None else {"data_dir": str(data_dir)}
    module = getattr(datamodules, data_set)(batch_size=count, **folder, **arguments)
    module.prepare_data()
    images, _ = next(iter(module.train_dataloader()))
    return images


def _collected(rows: Iterable[dict[str, Any]], what: str, total: int | None) -> "pd.DataFrame":
    import pandas as pd
    from rich.progress import track

    from nnmass.runtime.tables import terminal

    return pd.DataFrame(track(rows, what, total=total, console=terminal(), transient=True))
