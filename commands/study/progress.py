"""Progress of the rows of a study that are at work: bars on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Mapping
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from nnmass.studies.definition import Row

__all__ = ["RowsAtWork"]

_MOST_BARS = 8  # a GPU trains all rows of a study at once
_LINES_S = 60.0


class RowsAtWork:
    """Shows how many rows are done, and the epoch of each that is at work; threads may tell it.

    Args:
        console: Where to: on a terminal a bar for each of the first eight rows at work, else a line a minute.
        name: Of the study.
        total: Number of rows.
        done: How many of them are finished already.
        lines_s: Least time between two lines.
    """

    def __init__(self, console: Console, name: str, total: int, done: int, lines_s: float = _LINES_S) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console, self._lines_s = console, lines_s
        self._progress = Progress(*columns, console=console, transient=True)
        self._all = self._progress.add_task(name, total=total, completed=done)
        self._rows: dict[str, str] = {}  # how far each row at work is, in words
        self._bars: dict[str, TaskID] = {}
        self._next_line = time.monotonic() + lines_s
        self._lock = Lock()

    def __enter__(self) -> "RowsAtWork":
        """Begin to show."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._progress.stop()

    def watch(self, row: Row, epochs: int, metrics: Mapping[str, float]) -> None:
        """Show how far a row is.

        Args:
            row: The row.
            epochs: How many it has behind it.
            metrics: Its newest.
        """
        last = (row.configuration.get("trainer") or {}).get("max_epochs")
        accuracy = f", val accuracy {metrics['val/accuracy']:.4f}" if "val/accuracy" in metrics else ""
        with self._lock:
            self._rows[row.id] = f"{row.id} epoch {epochs}{f'/{last}' if last else ''}{accuracy}"
            if not self._console.is_terminal:
                self._print_line()
                return
            if row.id not in self._bars and len(self._bars) < _MOST_BARS:
                self._bars[row.id] = self._progress.add_task("", total=last)
            if row.id in self._bars:
                self._progress.update(self._bars[row.id], completed=epochs, description=f"  {row.id}{accuracy}")

    def end(self, row: Row) -> None:
        """Count a row that has come to its end, whichever."""
        with self._lock:
            self._rows.pop(row.id, None)
            if row.id in self._bars:
                self._progress.remove_task(self._bars.pop(row.id))
            self._progress.advance(self._all)

    def _print_line(self) -> None:
        """Print how far all rows at work are, unless another line is recent."""
        if time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + self._lines_s
        shown = list(self._rows.values())[:_MOST_BARS]
        more = f"; and {len(self._rows) - len(shown)} more" if len(self._rows) > len(shown) else ""
        line = f"At work: {'; '.join(shown)}{more}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
