"""Topology, size and cost of the rows of a study, before anything is trained."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nnmass.studies.definition import Row, Study
from nnmass.studies.outline import outline
from nnmass.studies.sizes import closed_size, size_by, size_of

if TYPE_CHECKING:
    from nnmass.datamodules.base import DataModule
    from nnmass.datamodules.loader import ResumableLoader

__all__ = ["planned"]


def planned(study: Study, rows: Sequence[Row], timed: bool = False) -> Iterator[dict[str, Any]]:
    """Compute topology, size and cost of every architecture of a study.

    Where a configuration is plain and its network has closed forms, nothing is built, and the data set is taken as it
    is published; else the data at hand are counted.

    Args:
        study: The study.
        rows: Its rows.
        timed: Take a few steps of the training on this machine, with the data at hand.

    Yields:
        ``config``, ``network``, ``seeds``, topology and size; where something is to be trained also ``training_macs``
        (three times the MACs, for the way forward and back, of all samples of all epochs), ``published`` (data set and
        number of samples, where these are the published ones), and ``seconds`` of one training if it is timed. Both
        numbers are missing where no number of epochs is given, and where the data are needed and not at hand;
        ``reason`` says what of these is. The MACs are missing too where training images have another size.
    """
    seeds = Counter((row.config, row.network) for row in rows)
    first = {(row.config, row.network): row for row in reversed(rows)}
    shared: dict[str, _Data] = {}
    for key, number in seeds.items():
        row = first[key]
        facts = {"config": row.config, "network": row.network, "seeds": number}
        if not row.configuration:
            yield facts | size_of(row)
            continue
        cost = None if timed else _as_published(row)
        if cost is None:
            if row.config not in shared:
                shared[row.config] = _at_hand(row)
            cost = _as_at_hand(study, row, shared[row.config], timed)
        yield facts | cost


def _as_published(row: Row) -> dict[str, Any] | None:
    """Compute size and cost by the configuration alone; None where it does not say enough."""
    published = outline(row.configuration)
    size = None if published is None else closed_size(row, published.facts)
    if published is None or size is None:
        return None
    return size | _training_macs(row, size, published.samples) | {"published": (published.data, published.samples)}


class _Data(NamedTuple):
    """Data that the rows of one configuration share, and their batches if they are at hand."""

    data: "DataModule"
    loader: "ResumableLoader | None"
    reason: str


def _at_hand(row: Row) -> _Data:
    _, data = row.build()
    if hasattr(data, "download"):
        data.download = False
    try:
        data.prepare_data()
        return _Data(data, data.training_batches(), "")
    except (OSError, ValueError) as error:
        return _Data(data, None, str(error))


def _as_at_hand(study: Study, row: Row, shared: _Data, timed: bool) -> dict[str, Any]:
    """Compute size and cost by the data themselves, and by a few steps if they are timed."""
    size = closed_size(row, shared.data)
    if shared.loader is None:
        return (size or size_of(row)) | {"reason": shared.reason}
    samples, steps = shared.loader.sampler.num_samples, len(shared.loader)
    # MACs are those of the test; of smaller training images they are not known.
    same = shared.data.train_input_size == shared.data.input_size
    if not timed:
        size = size or size_of(row)
        return size | (_training_macs(row, size, samples) if same else {})
    from nnmass.studies.timing import seconds_alone, seconds_together

    model, _ = row.build()
    size = size or size_by(row, model, shared.data)
    per_step = (seconds_together if study.engine == "ensemble" else seconds_alone)(model, shared.data, row)
    epochs = _epochs(row)
    seconds = {} if epochs is None else {"seconds": per_step * steps * epochs}
    return size | (_training_macs(row, size, samples) if same else {}) | seconds


def _epochs(row: Row) -> int | None:
    """Return the epochs of a training; None where nothing, or something else, ends it."""
    epochs = (row.configuration.get("trainer") or {}).get("max_epochs")
    return epochs if isinstance(epochs, int) and epochs > 0 else None


def _training_macs(row: Row, size: dict[str, Any], samples: int) -> dict[str, int]:
    epochs = _epochs(row)
    return {} if epochs is None else {"training_macs": 3 * size["macs"] * samples * epochs}
