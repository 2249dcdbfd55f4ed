"""study status: which rows are finished, running, failed or missing."""

from argparse import Namespace

from nnmass.commands.options.parser import Actions
from nnmass.commands.study.opened import OpenedStudy, add_output_dir, add_study, open_one, require_same_study

__all__ = ["add_to", "print_status"]


def add_to(actions: Actions) -> None:
    """Add the action ``status``."""
    parser = actions.add("status", "show what has become of the rows", _status, ["nnmass study status mnist_mlp"])
    add_study(parser)
    add_output_dir(parser)


def _status(options: Namespace) -> None:
    print_status(open_one(options))


def print_status(opened: OpenedStudy) -> None:
    """Print how many rows have which status, and why rows have failed.

    Raises:
        ValueError: If the folder is that of another study.
    """
    from collections import Counter

    from nnmass.runtime.tables import rich_table, terminal
    from nnmass.studies.rows import read_row, row_folder, statuses

    require_same_study(opened)
    status_by_row = statuses(opened.folder, opened.rows, opened.study)
    counts = Counter(status_by_row.values()).most_common()
    console = terminal()
    console.print(rich_table(f"Study {opened.study.name}", ["status", "rows"], counts))
    for row in opened.rows:
        if status_by_row[row.id] == "failed":
            console.print(f"{row.id}: {read_row(opened.folder, row)['reason']}", highlight=False, markup=False)
            log = row_folder(opened.folder, row) / "log.txt"
            if log.is_file():
                console.print(f"  its training has printed {log}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"The rows are in {opened.folder / 'rows'}.")
