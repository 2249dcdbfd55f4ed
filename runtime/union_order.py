"""Order of the types of an option that takes several, which decides what a number is read as."""

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, get_args

__all__ = ["read_integers_first"]


def read_integers_first(function: Callable[..., Any]) -> None:
    """Let options of integers and floats be read as integers where they are such.

    ``typing`` takes ``Union[int, float]`` and ``Union[float, int]`` for one and keeps whichever came first, in whatever
    library: in the other order 1, a single batch, is read as 1.0, all of them.

    Args:
        function: Its annotations are changed in place, by unions that ``typing`` does not keep.
    """
    for name, annotation in function.__annotations__.items():
        types = get_args(annotation)
        if float in types and int in types[types.index(float) :]:
            function.__annotations__[name] = reduce(or_, (int, *(one for one in types if one is not int)))
