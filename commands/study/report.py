"""study report: table, fits, figures and page of the rows that are finished."""

import shlex
from argparse import Namespace
from pathlib import Path

from nnmass.commands.options.parser import Actions
from nnmass.commands.study.opened import OpenedStudy, add_output_dir, add_study, open_one, require_same_study

__all__ = ["add_to"]


def add_to(actions: Actions) -> None:
    """Add the action ``report``."""
    examples = ["nnmass study report runs/study_mnist_mlp"]
    parser = actions.add("report", "write tables, fits, figures and the page, as HTML and Markdown", _report, examples)
    add_study(parser)
    add_output_dir(parser)


def _report(options: Namespace) -> None:
    from nnmass.runtime.tables import terminal
    from nnmass.studies.declared import require_report
    from nnmass.studies.report.writer import write_study_report
    from nnmass.studies.rows import statuses

    opened = open_one(options)
    console = terminal()
    study, _, rows, folder = opened
    require_same_study(opened)
    _require_same_rows(opened, Path(options.studies[0]).expanduser())
    require_report(study, rows)
    status_by_row = list(statuses(folder, rows, study).values())
    unmeasured = status_by_row.count("unmeasured")
    done = status_by_row.count("finished") + unmeasured
    if unmeasured:
        lacking = f"Of {len(rows)} rows {unmeasured} lack a measurement that the study asks for"
        console.print(f"{lacking}; nnmass study run takes it, and trains nothing again.", highlight=False)
    if done < len(rows):
        console.print(f"Of {len(rows)} rows {done} are finished; nnmass study run fills the others.", highlight=False)
    for table in write_study_report(study, folder):
        console.print(table)
    console.print(f"Written to {folder}; {folder / 'report.html'} opens in a browser.")


def _require_same_rows(opened: OpenedStudy, given: Path) -> None:
    """Refuse a folder that an older version of the study has filled.

    Args:
        opened: The study.
        given: What the command names it by: its YAML, or its folder.

    Raises:
        ValueError: If its rows are others.
    """
    study, _, rows, folder = opened
    listed = folder / "rows.txt"
    if listed.is_file() and set(listed.read_text(encoding="utf-8").split()) != {row.id for row in rows}:
        quoted = shlex.quote(str(folder))
        if given.is_dir():
            raise ValueError(
                f"Expected {folder} to hold the rows of its study.yaml, but they are others: that file or one in "
                f"configs was changed; nnmass study run {quoted} fills the rows that it has now."
            )
        raise ValueError(
            f"Expected {folder} to hold this version of the study {study.name}, but its rows are others; nnmass study "
            f"run fills this one, nnmass study report {quoted} reports on the rows that are there."
        )
