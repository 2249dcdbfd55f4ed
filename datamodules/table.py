"""Images listed in a CSV file, with their labels and perhaps the part of the data set that they belong to."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nnmass.datamodules.folder import PARTS
from nnmass.datamodules.labelled import Found, LabelledImages, in_order
from nnmass.datamodules.listing import as_text
from nnmass.datamodules.sources import ImageFilesOfClasses
from nnmass.zoo.weights.images import FORMAT_OF

__all__ = ["ImageTable"]


class _Row(NamedTuple):
    line: int
    file: str
    label: str
    part: str


class ImageTable(LabelledImages):
    """Images that a CSV file lists: a header, then one line for each image.

    Classes are the labels that occur, in the order of their names; labels that are all whole numbers in that of the
    numbers. Without a column of parts, a test and a validation set are split off.

    Args:
        table: The CSV file; commas, semicolons or tabs separate its columns.
        data_dir: Folder to which the files' names are relative; by default that of the table.
        file_column: Heading of the files' names.
        label_column: Heading of the labels, which are names or numbers.
        split_column: Heading of the parts, ``train``, ``val`` or ``test``; the column may be absent.
    """

    def __init__(
        self,
        table: str,
        data_dir: str | None = None,
        file_column: str = "file",
        label_column: str = "label",
        split_column: str = "split",
        **kwargs: Any,
    ) -> None:
        self.table = Path(table).expanduser()
        self.file_column, self.label_column, self.split_column = file_column, label_column, split_column
        super().__init__(data_dir=data_dir or str(self.table.parent), **kwargs)

    def find(self) -> Found:
        """Read the table."""
        rows = list(self._rows())
        if not rows:
            raise ValueError(f"Expected images in {as_text(self.table)}, but it lists none.")
        self._require_each_once(rows)
        self._listed = rows
        classes = in_order({row.label for row in rows})
        numbers = {name: number for number, name in enumerate(classes)}
        sources = {}
        for part in ("train", "val", "test"):
            there = [row for row in rows if row.part == part]
            if there:
                labels = [numbers[row.label] for row in there]
                sources[part] = ImageFilesOfClasses(self.data_dir, [row.file for row in there], labels)
        if "train" not in sources:
            raise ValueError(f"Expected images to train on in {as_text(self.table)}, but it lists none.")
        return Found(as_text(self.table), classes, sources)

    def prepare_data(self) -> None:
        """Look for the files; divide, decode and measure.

        Raises:
            FileNotFoundError: If one is not there; the message names its line.
        """
        for row in self._listed:
            if not (self.data_dir / row.file).is_file():
                place = f"line {row.line} of {as_text(self.table)}"
                raise FileNotFoundError(
                    f"Expected the image of {place}, but there is no file {as_text(self.data_dir / row.file)}."
                )
        super().prepare_data()

    def _rows(self) -> Iterator[_Row]:
        """The lines of the table, each as it must be.

        Raises:
            ValueError: If one is not; the message names it.
            FileNotFoundError: If there is no table.
        """
        name = as_text(self.table)
        if not self.table.is_file():
            raise FileNotFoundError(f"Expected data.table to be a CSV file, but got {name}.")
        try:
            text = self.table.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"Expected {name} to be text in UTF-8, but it is not.") from error
        header = text.partition("\n")[0]
        lines = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=header.count), restval="")
        columns = [column.strip() for column in lines.fieldnames or ()]
        lines.fieldnames = columns
        for column in (self.file_column, self.label_column):
            if column not in columns:
                found = ", ".join(columns) or "nothing"
                raise ValueError(f"Expected the column {column} in line 1 of {name}, but got {found}.")
        for entries in lines:
            place = f"line {lines.line_num} of {name}"
            file, label = (entries[column].strip() for column in (self.file_column, self.label_column))
            if not file:
                raise ValueError(f"Expected the name of a file in {place}, but it is missing.")
            if not label:
                raise ValueError(f"Expected a label for {file} in {place}, but it is missing.")
            if Path(file).suffix.lower() not in FORMAT_OF:
                raise ValueError(f"Expected an image ({', '.join(sorted(FORMAT_OF))}) in {place}, but got {file}.")
            word = entries[self.split_column].strip() if self.split_column in columns else "train"
            part = next((part for part, words in PARTS.items() if word.lower() in words), None)
            if part is None:
                found = repr(word) if word else "nothing"
                raise ValueError(f"Expected train, val or test for {file} in {place}, but got {found}.")
            yield _Row(lines.line_num, file, label, part)

    def _require_each_once(self, rows: Sequence[_Row]) -> None:
        """Refuse an image that is listed twice: it might be trained on and tested on.

        Raises:
            ValueError: It names both lines.
        """
        first: dict[str, int] = {}
        for row in rows:
            if row.file in first:
                lines = f"lines {first[row.file]} and {row.line}"
                raise ValueError(f"Expected each image once in {as_text(self.table)}, but got {row.file} in {lines}.")
            first[row.file] = row.line
