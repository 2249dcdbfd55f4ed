"""Fill the rows of a study, by whichever engine it names."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nnmass.studies.definition import Row, Study
from nnmass.studies.ensemble.engine import fill_together
from nnmass.studies.fit_engine import fill_by_fit
from nnmass.studies.measurer import Measurer
from nnmass.studies.rows import Lacking, claimed, lacking, read_row, write_row
from nnmass.studies.sizes import size_of
from nnmass.studies.work import Watch, Work, begun, failed, now

__all__ = ["run_study"]


def run_study(
    study: Study,
    rows: Sequence[Row],
    folder: Path,
    workers: int,
    limit: int | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Fill all rows that are neither finished nor another process's; those that failed earlier are tried once more.

    Rows that are trained, but lack a measurement, come first, and are measured alone.

    Args:
        study: The study.
        rows: Its rows, or some of them.
        folder: The study's folder.
        workers: Trainings at once.
        limit: Rows after which to end, measured or trained; only the engine ``fit`` counts those that it trains.
        watch: Told of every row at work, its epochs so far and its newest metrics.

    Yields:
        Every row that has come to its end, with its record; a row that failed says why, and stops no other.

    Raises:
        ValueError: If the engine cannot train what the study asks for.
    """
    engine = {"fit": fill_by_fit, "ensemble": fill_together, "published": _published}[study.engine]
    work = Work(study, folder, workers, now(), limit, **({"watch": watch} if watch else {}))
    measured = 0
    for ended in islice(_measured_again(work, rows), limit):
        measured += 1
        yield ended
    if measured != limit:
        work = work._replace(limit=limit and limit - measured)
        yield from engine(work, [row for row in rows if not work.is_done(row)])


def _measured_again(work: Work, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Measure trained networks, as they were before their training, by what the study did not ask for then."""
    measure = Measurer(work.study.jacobian, work.study.measures)
    for row in rows:
        if _lacks(work, row) is None:
            continue  # without a lock, for which others would wait
        with claimed(work.folder, [row]) as ours:
            lacks = _lacks(work, row) if ours else None
            if lacks is None:
                continue
            record = read_row(work.folder, row)
            try:
                model, data = row.build()
                data.prepare_data()
                record = measure.added(record, lacks, row, model, data)
                write_row(work.folder, row, record)
            except Exception as error:  # the row stays as it is on disk: its training is not in doubt
                record = {**failed(record, error), "status": "unmeasured"}
            yield row, record


def _lacks(work: Work, row: Row) -> Lacking | None:
    """Return what a trained row lacks; None of a row that is to be trained, which is measured then."""
    record = read_row(work.folder, row)
    return lacking(work.study, record) if record.get("status") == "finished" else None


def _published(work: Work, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Topology of each network beside the accuracy that is given."""
    for row in rows:
        with work.ours([row]) as ours:
            if ours:
                accuracy = (row.accuracy or 0.0) / 100
                record = {**begun(work.study, row), **size_of(row), "test_accuracy_last": accuracy}
                record["status"] = "finished"
                write_row(work.folder, row, record)
                yield row, record
