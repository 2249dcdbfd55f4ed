"""design: configurations of the networks of the highest NN-Mass within a budget, found without building any."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.parser import Parser, at_least

if TYPE_CHECKING:
    from zoo import Design, Size

__all__ = ["grid", "quantity", "run"]

_DENSENETS = ("zoo.RandomSkipDenseNet", "zoo.densenet.RandomSkipDenseNet")
_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def run(arguments: Sequence[str]) -> int:
    """Search a grid, show the best networks beside that of the configuration, and write a configuration for each.

    Args:
        arguments: ``design`` and what follows it on the command line.
    """
    parser = Parser(
        "design",
        "Find the random-skip DenseNets of the highest NN-Mass within a budget: of each depth and width the best t_c.",
        [
            "nnmass design --like cifar10_dense.yaml",
            "nnmass design --like cifar10_dense.yaml --max-params 2.5M --max-macs 0.4G --width-multiplier 1:3:0.5",
        ],
    )
    parser.add_argument("--like", required=True, metavar="CONFIG", help="configuration of a random-skip DenseNet")
    parser.add_argument("--max-params", type=quantity("--max-params"), help="most parameters, as 5M (CONFIG's own)")
    parser.add_argument("--max-macs", type=quantity("--max-macs"), help="most MACs, as 0.8G (CONFIG's own)")
    parser.add_argument("--cell-depth", type=grid("--cell-depth"), default="4:20", help="d_c, from:to:step (4:20)")
    parser.add_argument(
        "--width-multiplier", type=grid("--width-multiplier"), default="1:3:1/2", help="w_m, from:to:step (1:3:1/2)"
    )
    parser.add_argument("--tc", type=grid("--tc"), default="0:300:5", help="t_c of each cell, from:to:step (0:300:5)")
    parser.add_argument("--count", type=at_least("--count", 1), default=10, help="networks to list (10)")
    parser.add_argument("--output_dir", type=Path, default=Path("designs"), help="folder of configurations (designs)")
    options = parser.parse_args(list(arguments)[1:])
    from callbacks.tables import rich_table, terminal
    from commands.config_names import config_name, find_config
    from commands.lightning_cli import quieten
    from zoo import Design, highest_mass, nn_mass

    quieten()
    path = find_config(options.like)
    content, network, size = _reference(path)
    base_widths = content["model"]["network"]["init_args"].get("base_widths", (16, 32, 64))
    depths, tcs = network["cell_depth"], network["tc"]
    cost = size(depths, network["widths"], tcs)
    mass = nn_mass(depths, network["widths"], tcs)
    budget = (options.max_params or cost.num_params, options.max_macs or cost.macs)
    designs = highest_mass(
        map(_whole, options.cell_depth),
        map(float, options.width_multiplier),
        map(_whole, options.tc),
        *budget,
        base_widths,
        size,
        options.count,
    )
    if not designs:
        smallest = size(
            [_whole(min(options.cell_depth))] * len(base_widths),
            [int(base * min(options.width_multiplier)) for base in base_widths],
            [_whole(min(options.tc))] * len(base_widths),
        )
        raise ValueError(
            f"Expected a budget that a network of the grid fits into, but the smallest has {smallest.num_params:,} "
            f"parameters and {smallest.macs:,} MACs, and the budget is {budget[0]:,.0f} and {budget[1]:,.0f}."
        )
    files = [_write(design, content, config_name(path), options.output_dir) for design in designs]
    same = depths[0] if len(set(depths)) == 1 else depths
    reference = Design(same, network["width_multiplier"], tuple(tcs), mass, cost.num_params, cost.macs)
    named = [(config_name(path), reference), *zip([file.stem for file in files], designs, strict=True)]
    rows = [
        (name, d.cell_depth, f"{d.width_multiplier:g}", ", ".join(map(str, d.tc)), *_figures(d)) for name, d in named
    ]
    headings = ["network", "d_c", "w_m", "t_c", "NN-Mass", "parameters", "MACs"]
    title = f"Highest NN-Mass within {budget[0]:,.0f} parameters and {budget[1]:,.0f} MACs"
    terminal().print(rich_table(title, headings, rows))
    print(f"Train one: nnmass fit --config {files[0]}")
    return 0


def quantity(name: str) -> Callable[[str], float]:
    """A type for an option: a number with K, M, G or T behind it, or none.

    Example:
        >>> quantity("--max-params")("2.5M")
        2500000.0
    """

    def read(text: str) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
        if found is None or float(found[1]) == 0:
            raise ArgumentTypeError(
                f"Expected {name} to be a positive number such as 800K, 5M or 0.8G, but got {text}."
            )
        return float(Fraction(found[1]) * _FACTORS[found[2]])

    return read


def grid(name: str) -> Callable[[str], list[Fraction]]:
    """A type for an option: one number, or ``from:to[:step]`` with both ends; exact, so that 0.1 adds up.

    Example:
        >>> [float(number) for number in grid("--width-multiplier")("1:2:0.5")]
        [1.0, 1.5, 2.0]
    """

    def read(text: str) -> list[Fraction]:
        try:
            numbers = [Fraction(part) for part in text.split(":")]
        except (ValueError, ZeroDivisionError):
            numbers = []
        if not 1 <= len(numbers) <= 3 or (len(numbers) == 3 and numbers[2] <= 0):
            raise ArgumentTypeError(f"Expected {name} to be a number, from:to or from:to:step, but got {text}.")
        first, last, step = (
            (*numbers, numbers[0], Fraction(1))[:3] if len(numbers) == 1 else (*numbers, Fraction(1))[:3]
        )
        if last < first:
            raise ArgumentTypeError(f"Expected {name} to rise from its first number to its second, but got {text}.")
        if (last - first) / step >= 10**6:
            raise ArgumentTypeError(f"Expected {name} to hold at most a million numbers, but got {text}.")
        return [first + step * index for index in range(int((last - first) / step) + 1)]

    return read


def _whole(number: Fraction) -> Any:
    """An int where it is one; anything else is refused by the search, which names it."""
    return int(number) if number.denominator == 1 else float(number)


def _reference(path: Path) -> tuple[dict[str, Any], Mapping[str, Any], Callable[..., "Size"]]:
    """A configuration, the figures of its network, and what networks like it cost.

    Raises:
        ValueError: If its network is no random-skip DenseNet.
    """
    import yaml

    from commands.named_networks import network_of_config
    from zoo import densenet_size

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = network_of_config(str(path))
    described = content["model"]["network"]
    if not isinstance(described, dict) or described.get("class_path") not in _DENSENETS:
        raise ValueError(f"Expected --like to describe a zoo.RandomSkipDenseNet, but {path.name} does not.")
    known: Any = named.network
    given = described["init_args"]
    cells = len(known.widths)
    per_cell = {
        name: list(given[name]) if isinstance(given[name], list) else [given[name]] * cells
        for name in ("cell_depth", "tc")
    }
    if named.input_size is None or named.input_size[1] != named.input_size[2]:
        raise ValueError(f"Expected --like to have square images, but those of {path.name} are {named.input_size}.")
    size = partial(
        densenet_size,
        num_classes=known.num_classes,
        in_chans=named.input_size[0],
        side=named.input_size[1],
        stem=given.get("stem") == "imagenet",
        expansion=given.get("expansion"),
    )
    return content, {**per_cell, "widths": known.widths, "width_multiplier": given["width_multiplier"]}, size


def _write(design: "Design", content: Mapping[str, Any], like: str, folder: Path) -> Path:
    """The configuration with this network; a file that is there stays as it is."""
    import yaml

    from callbacks.run_file import write_atomically

    multiplier = f"{design.width_multiplier:g}".replace(".", "p")
    file = folder / f"{like}_d{design.cell_depth}_w{multiplier}_t{'_'.join(map(str, design.tc))}.yaml"
    if not file.exists():
        network = content["model"]["network"]
        chosen = {
            "cell_depth": design.cell_depth,
            "width_multiplier": design.width_multiplier,
            "tc": list(design.tc),
        }
        network = {**network, "init_args": {**network["init_args"], **chosen}}
        text = yaml.safe_dump({**content, "model": {**content["model"], "network": network}}, sort_keys=False)
        mass, params, macs = _figures(design)
        write_atomically(file, f"# As {like}; NN-Mass {mass}, {params} parameters, {macs} MACs.\n{text}")
    return file


def _figures(design: "Design") -> tuple[str, str, str]:
    return f"{design.nn_mass:.3f}", f"{design.num_params:,}", f"{design.macs:,}"
