"""Parser of the subcommands that do not train: errors are one sentence, help is short and has an example."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["MOST_PROCESSES", "Actions", "Parser", "at_least", "hyphenated", "refuse_unread", "user_path"]

MOST_PROCESSES = 1024  # that a command starts, on the largest machines that there are

_CHOICE = re.compile(r"argument (\S+): invalid choice: (.+?) \(choose from (.+)\)")
_NO_VALUE = re.compile(r"argument (?:\S+/)?(\S+): expected one argument")
_REQUIRED = re.compile(r"the following arguments are required: (.+)")


class Parser(ArgumentParser):
    """argparse, with errors as exceptions that the command line prints as one sentence.

    Options are spelt with hyphens, as :func:`hyphenated` has them; the older spelling with underscores is taken too.

    Args:
        prog: The words of the command line that lead here, such as ``nnmass study``.
        summary: What it does.
        examples: Command lines to show below the options.
    """

    def __init__(self, prog: str, summary: str, examples: Sequence[str] = ()) -> None:
        super().__init__(
            prog=prog,
            description=summary,
            epilog="\n".join(["examples:", *(f"  {example}" for example in examples)]) if examples else None,
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.siblings: Mapping[str, Parser] = {}
        self.first: str | None = None

    # The two overloads of argparse say no more than this signature.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse words of which none may be left over, so that the parser whose options they are not names them.

        Raises:
            ValueError: If one is unknown or wrong.
        """
        words = [hyphenated(word) if self._knows(hyphenated(word)) else word for word in args or ()]
        if self.first is not None and words and words[0].startswith("-") and not self._knows(words[0]):
            raise ValueError(
                f"Expected {self.first} before any option, but got {words[0]!r}; {self.prog} --help lists them."
            )
        parsed, unknown = super().parse_known_args(words, namespace)
        if unknown:
            raise ValueError(self._second_value(words, unknown[0]) or self._unknown(unknown[0]))
        return parsed, []

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, with the nearest name for one that is not known.

        Raises:
            ValueError: Always.
        """
        raise ValueError(self._sentence(message))

    def _knows(self, word: str) -> bool:
        """Tell whether a word is an option of this parser, or one with its value."""
        return word.split("=")[0] in self._option_string_actions

    def _second_value(self, words: Sequence[str], word: str) -> str | None:
        """Return the sentence for a word that stands behind the value of an option; None if it does not."""
        option, value = ["", "", *words][words.index(word) :][:2] if word in words else ("", "")
        action = self._option_string_actions.get(option)
        if word.startswith("-") or value.startswith("-") or action is None or action.nargs is not None:
            return None
        described = f"{self.prog} --help describes it"
        return f"Expected {option} to be followed by one value, but got {value!r} and {word!r}; {described}."

    def _unknown(self, word: str) -> str:
        owners = [name for name, parser in self.siblings.items() if parser._knows(hyphenated(word))]
        if owners:
            own = self.prog.split()[-1]
            return f"Expected {hyphenated(word).split('=')[0]} with {' and '.join(owners)} only, but got it with {own}."
        hint = _near(word, list(self._option_string_actions)) or f"; {self.prog} --help lists them."
        return f"Expected a known option, but got {word!r}{hint}"

    def _sentence(self, message: str) -> str:
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


class Actions:
    """Parsers of a subcommand's actions, of which the first word behind the subcommand chooses one.

    Args:
        parser: The subcommand's.
        name: Of that word, for messages.
    """

    def __init__(self, parser: Parser, name: str) -> None:
        self._parsers = parser.add_subparsers(dest=name, required=True)
        parser.first = name

    def add(self, name: str, summary: str, run: Callable[[Namespace], object], examples: Sequence[str] = ()) -> Parser:
        """Add an action, which is to have its options added.

        Args:
            name: The word that chooses it.
            summary: What it does.
            run: What ``options.run`` of the parsed options is then.
            examples: Command lines to show below its options.
        """
        sentence = f"{summary[0].upper()}{summary[1:]}."
        parser: Parser = self._parsers.add_parser(name, help=summary, summary=sentence, examples=examples)
        parser.siblings = self._parsers.choices
        parser.set_defaults(run=run)
        return parser


def hyphenated(word: str) -> str:
    """Spell an option with hyphens, and leave a value behind ``=`` alone.

    Example:
        >>> hyphenated("--output_dir=my_runs")
        '--output-dir=my_runs'
    """
    option, equals, value = word.partition("=")
    return f"{option.replace('_', '-') if option.startswith('--') else option}{equals}{value}"


def _near(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1) or get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def at_least(name: str, least: int, most: int | None = None) -> Callable[[str], int]:
    """Make a type for an option: whole numbers of at least ``least``.

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
    """Read a path as an option's value, a path, in which ``~`` is the user's home also where the shell leaves it."""
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
            option = hyphenated(f"--{name}")
            raise ValueError(f"Expected {option} with {instead} only, but got it with {with_what}.")
