"""Pickles of other people, read without running anything that they name."""

import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["Inert", "read_inert"]


class Inert:
    """An object of a pickle whose class is not loaded: it has the attributes that were saved, and does nothing."""


def read_inert(path: Path, classes: Collection[tuple[str, str]]) -> Any:
    """Read a pickle of numbers, texts and containers, in which objects of known classes become :class:`Inert`.

    Args:
        path: The file.
        classes: Module and name of each class that may occur; none of them is loaded.

    Raises:
        ValueError: If the file is no pickle, or names anything else, which a pickle could have run.
    """

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> type[Inert]:
            if (module, name) not in classes:
                raise ValueError(f"Expected {path} to hold numbers and texts only, but it names {module}.{name}.")
            return Inert

        def persistent_load(self, pid: Any) -> NoReturn:
            raise ValueError(f"Expected {path} to stand for itself, but it refers to {pid!r}.")

    with path.open("rb") as file:
        try:
            return Reader(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"Expected {path} to be a pickle, but it cannot be read: {error}.") from error
