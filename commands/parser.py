"""The parser of the subcommands that do not train: errors are one sentence, help is short and has an example."""

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from difflib import get_close_matches
from typing import NoReturn

__all__ = ["Parser", "at_least"]


class Parser(ArgumentParser):
    """argparse, with errors as exceptions that the command line prints as one sentence.

    Args:
        subcommand: Name of the subcommand.
        summary: What it does.
        examples: Command lines to show below the options.
    """

    def __init__(self, subcommand: str, summary: str, examples: list[str]) -> None:
        super().__init__(
            prog=f"nnmass {subcommand}",
            description=summary,
            epilog="\n".join(["examples:", *(f"  {example}" for example in examples)]),
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, with the nearest option for one that is not known.

        Raises:
            ValueError: Always.
        """
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized arguments"):
            known = [option for action in self._actions for option in action.option_strings]
            near = get_close_matches(unknown[0], known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; {self.prog} --help lists them."
            raise ValueError(f"Expected a known option, but got {unknown[0]!r}{hint}")
        if "Expected " in message:  # from a type of ours, behind "argument --name: "
            raise ValueError(message[message.index("Expected ") :])
        raise ValueError(f"{self.prog}: {message}.")


def at_least(name: str, least: int) -> Callable[[str], int]:
    """A type for an option: whole numbers of at least ``least``.

    Args:
        name: The option, for the message.
        least: The smallest number allowed.
    """

    def number(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise ArgumentTypeError(f"Expected {name} to be a whole number of at least {least}, but got {text}.")
        return int(text)

    return number
