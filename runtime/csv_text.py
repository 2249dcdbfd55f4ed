"""Tables as CSV in which no text is a formula to the program that opens it."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["csv_text"]

# Spreadsheets calculate cells that begin so. Earlier apostrophes count along, so that taking one away is the inverse.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def csv_text(table: "pd.DataFrame", index: bool = False) -> str:
    r"""The table as CSV, with an apostrophe before each text that would begin a formula, such as a file's name.

    Numbers stay as they are, also negative ones and those that are texts. In pandas the inverse is
    ``table.replace(r"^'('*[=+\-@\t\r\n])", r"\1", regex=True)``.

    Args:
        table: Columns of numbers and texts.
        index: Whether the index is a column too.

    Example:
        >>> import pandas as pd
        >>> print(csv_text(pd.DataFrame({"file": ["=1+1.jpg", "a.jpg"], "change": [-1.5, 2.0]})), end="")
        file,change
        '=1+1.jpg,-1.5
        a.jpg,2.0
    """
    from pandas.api.types import is_numeric_dtype

    marked = table.rename(columns=_marked)
    for number, kind in enumerate(table.dtypes):
        if not is_numeric_dtype(kind):
            marked.isetitem(number, table.iloc[:, number].map(_marked).array)
    if index:
        marked = marked.rename(index=_marked).rename_axis(index=_marked(table.index.name))
    return marked.to_csv(index=index)


def _marked(cell: Any) -> Any:
    if not isinstance(cell, str) or not _FORMULA.match(cell) or _is_number(cell):
        return cell
    return f"'{cell}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
