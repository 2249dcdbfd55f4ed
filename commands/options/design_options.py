"""Options of ``design``, and what they must be together."""

from argparse import Namespace

from nnmass.commands.options.parser import Parser, at_least, hyphenated, refuse_unread, user_path
from nnmass.commands.options.types import amount, duration, grid, name_list

__all__ = ["FAMILIES", "GRIDS", "design_parser", "option_name", "require_budget"]

RULES = ("highest-mass", "fewest-params", "pareto-front", "d-optimal")
FAMILIES = ("dense", "mlp", "mobilenetv2")
GRIDS = ("cell_depth", "width_multiplier", "tc", "depth", "width", "repeats")


def design_parser() -> Parser:
    """Make the parser of the subcommand."""
    parser = Parser(
        "nnmass design",
        "Find the networks of the highest NN-Mass within a budget, or of the fewest parameters for a mass: exactly,\n"
        "and without building or training any. Random-skip DenseNets, random-skip MLPs and MobileNetV2s. The rule\n"
        "d-optimal chooses the networks of a study that is to tell NN-Mass, t, parameters and depth apart.",
        [
            "nnmass design --max-params 300k --width-multiplier 1",
            "nnmass design --like cifar10_dense.yaml",
            "nnmass design --like dense_64_w2_110_215_300 --rule fewest-params",
            "nnmass design --like mobilenetv2_140 --max-params 4M --max-latency 20ms",
            "nnmass design --like mnist_mlp --rule pareto-front --depth 8:32",
            "nnmass design --like mnist_mlp --measures synflow,naswot --data noise",
            "nnmass design --like mnist_mlp --rule d-optimal --count 24 --width 6:16:2 --depth 4,8,16,32",
        ],
    )
    parser.add_argument("--like", help="a reference, if there is one: a configuration, a checkpoint, a zoo name")
    parser.add_argument("--family", choices=FAMILIES, help=f"networks to choose from without --like ({FAMILIES[0]})")
    parser.add_argument("--rule", choices=RULES, default=RULES[0], help=f"what to look for ({RULES[0]})")
    parser.add_argument(
        "--max-params", type=amount("--max-params"), help="most parameters, as 5M or 3k (the reference's)"
    )
    parser.add_argument("--max-macs", type=amount("--max-macs"), help="most MACs, as 0.8G (the reference's)")
    parser.add_argument(
        "--min-mass", type=amount("--min-mass"), help="least NN-Mass (fewest-params: the reference's; else none)"
    )
    parser.add_argument("--max-latency", type=duration("--max-latency"), help="longest forward pass, as 5ms; measured")
    parser.add_argument("--batch", type=at_least("--batch", 1), help="inputs per timed pass (1)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where to time (cpu)")
    parser.add_argument(
        "--measures", type=name_list, help="training-free measures to list, with commas between, or all"
    )
    parser.add_argument("--data", choices=("noise",), help="noise: measure at it, not at the configuration's images")
    parser.add_argument("--images", type=at_least("--images", 1, 100_000), help="images to measure at (64)")
    parser.add_argument("--count", type=at_least("--count", 1), default=10, help="networks to list (10)")
    parser.add_argument("--output-dir", type=user_path, help="a new folder (designs/<date>_<time>_<reference>)")
    grids = parser.add_argument_group("what to choose from, as number, from:to or from:to:step, several with commas")
    meaning = {
        "cell_depth": "layers per cell of DenseNets, d_c (4:20)",
        "width_multiplier": "w_m of DenseNets (the reference's, or 0.25:3:0.25) and MobileNetV2s (0.35:1.4:0.05)",
        "tc": "long-range channels, t_c; each cell on its own (0:300:5; MLPs 0:40)",
        "depth": "layers of MLPs, d (4:40)",
        "width": "neurons per layer of MLPs, w (the reference's, or 2:64:2)",
        "repeats": "blocks of MobileNetV2s; each stage on its own (1:6)",
    }
    for name in GRIDS:
        grids.add_argument(option_name(name), type=grid(option_name(name)), metavar="GRID", help=meaning[name])
    return parser


def require_budget(options: Namespace) -> None:
    """Refuse a search without a reference that nothing limits, and a family beside a reference, which has one.

    Raises:
        ValueError: It says what is missing.
    """
    if options.like:
        refuse_unread("--like", "no --like", family=options.family)
    elif not (options.max_params or options.max_macs or options.rule == "d-optimal"):
        raise ValueError("Expected --max-params, --max-macs or a reference, --like, but got none of them.")
    elif options.rule == "fewest-params" and not options.min_mass:
        raise ValueError("Expected --min-mass or a reference, --like, with the rule fewest-params, but got neither.")


def option_name(name: str) -> str:
    """Return the option that chooses the grid of an argument.

    Example:
        >>> option_name("cell_depth")
        '--cell-depth'
    """
    return hyphenated(f"--{name}")
