"""Data sets in the formats of Hugging Face's datasets, on the user's own disk."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from nnmass.datamodules.cache import fingerprint
from nnmass.datamodules.folder import PARTS
from nnmass.datamodules.labelled import Found, LabelledImages, classes_that_occur, in_order
from nnmass.datamodules.listing import as_text
from nnmass.datamodules.sources import ImageSource
from nnmass.zoo.weights.images import FORMAT_OF, decoding

__all__ = ["HuggingFaceImages"]


class HuggingFaceImages(LabelledImages):
    """A folder that ``datasets`` has saved (``save_to_disk``), or one of parquet or image files that it can read.

    Nothing is ever fetched. Parts are kept; others are split off the training set.

    Args:
        data_dir: The folder.
        image_column: Column of images; by default the only one.
        label_column: Column of classes; by default the only one, else ``label``.
    """

    def __init__(
        self, data_dir: str, image_column: str | None = None, label_column: str | None = None, **kwargs: Any
    ) -> None:
        self.image_column, self.label_column = image_column, label_column
        super().__init__(data_dir=data_dir, **kwargs)

    def find(self) -> Found:
        """Open the data set, and read its labels."""
        name, tables = as_text(self.data_dir), self._parts()
        first = next(iter(tables.values()))
        image = self._column(first, "image", self.image_column, "Image")
        label = self._column(first, "label", self.label_column, "ClassLabel")
        answers = {part: list(table[label]) for part, table in tables.items()}
        for part, found in answers.items():
            unknown = next((row for row, answer in enumerate(found) if answer is None or answer == -1), None)
            if unknown is not None:
                raise ValueError(f"Expected a label in row {unknown} of the {part} set of {name}, but it is missing.")
        names = list(getattr(first.features[label], "names", None) or [])
        if not names:
            names = in_order({str(answer) for found in answers.values() for answer in found})
            numbers = {one: number for number, one in enumerate(names)}
            answers = {part: [numbers[str(answer)] for answer in found] for part, found in answers.items()}
        sources = {
            part: _Images(table, image, answers[part], f"the {part} set of {name}") for part, table in tables.items()
        }
        return Found(name, classes_that_occur(sources, names), sources)

    def _parts(self) -> dict[str, Any]:
        """The tables of the parts, by their names here.

        Raises:
            ValueError: If the folder holds no such data, or no training set.
            FileNotFoundError: If there is no such folder.
        """
        if not self.data_dir.is_dir():
            raise FileNotFoundError(
                f"Expected data.data_dir to be a folder of images, but got {as_text(self.data_dir)}."
            )
        loaded = _loaded(self.data_dir)
        splits = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
        if len(splits) == 1:
            return {"train": next(iter(splits.values()))}
        parts = {
            part: table for part, words in PARTS.items() for word, table in splits.items() if word.lower() in words
        }
        if "train" not in parts:
            raise ValueError(f"Expected a train split in {as_text(self.data_dir)}, but got {', '.join(splits)}.")
        return parts

    def _column(self, table: Any, what: str, given: str | None, kind: str) -> str:
        """The column of images or of labels.

        Raises:
            ValueError: If there is none, or it is not clear which.
        """
        columns = table.column_names
        of_kind = [column for column, feature in table.features.items() if type(feature).__name__ == kind]
        chosen = given or (of_kind[0] if len(of_kind) == 1 else what if what in columns else None)
        if chosen is None or chosen not in columns or (kind == "Image" and chosen not in of_kind):
            found = f"{given} among" if given else "none, or several, among"
            raise ValueError(
                f"Expected data.{what}_column to name a column of {what}s of {as_text(self.data_dir)}, but got {found} "
                f"{', '.join(columns)}."
            )
        return chosen


class _Images(ImageSource):
    """Images of a table, decoded by the formats that are known here and no other.

    Args:
        table: Of ``datasets``.
        column: Of images.
        labels: Their classes.
        name: Of the table, for messages.
    """

    def __init__(self, table: Any, column: str, labels: list[int], name: str) -> None:
        from datasets import Image as Feature

        self.table = table.select_columns([column]).cast_column(column, Feature(decode=False))
        self.column, self.name = column, name
        self.labels = torch.tensor(labels, dtype=torch.int64)

    def __getitem__(self, index: int) -> Path | Image.Image:
        entry = self.table[index][self.column]
        if entry is None:
            raise ValueError(f"Expected an image in row {index} of {self.name}, but it is missing.")
        if entry["bytes"] is None:
            return Path(entry["path"])
        with decoding(f"row {index} of {self.name}"):
            image = Image.open(BytesIO(entry["bytes"]), formats=sorted(set(FORMAT_OF.values())))
            image.load()
        return image

    def fingerprint(self) -> str:
        """Fingerprint of the files that hold the table."""
        files = sorted({Path(file["filename"]) for file in self.table.cache_files})
        return hashlib.sha256(f"{fingerprint(files)} {self.column} {len(self)}".encode()).hexdigest()[:16]


def _loaded(folder: Path) -> Any:
    """Read a folder by ``datasets``.

    Raises:
        ValueError: If it is not installed, or reads nothing there.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"Expected {error.name} for HuggingFaceImages; pip install 'nnmass[huggingface]' brings it."
        ) from error
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        if saved:
            return datasets.load_from_disk(str(folder))
        return datasets.load_dataset(str(folder.absolute()), cache_dir=str(folder / ".cache" / "huggingface"))
    except Exception as error:  # of damaged files, of whatever reader
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"Expected a data set of Hugging Face in {as_text(folder)}, but datasets says: {reason}."
        ) from error
