"""study: many networks, one table, and what explains their accuracy."""

from collections.abc import Sequence

from nnmass.commands.options.parser import Actions, Parser
from nnmass.commands.study import benchmark, compare, plan, report, status, submit
from nnmass.commands.study import run as running

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Run an action on a study.

    Args:
        arguments: ``study`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass study",
        "Train many networks, and ask what explains their accuracy: NN-Mass, or size.",
        [
            "nnmass study plan digits_mlp",
            "nnmass study run mnist_mlp --data-dir ~/data",
            "nnmass study report runs/study_mnist_mlp",
        ],
    )
    actions = Actions(parser, "action")
    for module in (plan, running, submit, status, report, compare, benchmark):
        module.add_to(actions)
    options = parser.parse_args(list(arguments)[1:])
    options.run(options)
    return 0
