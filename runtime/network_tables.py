"""Results of ``inspect`` as rows for files and as tables for the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nnmass.runtime.tables import calls, print_rows, terminal
from nnmass.zoo.closed_forms import ClosedForm

if TYPE_CHECKING:
    import pandas as pd

    from nnmass.zoo import Topology

__all__ = ["block_rows", "network_rows", "show"]


def network_rows(records: Mapping[str, "Topology | ClosedForm"]) -> "pd.DataFrame":
    """One row per network.

    Args:
        records: Topology by name.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "network": name,
            "nn_mass": record.nn_mass,
            "nn_density": record.nn_density,
            "average_degree": record.average_degree,
            "num_params": record.num_params,
            "macs": record.macs,
            "num_layers": record.num_layers,
            "num_cells": record.num_cells,
            "not_judged": len(record.not_judged),
            "uncounted": calls(record.uncounted),
            "input_size": "x".join(map(str, record.input_size)),
        }
        for name, record in records.items()
    )


def block_rows(records: Mapping[str, "Topology"]) -> "pd.DataFrame":
    """One row per block that holds skips.

    Args:
        records: Topology by name.
    """
    import pandas as pd

    columns = ["network", "scope", "kind", "layers", "channels", "links", "possible_links", "density", "nn_mass"]
    rows = [{"network": name, **block.as_dict()} for name, record in records.items() for block in record.blocks]
    return pd.DataFrame(rows, columns=columns)


def show(records: Mapping[str, "Topology | ClosedForm"], per_block: bool) -> None:
    """Print the networks, and the joints of each that could not be judged.

    Args:
        records: Topology by name.
        per_block: Whether to print a table of blocks for each, and every joint that is not judged.
    """
    console = terminal()
    headings = ["network", "NN-Mass", "density", "average degree", "parameters", "MACs", "layers", "cells", "input"]
    rows = [
        (
            name,
            f"{record.nn_mass:,.3f}",
            f"{record.nn_density:.3f}",
            "" if record.average_degree is None else f"{record.average_degree:.3f}",
            f"{record.num_params:,}",
            f"{record.macs:,}",
            f"{record.num_layers}",
            f"{record.num_cells}",
            "x".join(map(str, record.input_size)),
        )
        for name, record in records.items()
    ]
    print_rows(console, "Topology", headings, rows)
    for name, record in records.items():
        if isinstance(record, ClosedForm):  # all of its joints are known
            continue
        if per_block:
            headings = ["block", "kind", "layers", "channels", "links", "possible", "density", "NN-Mass"]
            blocks = [
                (
                    block.scope or "network",
                    block.kind,
                    f"{block.layers}",
                    f"{block.channels:g}",
                    f"{block.links}",
                    f"{block.possible_links}",
                    f"{block.density:.3f}",
                    f"{block.nn_mass:,.3f}",
                )
                for block in record.blocks
            ]
            print_rows(console, name, headings, blocks)
        if record.uncounted:
            console.print(f"{name}: unknown, and so not in the MACs: {calls(record.uncounted)}", highlight=False)
        for note in record.notes:
            console.print(f"{name}: {note}", highlight=False)
        if record.not_judged:
            counted: dict[str, int] = {}
            for joint in record.not_judged:
                key = f"{joint.scope or 'network'}: {joint.reason}" if per_block else joint.reason
                counted[key] = counted.get(key, 0) + 1
            console.print(f"{name}: not judged, and so without mass: {len(record.not_judged)} joints")
            for reason, count in counted.items():
                console.print(f"  {count} x {reason}", highlight=False)
