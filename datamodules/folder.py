"""Images in class folders, with or without a division into training, validation and test set."""

from pathlib import Path
from typing import Any

from nnmass.datamodules.labelled import Found, LabelledImages
from nnmass.datamodules.listing import as_text, files_of_classes, folders_in, names_of_classes, say_left_out
from nnmass.datamodules.sources import ImageFilesOfClasses

__all__ = ["ImageFolder"]

PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names of the folders of a data set's parts."""


class ImageFolder(LabelledImages):
    """Images in folders of classes, whose names are those of the classes.

    The folder holds ``train/CLASS/*`` and perhaps ``val/CLASS/*`` and ``test/CLASS/*``; or ``CLASS/*``, of which a test
    and a validation set are split off. What is not there is split off the training set. With ``train`` and ``val``
    alone, ``val`` is the test set, as ImageNet's, unless ``test_size`` is given.

    Args:
        data_dir: The folder.
    """

    def __init__(self, data_dir: str, **kwargs: Any) -> None:
        super().__init__(data_dir=data_dir, **kwargs)

    def find(self) -> Found:
        """List the files."""
        folder, others = self.data_dir, {}
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected data.data_dir to be a folder of images, but got {as_text(folder)}.")
        places = _parts_in(folder)
        names = folders_in(places["train"])
        for place in places.values():
            names_of_classes(places["train"], place, len(names))
        if not names:
            raise ValueError(f"Expected folders of classes in {as_text(places['train'])}, but found none.")
        sources = {}
        for part, place in places.items():
            files = files_of_classes(place, len(names))
            sources[part] = ImageFilesOfClasses(place, files.names, files.labels)
            others[place] = files.others
        self._others = others
        return Found(as_text(folder), [as_text(name) for name in names], sources)

    def prepare_data(self) -> None:
        """Say what is left out; divide, decode and measure."""
        for place, others in self._others.items():
            say_left_out(place, others)
        super().prepare_data()


def _parts_in(folder: Path) -> dict[str, Path]:
    """The folders of a data set's parts; the folder itself, as the training set, where it holds the classes.

    Raises:
        ValueError: If there is a validation or a test set alone, or a part has two folders.
    """
    names = folders_in(folder)
    found: dict[str, Path] = {}
    for part, words in PARTS.items():
        # A class may be called train, whose folder then holds images.
        places = [folder / name for name in names if name.lower() in words and folders_in(folder / name)]
        if len(places) > 1:
            listed = ", ".join(place.name for place in places)
            raise ValueError(f"Expected one folder of the {part} set in {as_text(folder)}, but got {listed}.")
        if places:
            found[part] = places[0]
    of_parts = [name for name in names if name.lower() in {word for words in PARTS.values() for word in words}]
    if names and (of_parts == names or found) and "train" not in found:
        raise ValueError(f"Expected folders of classes in {as_text(folder / 'train')}, but found none.")
    return found or {"train": folder}
