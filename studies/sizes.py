"""Topology and size of a row's network, by closed forms where there are any; torch is loaded where there are none."""

from math import prod
from typing import TYPE_CHECKING, Any

from nnmass.datamodules.facts import Facts
from nnmass.studies.definition import Row
from nnmass.zoo.closed_forms import ClosedForm, closed_form
from nnmass.zoo.networks.variants import VARIANTS, create_model

if TYPE_CHECKING:
    from torch import nn

    from nnmass.datamodules.base import DataModule
    from nnmass.zoo.reader.topology import Topology
    from nnmass.zoo.training.classifier import Classifier

__all__ = ["closed_size", "size_by", "size_of"]

# What the data decide of each network that has closed forms.
_DECIDED = {
    "RandomSkipDenseNet": ("num_classes", "in_chans"),
    "RandomSkipMLP": ("num_classes", "in_features"),
    "ResNet": ("num_classes", "in_chans"),
}


def size_of(row: Row) -> dict[str, Any]:
    """Compute topology and size of a row's network.

    Args:
        row: The row.
    """
    if not row.configuration:
        variant = VARIANTS[row.network]
        return _size(closed_form(variant.builder, variant.arguments) or _read(create_model(row.network)))
    model, data = row.build()
    return size_by(row, model, data)


def size_by(row: Row, model: "Classifier", data: "DataModule") -> dict[str, Any]:
    """Compute topology and size of a row's network, which has been built.

    Args:
        row: The row.
        model: Holds its network.
        data: The data of its configuration.
    """
    return closed_size(row, data) or _size(_read(model.network, data.input_size))


def closed_size(row: Row, data: "DataModule | Facts") -> dict[str, Any] | None:
    """Compute topology and size of a row's network by closed forms; None where it must be read off the network.

    Args:
        row: The row.
        data: The data, or what is known of them, which decide classes and channels.
    """
    class_path = row.configuration["model"]["network"]["class_path"]
    all_decided = {"num_classes": data.num_classes, "in_chans": data.in_chans, "in_features": prod(data.input_size)}
    decided = {name: all_decided[name] for name in _DECIDED.get(class_path.rpartition(".")[2], ())}
    record = closed_form(class_path, {**row.arguments, **decided}, data.input_size)
    return None if record is None else _size(record)


def _read(network: "nn.Module", input_size: tuple[int, ...] | None = None) -> "Topology":
    from nnmass.zoo.reader.topology import topology

    return topology(network, input_size)


def _size(record: "Topology | ClosedForm") -> dict[str, Any]:
    names = ("nn_mass", "nn_density", "average_degree", "num_params", "macs", "flops", "num_layers")
    return {name: getattr(record, name) for name in names}
