"""Checks of arguments, which refuse a bad one with a sentence that names the argument, the rule and the value.

It needs neither torch nor any other library.
"""

import os
from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import inf
from operator import index
from typing import Any, TypeGuard

__all__ = [
    "has_one_per_cell",
    "require",
    "require_choice",
    "require_integer",
    "require_memory",
    "require_multiple",
    "require_non_negative",
    "require_one_per_cell",
    "require_shape",
]

_BYTES_PER_WEIGHT = 4  # networks are built in single precision


def require(holds: bool, name: str, rule: str, value: object, hint: str = "") -> None:
    """Refuse an argument that breaks a rule.

    Args:
        holds: Whether the argument keeps the rule.
        name: The argument.
        rule: The rule, beginning with a verb: ``be positive``.
        value: The argument's value, as the message is to show it.
        hint: A remedy with its full stop or question mark.

    Raises:
        ValueError: If the rule is broken.

    Example:
        >>> require(False, "level", "lie between 0 and 1", 2)
        Traceback (most recent call last):
        ValueError: Expected level to lie between 0 and 1, but got 2.
    """
    if not holds:
        raise _refusal(name, rule, value, hint)


def require_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a value that is none of the choices.

    Args:
        name: The argument.
        value: Its value.
        choices: Strings or numbers.

    Raises:
        ValueError: If it is none of them; the message lists them.
    """
    choices = list(choices)
    require(value in choices, name, f"be one of {', '.join(map(str, choices))}", repr(value))


def require_integer(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return an integer of Python, NumPy or torch as an int, if it lies between two limits.

    Args:
        name: The argument.
        value: Its value.
        least: The smallest integer that is allowed.
        most: The largest one; None for no limit.

    Raises:
        ValueError: If it is no integer (True and False are none), or too small or too large.

    Example:
        >>> require_integer("depth", 3, least=1)
        3
    """
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise _refusal(name, f"be an integer of at least {least}", repr(value))
    if most is not None and number > most:
        raise _refusal(name, f"be at most {most:,}", repr(value))
    return number


def require_shape(name: str, value: object) -> tuple[int, ...]:
    """Return sizes, or the only one, as a tuple of ints, if each is an integer of at least 1.

    Args:
        name: The argument.
        value: One integer, or a sequence, array or tensor of them.

    Raises:
        ValueError: If one of them is no integer, or below 1.

    Example:
        >>> require_shape("input_size", [3, 8, 8]), require_shape("input_size", 4)
        ((3, 8, 8), (4,))
    """
    sizes: Any = value if isinstance(value, Iterable) and getattr(value, "ndim", None) != 0 else (value,)
    return tuple(require_integer(name, size, 1) for size in sizes)


def require_multiple(name: str, value: float, shown: str | None = None) -> int:
    """Return a number that is to come out whole, such as a width times a multiplier, as an int.

    Args:
        name: The product.
        value: Its value.
        shown: How the message shows the value, by default as it is.

    Raises:
        ValueError: If it is no whole number of at least 1.

    Example:
        >>> require_multiple("width_multiplier times 16", 1.5 * 16)
        24
    """
    whole = 1 <= value < inf and value == round(value)
    require(whole, name, "be a whole number of at least 1", value if shown is None else shown)
    return round(value)


def require_non_negative(**arguments: float | Sequence[float]) -> None:
    """Refuse arguments, each one number or one per cell, of which any number is negative or NaN.

    Raises:
        ValueError: If there is one; the message names the argument.
    """
    for name, value in arguments.items():
        numbers: list = list(value) if has_one_per_cell(value) else [value]
        for number in numbers:
            require(number >= 0, name, "be non-negative", repr(number))


def require_one_per_cell(name: str, value: Any, cells: int) -> list:
    """Return one value per cell of an argument that is a single value or a sequence of them.

    Args:
        name: The argument.
        value: A single value, which every cell gets, or one per cell.
        cells: Cells of the network.

    Raises:
        ValueError: If a sequence is of another length.

    Example:
        >>> require_one_per_cell("tc", 5, cells=3)
        [5, 5, 5]
    """
    values = list(value) if has_one_per_cell(value) else [value] * cells
    if len(values) != cells:
        raise _refusal(name, f"be one number or one per cell ({cells} cells)", f"{len(values)}: {values}")
    return values


def has_one_per_cell(value: Any) -> TypeGuard[Sequence[Any]]:
    """Return whether a value is a sequence, which has one value per cell, and not a single value."""
    return isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", 1) > 0


def require_memory(num_params: int) -> None:
    """Refuse a network whose weights this machine's memory cannot hold, before the first of them is made.

    Args:
        num_params: Learnable numbers.

    Raises:
        ValueError: If there are too many.
    """
    needed, memory = _BYTES_PER_WEIGHT * num_params, _memory()
    if memory is not None and needed > memory:
        raise ValueError(
            f"Expected a network that fits into the {memory / 1e9:.0f} GB of memory here, but got "
            f"{Decimal(num_params):.3g} parameters ({Decimal(needed) / 10**9:.3g} GB)."
        )


def _refusal(name: str, rule: str, value: object, hint: str = "") -> ValueError:
    return ValueError(f"Expected {name} to {rule}, but got {value}{f'; {hint}' if hint else '.'}")


def _memory() -> int | None:
    """Main memory of this machine, in B; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
