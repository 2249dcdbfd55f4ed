"""Types for options that are amounts, durations, grids of numbers or several names."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from fractions import Fraction

__all__ = ["amount", "duration", "grid", "name_list"]

_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SECONDS = {"us": Fraction(1, 10**6), "ms": Fraction(1, 1000), "s": Fraction(1)}


def amount(name: str) -> Callable[[str], float]:
    """Make a type for an option: a number with K, M, G or T behind it, small or capital, or none.

    Example:
        >>> amount("--max-params")("2.5M")
        2500000.0
    """

    def read(text: str) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.upper())
        if match is None or float(match[1]) == 0:
            raise ArgumentTypeError(
                f"Expected {name} to be a positive number such as 800K, 5M or 0.8G, but got {text}."
            )
        return float(Fraction(match[1]) * _FACTORS[match[2]])

    return read


def duration(name: str) -> Callable[[str], float]:
    """Make a type for an option: a time with its unit, in s.

    Example:
        >>> duration("--max-latency")("5ms")
        0.005
    """

    def read(text: str) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", text)
        if match is None or float(match[1]) == 0:
            raise ArgumentTypeError(f"Expected {name} to be a time such as 800us, 5ms or 0.1s, but got {text}.")
        return float(Fraction(match[1]) * _SECONDS[match[2]])

    return read


def grid(name: str) -> Callable[[str], list[int | float]]:
    """Make a type for an option: numbers, or ``from:to[:step]`` with both ends, or several of these with commas.

    Steps are exact, so that 0.1 adds up.

    Example:
        >>> grid("--width-multiplier")("1:2:0.5")
        [1, 1.5, 2]
        >>> grid("--depth")("4,8:16:4")
        [4, 8, 12, 16]
    """

    def read_part(text: str) -> list[int | float]:
        try:
            numbers = [Fraction(part) for part in text.split(":")]
        except (ValueError, ZeroDivisionError):
            numbers = []
        if not 1 <= len(numbers) <= 3 or (len(numbers) == 3 and numbers[2] <= 0):
            raise ArgumentTypeError(f"Expected {name} to be a number, from:to or from:to:step, but got {text}.")
        first, last, step = (*numbers, *(numbers[0], Fraction(1))[len(numbers) - 1 :])
        if last < first:
            raise ArgumentTypeError(f"Expected {name} to rise from its first number to its second, but got {text}.")
        if (last - first) / step >= 10**6:
            raise ArgumentTypeError(f"Expected {name} to hold at most a million numbers, but got {text}.")
        if last > 10**4:
            raise ArgumentTypeError(f"Expected {name} to hold numbers of at most 10000, but got {text}.")
        count = int((last - first) / step) + 1
        values = [first + step * index for index in range(count)]
        return [int(value) if value.denominator == 1 else float(value) for value in values]

    def read(text: str) -> list[int | float]:
        return sorted({value for part in text.split(",") for value in read_part(part)})

    return read


def name_list(text: str) -> list[str]:
    """Read names with commas between.

    Example:
        >>> name_list("synflow, naswot")
        ['synflow', 'naswot']
    """
    return [name.strip() for name in text.split(",")]
