"""Study of networks that ``design`` has chosen together."""

from collections.abc import Sequence
from pathlib import Path

from nnmass.commands.options.design_reference import Reference
from nnmass.runtime.files import write_atomically
from nnmass.runtime.strict_yaml import yaml_text
from nnmass.zoo import Choice, Design

__all__ = ["told_apart", "write_study"]


def told_apart(choice: Choice) -> str:
    """Say how well the features of a choice can be told apart.

    Args:
        choice: D-optimal.
    """
    factors = zip(choice.features, choice.separation.inflation, strict=True)
    inflation = ", ".join(f"{name} {factor:.2f}" for name, factor in factors)
    size = len(choice.features)
    pairs = [(row, column) for row in range(size) for column in range(row)]
    if not pairs:
        return f" {choice.candidates:,} were candidates."
    row, column = max(pairs, key=lambda pair: abs(choice.separation.correlations[pair]))
    return (
        f" {choice.candidates:,} were candidates. The largest correlation among those chosen is "
        f"{choice.separation.correlations[row, column]:.2f}, of {choice.features[column]} and {choice.features[row]}; "
        f"variance inflation: {inflation}; determinant of the correlations: {choice.separation.determinant:.3g}."
    )


def write_study(reference: Reference, designs: Sequence[Design], folder: Path) -> Path:
    """Write a study of the designs, and beside it the configuration of the reference that it changes.

    Args:
        reference: Network that the others are like.
        designs: Networks that were chosen.
        folder: Of both files.

    Returns:
        The study's file.
    """
    engine = "ensemble" if type(reference.network).__name__ == "RandomSkipMLP" else "fit"
    lines = [
        "# Networks by which NN-Mass, parameters, depth and t can be told apart as well as the grid allows.",
        f"engine: {engine}",
        f"configs: [{reference.name}.yaml]",
        "networks:",
    ]
    for design in designs:
        arguments = ", ".join(f"{name}: [{value}]" for name, value in design.arguments.items())
        lines.append(f"  - {{{arguments}}}  # NN-Mass {design.nn_mass:.1f}, {design.num_params:,} parameters")
    others = [name for name in ("log parameters", "depth", "log t") if name != "log t" or "tc" in designs[0].arguments]
    lines += ["seeds: 3", "report:", f"  endpoint: {{measure: log NN-Mass, given: [{', '.join(others)}]}}", ""]
    write_atomically(folder / f"{reference.name}.yaml", yaml_text(reference.content))
    file = folder / f"{reference.name}_d_optimal.yaml"
    write_atomically(file, "\n".join(lines))
    return file
