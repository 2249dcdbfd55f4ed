"""Names of studies, jobs and runs, which become parts of paths and lines of job files."""

import unicodedata

__all__ = ["is_one_line", "require_name"]

_MOST_BYTES = 120  # beside a date and an id in the name of a folder, of which file systems take 255


def is_one_line(text: str) -> bool:
    """Return whether a text has no control characters and no line breaks of any kind.

    Example:
        >>> is_one_line("digits mlp"), is_one_line("a\\ntouch b"), is_one_line("a\\u2028b")
        (True, False, False)
    """
    return not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def require_name(what: str, name: str) -> None:
    """Refuse a name that would be a path, an option, or more than one line.

    Args:
        what: What it names, for the message.
        name: The name.

    Raises:
        ValueError: If it is one.

    Example:
        >>> require_name("the study's name", "digits_mlp-2.yaml")
        >>> require_name("the study's name", "../digits")
        Traceback (most recent call last):
        ValueError: Expected the study's name to be one line without slashes and a leading dash, but got '../digits'.
    """
    if not name or name in (".", "..") or name[0] == "-" or "/" in name or "\\" in name or not is_one_line(name):
        raise ValueError(f"Expected {what} to be one line without slashes and a leading dash, but got {name!r}.")
    if len(name.encode(errors="surrogateescape")) > _MOST_BYTES:
        raise ValueError(f"Expected {what} to have at most {_MOST_BYTES} bytes, but got {name!r}.")
