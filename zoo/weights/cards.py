"""Model cards: what a network is, how it was trained, and how to load it, as Markdown with the Hub's heading."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from nnmass.zoo.reader.topology import topology

__all__ = ["hub_card", "topology_facts", "trained_card"]

_HEADING = """---
library_name: nnmass
pipeline_tag: image-classification
tags: [model_hub_mixin, pytorch_model_hub_mixin, nn-mass]
---
"""
_UNSAID: tuple[Any, ...] = (None, 0, "none", [])  # 0 is False too


def hub_card(network: nn.Module) -> str:
    """Card of a network of which nothing is known but itself.

    Args:
        network: One of the zoo's classes.
    """
    name = type(network).__name__
    return "\n".join(
        [
            _HEADING,
            f"# {name}",
            "",
            (type(network).__doc__ or name).strip().splitlines()[0],
            "",
            *_table(("topology", "value"), _topology_rows(topology_facts(network))),
            *_table(("argument", "value"), network.init_args.items()),  # type: ignore[union-attr, operator]
            *_block("from nnmass import zoo", f'network = zoo.{name}.from_pretrained("THIS REPOSITORY OR FOLDER")'),
        ]
    )


def trained_card(record: Mapping[str, Any], configuration: Mapping[str, Any]) -> str:
    """Card of a trained network.

    Args:
        record: Its record, as :class:`nnmass.zoo.weights.pretrained.Pretrained` reads it.
        configuration: Of its training; the card leaves out the network and what is null, false, zero or none.
    """
    network, test = record["network"], record["test"]
    said = {
        key: value
        for key, value in _flat(configuration)
        if key == "seed_everything" or not (value in _UNSAID or key.startswith("model.network."))
    }
    sizes = [("file", record["file"]), ("size in bytes", f"{record['bytes']:,}"), ("SHA-256", record["sha256"])]
    return "\n".join(
        [
            _HEADING,
            f"# {record['name']}",
            "",
            f"{network['class']} trained on {record['data']}: {_percent(test['accuracy'])} of the test set are right.",
            "",
            *_block("from nnmass import zoo", f'network = zoo.create_model("{record["name"]}", pretrained=True)'),
            *_table(("test set", "value"), _test_rows(test)),
            *_table(("topology", "value"), _topology_rows(record["topology"])),
            *_table(("argument", "value"), network["init_args"].items()),
            *_table(("input", "value"), _input_rows(record)),
            *_table(("protocol", "value"), said.items()),
            f"The same training again, by the configuration beside this card, {record['name']}.yaml:",
            "",
            *_block(f"nnmass fit --config {record['name']}.yaml"),
            *_table(("weights", "value"), [*sizes, ("taken from", record["checkpoint"])]),
            *_table(("trained with", "version"), [*record["versions"].items(), ("device", record["device"])]),
        ]
    )


def topology_facts(network: nn.Module, input_size: Sequence[int] | None = None) -> dict[str, Any]:
    """Topology and size of a network, as plain numbers.

    Args:
        network: A network of the zoo.
        input_size: Shape of one input; the network's own by default.
    """
    read = topology(network, input_size)
    return {
        "nn_mass": read.nn_mass,
        "nn_density": read.nn_density,
        "cell_densities": list(read.cell_densities),
        "average_degree": read.average_degree,
        "num_layers": read.num_layers,
        "num_params": read.num_params,
        "macs": read.macs,
        "input_size": list(read.input_size),
    }


def _topology_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    degree = facts["average_degree"]
    return [
        ("NN-Mass", f"{facts['nn_mass']:,.3f}"),
        ("NN-density", f"{facts['nn_density']:.3f}"),
        ("cell densities", ", ".join(f"{density:.3f}" for density in facts["cell_densities"])),
        ("average degree", "not known" if degree is None else f"{degree:.3f}"),
        ("layers", f"{facts['num_layers']}"),
        ("parameters", f"{facts['num_params']:,}"),
        ("MACs", f"{facts['macs']:,}"),
        ("input", " x ".join(map(str, facts["input_size"]))),
    ]


def _test_rows(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("accuracy", _percent(test["accuracy"])),
        ("accuracy of the five likeliest", _percent(test["top5"]) if "top5" in test else ""),
        ("loss", f"{test['loss']:.4f} nat"),
        ("calibration error", f"{test['calibration_error']:.3f}" if "calibration_error" in test else ""),
        ("precision", test["precision"]),
    ]
    return [(name, value) for name, value in rows if value]


def _input_rows(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [*(record["preprocessing"] or {}).items(), ("classes", ", ".join(record["classes"]))]


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with dots, as options have them, and their values."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _table(heading: tuple[str, str], rows: Iterable[tuple[str, Any]]) -> list[str]:
    lines = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows]
    return [f"| {heading[0]} | {heading[1]} |", "|---|---|", *lines, ""]


def _block(*lines: str) -> list[str]:
    return [*(f"    {line}" for line in lines), ""]
