"""Training-free measures of the networks that ``design`` lists."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from nnmass.commands.options.design_reference import Reference
from nnmass.commands.options.measured import NOISE, measured_of_content
from nnmass.runtime.tables import as_measured, not_measured
from nnmass.studies.measuring import measure_subjects
from nnmass.zoo import Design
from nnmass.zoo.measures import find_measures

if TYPE_CHECKING:
    from nnmass.commands.options.measured import MeasuredNetwork

__all__ = ["DesignMeasures", "prepared_measures"]

_COLUMNS = ("params", "macs", "nn_mass")  # that designs have anyway


class DesignMeasures:
    """Measures of designs as their configurations build them with the seed 0, at the reference's data or at noise.

    Args:
        reference: What the networks are like.
        names: Measures.
        images: Images per network.
        is_noise: Take noise rather than the reference's data.

    Raises:
        ValueError: If the data cannot be had.
    """

    def __init__(self, reference: Reference, names: Sequence[str], images: int, is_noise: bool) -> None:
        self.names = tuple(names)
        self._reference, self._images, self._is_noise = reference, images, is_noise
        self._found: dict[str, dict[str, Any]] = {}
        if names:
            self._of(reference.name, reference.content)  # what is wrong with the data shows before the search

    def measure(self, designs: Mapping[str, Design], console: Console) -> None:
        """Measure designs, and the reference if there is one.

        Args:
            designs: By their names.
            console: Shows the progress.
        """
        like = self._reference
        contents: dict[str, Mapping[str, Any]] = {name: like.configuration(design) for name, design in designs.items()}
        if like.is_given:
            contents = {like.name: like.content, **contents}
        subjects = [one for name, content in contents.items() for one in self._of(name, content).subjects]
        rows = measure_subjects(subjects, self.names)
        for row in track(
            rows, "Measuring", len(subjects), console=console, transient=True, disable=not sys.stdout.isatty()
        ):
            failed = {"value": None, "reason": row.get("error")}
            self._found[row["network"]] = row.get("measured", dict.fromkeys(self.names, failed))

    def cells(self, name: str) -> list[str]:
        """Write the measures of a network, one per column."""
        values = [self._found[name][measure]["value"] for measure in self.names]
        return ["not measured" if value is None else as_measured(value) for value in values]

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return columns of a table: the measures, and why some have no value; None for networks that are not listed.

        Args:
            names: Of the networks, row by row.
        """
        if not self.names:
            return {}
        rows = [self._found.get(name, {}) for name in names]
        columns = {measure: [row.get(measure, {}).get("value") for row in rows] for measure in self.names}
        reasons = [[f"{key}: {one['reason']}" for key, one in row.items() if one["reason"]] for row in rows]
        return {**columns, "not_measured": ["; ".join(each) or None for each in reasons]}

    def notes(self) -> list[str]:
        """Say where the values are from, and why there are none; for which networks unless it is for all."""
        networks: dict[tuple[str, str], list[str]] = {}
        for network, measured in self._found.items():
            for measure, one in measured.items():
                if one["reason"]:
                    networks.setdefault((measure, one["reason"]), []).append(network)
        measures: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for (measure, reason), names in networks.items():
            measures.setdefault((reason, tuple(names)), []).append(measure)
        notes = [
            ("" if len(names) == len(self._found) else f"{', '.join(names)}: ") + not_measured(each, reason)
            for (reason, names), each in measures.items()
        ]
        data = self._of(self._reference.name, self._reference.content).data if self._found else NOISE
        images = "noise, without labels" if data == NOISE else data
        return [f"Measured at {self._images} images of {images}, with the seed 0.", *notes] if self._found else []

    def _of(self, name: str, content: Mapping[str, Any]) -> "MeasuredNetwork":
        return measured_of_content(name, dict(content), self._images, 1, self._is_noise)


def prepared_measures(options: Namespace, reference: Reference) -> DesignMeasures:
    """Prepare what ``--measures`` names; nothing without it.

    Args:
        options: Of ``design``.
        reference: What the networks are like.

    Raises:
        ValueError: If a name is unknown, or only names columns that there are anyway, or the data cannot be had.
    """
    names = [one.name for one in find_measures(options.measures or ()) if one.name not in _COLUMNS]
    if options.measures and not names:
        columns = ", ".join(_COLUMNS)
        raise ValueError(
            f"Expected --measures to name others than {columns}, which are listed anyway, but got "
            f"{', '.join(options.measures)}."
        )
    return DesignMeasures(reference, names, options.images or 64, options.data == NOISE)
