"""The parser of the subcommands that do not train: errors are one sentence, help is short and has an example."""

import re
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

__all__ = ["MOST_PROCESSES", "Parser", "at_least", "refuse_unread", "user_path"]

MOST_PROCESSES = 1024  # that a command starts, on the largest machines that there are

_CHOICE = re.compile(r"argument (\S+): invalid choice: (.+?) \(choose from (.+)\)")
_NO_VALUE = re.compile(r"argument (?:\S+/)?(\S+): expected one argument")
_REQUIRED = re.compile(r"the following arguments are required: (.+)")


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
        """Raise what is wrong, with the nearest name for one that is not known.

        Raises:
            ValueError: Always.
        """
        raise ValueError(self._sentence(message))

    def _sentence(self, message: str) -> str:
        if message.startswith("unrecognized arguments"):
            unknown = message.removeprefix("unrecognized arguments: ").split()[0]
            known = [option for action in self._actions for option in action.option_strings]
            hint = _near(unknown, known) or f"; {self.prog} --help lists them."
            return f"Expected a known option, but got {unknown!r}{hint}"
        if "Expected " in message:  # from a type of ours, behind "argument --name: "
            return message[message.index("Expected ") :]
        if found := _CHOICE.search(message):
            choices = re.findall(r"[\w-]+", found[3])
            hint = _near(found[2].strip("'"), choices) or "."
            return f"Expected {found[1]} to be one of {', '.join(choices)}, but got {found[2]}{hint}"
        if found := _NO_VALUE.search(message):
            return (
                f"Expected {found[1]} to be followed by a value, but got nothing; "
                f"one that begins with - is written {found[1]}=-1."
            )
        if found := _REQUIRED.search(message):
            return f"Expected {self.prog} to be given {found[1]}, but got nothing; {self.prog} --help has examples."
        return f"{self.prog}: {message}."


def _near(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1) or get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def at_least(name: str, least: int, most: int | None = None) -> Callable[[str], int]:
    """A type for an option: whole numbers of at least ``least``.

    Args:
        name: The option, for the message.
        least: The smallest number allowed.
        most: The largest; None for no limit.
    """

    def number(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise ArgumentTypeError(f"Expected {name} to be a whole number of at least {least}, but got {text}.")
        if most is not None and int(text) > most:
            raise ArgumentTypeError(f"Expected {name} to be at most {most:,}, but got {text}.")
        return int(text)

    return number


def user_path(text: str) -> Path:
    """A type for an option: a path, in which ``~`` is the user's home also where the shell leaves it."""
    return Path(text).expanduser()


def refuse_unread(with_what: str, instead: str, **options: object) -> None:
    """Refuse options that nothing would read.

    Args:
        with_what: What else stands on the command line.
        instead: What they belong to.
        options: By their names; those that were not given are None.

    Raises:
        ValueError: It names the first that was given.
    """
    for name, value in options.items():
        if value is not None:
            option = f"--{name if name in ('output_dir', 'data_dir') else name.replace('_', '-')}"
            raise ValueError(f"Expected {option} with {instead} only, but got it with {with_what}.")
