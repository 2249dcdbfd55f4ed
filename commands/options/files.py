"""Options that name a file to write."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

__all__ = ["new_file", "require_new"]


def new_file(name: str, *endings: str) -> Callable[[str], Path]:
    """Make a type for an option: a file whose ending decides its format.

    Args:
        name: The option or argument, for the message.
        endings: Those that there are, such as ``.csv``.
    """

    def path(text: str) -> Path:
        found = Path(text).expanduser()
        if found.suffix not in endings:
            raise ArgumentTypeError(f"Expected {name} to end in {' or '.join(endings)}, but got {text!r}.")
        return found

    return path


def require_new(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file without having been told to.

    Args:
        path: The file that is to be written.
        overwrite: Whether ``--overwrite`` is given.

    Raises:
        ValueError: If it exists and is not to be replaced, or is a folder.
    """
    if path.is_dir():
        raise ValueError(f"Expected the name of a file to write, but {path} is a folder.")
    if path.exists() and not overwrite:
        raise ValueError(f"Expected a file that does not exist yet, but {path} does; --overwrite replaces it.")
