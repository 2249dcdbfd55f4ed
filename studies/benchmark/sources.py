"""Benchmarks by name: networks of timm, torchvision, pytorchcv and NAS-Bench-201 with their published accuracies."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from torch import nn

from nnmass.studies.atlas.survey import best_accuracies
from nnmass.studies.benchmark.known import KnownNetwork
from nnmass.studies.benchmark.nas_bench_201 import EDGES, NASBench201, cell_text
from nnmass.studies.benchmark.pickles import read_inert
from nnmass.zoo.networks.variants import create_model
from nnmass.zoo.seeding import seeded

__all__ = ["BENCHMARKS", "analog_cells", "timm_networks"]


def timm_networks(accuracies: Path) -> list[KnownNetwork]:
    """List timm's architectures by a table of accuracies, of weights that were trained on ImageNet-1k alone.

    Args:
        accuracies: A CSV with columns ``model`` and ``top1``, such as timm's ``results-imagenet.csv``.

    Raises:
        ValueError: If the table is none, or names no architecture of timm.
    """
    import timm
    from timm.models import get_pretrained_cfg, model_entrypoint

    best = best_accuracies(accuracies)["top1_in1k"].dropna()
    known = [name for name in timm.list_models() if name in best.index]
    if not known:
        raise ValueError(f"Expected {accuracies} to name architectures of timm, but it names none.")
    return [
        KnownNetwork(
            "timm",
            name,
            model_entrypoint(name).__module__.rpartition(".")[2],
            float(best[name]),
            tuple(cast(Any, get_pretrained_cfg(name)).input_size),
            1000,
            partial(_of_zoo, f"timm/{name}"),
        )
        for name in known
    ]


def _torchvision() -> list[KnownNetwork]:
    """List torchvision's classifiers by the accuracy of their first weights that were trained on ImageNet-1k alone."""
    from torchvision import models

    networks = []
    for name in models.list_models(module=models):
        weights = {one.name: one for one in models.get_model_weights(name)}.get("IMAGENET1K_V1")
        if weights is None:
            continue
        side = weights.transforms.keywords["crop_size"]
        family = models.get_model_builder(name).__module__.rpartition(".")[2]
        accuracy = weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        build = partial(_of_zoo, f"torchvision/{name}")
        networks.append(KnownNetwork("torchvision", name, family, accuracy, (3, side, side), 1000, build))
    return networks


def _of_zoo(name: str, seed: int, input_size: tuple[int, ...]) -> nn.Module:
    try:
        return create_model(name, seed=seed, data_shape=input_size)
    except ValueError:  # some names of timm have a size of their own, which they then refuse to change
        return create_model(name, seed=seed)


def _pytorchcv(data: str, num_classes: int) -> list[KnownNetwork]:
    """List the classifiers of pytorchcv on one data set.

    Args:
        data: With which the names of its networks end; ``imagenet`` for those without such an ending.
        num_classes: Of the data set.

    Raises:
        ValueError: If pytorchcv is not installed.
    """
    import pandas as pd

    folder = _installed("pytorchcv", "pytorchcv")
    table = pd.read_csv(folder / "models" / "common" / "model_metainfos.csv", dtype=str, keep_default_na=False)
    rows = table[table["test_dataset"] == ("in1k" if data == "imagenet" else "cf")]
    if data != "imagenet":
        rows = rows[rows["model_name"].str.endswith(f"_{data}")]
    provider = import_module("pytorchcv.model_provider")
    networks = []
    own = rows.loc[rows["error_value"].str.isdigit(), ["model_name", "error_value", "img_size"]]
    for name, error, size in own.astype(str).to_numpy().tolist():
        side = 32 if data != "imagenet" else int(size) if size.isdigit() else 224
        family = getattr(provider, name).__module__.rpartition(".")[2]
        accuracy = 100 - int(error) / 100
        build = partial(_of_pytorchcv, name)
        networks.append(KnownNetwork(f"pytorchcv-{data}", name, family, accuracy, (3, side, side), num_classes, build))
    return networks


def _of_pytorchcv(name: str, seed: int, input_size: tuple[int, ...]) -> nn.Module:
    provider = import_module("pytorchcv.model_provider")
    with seeded(seed):
        network = provider.get_model(name)
        own = tuple(getattr(network, "in_size", input_size[1:]))
        return network if own == input_size[1:] else provider.get_model(name, in_size=input_size[1:])


# Positions of AnalogNAS-Bench's keys by edge and its numbers by operation, which are NASLib's: the tests hold them
# against the accuracies of cells without a path, which guess, and of the best cell of NAS-Bench-201.
_ANALOG_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
_ANALOG_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")


def analog_cells(file: Path) -> list[KnownNetwork]:
    """List the cells of NAS-Bench-201 with the accuracies on CIFAR-10 that AnalogNAS-Bench reached in 32 bits.

    Args:
        file: ``data.anb`` of the package analog-nasbench, which is read without running anything of it.

    Raises:
        ValueError: If the file is not such a pickle.
    """
    classes = [("analognasbench.data", name) for name in ("Architecture", "DriftMeasurement")]
    content = read_inert(file, classes)
    try:
        found = {tuple(key): float(record.baseline_accuracy) for key, record in content.items()}
        cells = {
            cell_text([_ANALOG_OPERATIONS[key[_ANALOG_EDGES.index(edge)]] for edge in EDGES]): accuracy
            for key, accuracy in found.items()
        }
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"Expected {file} to hold accuracies of cells, but {error}.") from error
    return [
        KnownNetwork("nas-bench-201", cell, "nas-bench-201", accuracy, (3, 32, 32), 10, partial(_of_cell, cell))
        for cell, accuracy in cells.items()
    ]


def _of_cell(cell: str, seed: int, input_size: tuple[int, ...]) -> nn.Module:
    return NASBench201(cell, seed=seed)


def _nas_bench_201() -> list[KnownNetwork]:
    return analog_cells(_installed("analognasbench", "analog-nasbench") / "data.anb")


def _installed(module: str, package: str) -> Path:
    """Return the folder of a module, which is found and not loaded.

    Raises:
        ValueError: If it is not installed.
    """
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"Expected {package} to be installed, but it is not; pip install {package} does that.")
    return Path(next(iter(found.submodule_search_locations)))


BENCHMARKS: Mapping[str, Callable[[], list[KnownNetwork]]] = MappingProxyType(
    {
        "torchvision": _torchvision,
        "pytorchcv-imagenet": partial(_pytorchcv, "imagenet", 1000),
        "pytorchcv-cifar10": partial(_pytorchcv, "cifar10", 10),
        "pytorchcv-cifar100": partial(_pytorchcv, "cifar100", 100),
        "pytorchcv-svhn": partial(_pytorchcv, "svhn", 10),
        "nas-bench-201": _nas_bench_201,
    }
)
"""Benchmarks that need no file of the user's, by name; ``timm`` needs its table of accuracies."""
