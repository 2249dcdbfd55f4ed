"""Any data set of torchvision that has images and classes, by its name."""

import hashlib
import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from nnmass.datamodules.cache import cached
from nnmass.datamodules.labelled import Found, LabelledImages, classes_that_occur
from nnmass.datamodules.pixels import shown
from nnmass.datamodules.sources import ImageSource

__all__ = ["TorchvisionImages"]

# What torchvision calls the parts, most common first.
_WORDS = {"train": ("train", "trainval", "train-standard"), "val": ("val", "valid"), "test": ("test",)}
_LABELS = ("targets", "labels", "y")  # attributes that some of its classes have
_PROBED = 16  # images whose pixels enter a fingerprint


class TorchvisionImages(LabelledImages):
    """A classification data set of torchvision: SVHN, Flowers102, STL10, Food101 and others.

    Parts that torchvision tells apart are kept; others are split off the training set.

    Args:
        name: Name of its class in ``torchvision.datasets``.
        data_dir: Folder that torchvision calls ``root``; by default the environment variable ``NNMASS_DATA``, else
            ``data``.
        download: Fetch the files when they are not there.
        arguments: What else the class takes, such as ``{split: letters}`` of EMNIST.
    """

    def __init__(
        self,
        name: str,
        data_dir: str | None = None,
        download: bool = False,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.data_name, self.download, self.arguments = name, download, dict(arguments or {})
        super().__init__(data_dir=data_dir, **kwargs)

    def find(self) -> Found:
        """Build torchvision's data sets, and read their labels."""
        official = _official(self.data_name)
        sources = {part: _Images(data, self.data_name) for part, data in self._built(official)}
        for source in sources.values():
            source.read_labels(self.data_dir / ".cache")
        named = getattr(next(iter(sources.values())).data, "classes", None) or []
        names = [name if isinstance(name, str) else ", ".join(map(str, name)) for name in named]
        return Found(self.data_name, classes_that_occur(sources, names), sources)

    def _built(self, official: type) -> Iterator[tuple[str, Any]]:
        """The parts that there are, by their names here."""
        known = _parameters(official)
        fixed: dict[str, Any] = {"root": str(self.data_dir)} if "root" in known else {}
        if "download" in known:
            fixed["download"] = self.download
        if "train" in known:
            for part in ("train", "test"):
                yield part, self._build(official, **fixed, train=part == "train")
        elif "split" in known and "split" not in self.arguments:
            for part, words in _WORDS.items():
                data = next(filter(None, (self._build(official, **fixed, split=word) for word in words)), None)
                if data is not None:
                    yield part, data
        else:
            yield "train", self._build(official, **fixed)

    def _build(self, official: type, **options: Any) -> Any:
        """One part; None if there is no split of that name.

        Raises:
            ValueError: If the class takes other arguments.
            FileNotFoundError: If the data are not there.
        """
        if not self.download:
            return self._tried(official, options)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(self.data_dir / f".{self.data_name}.lock"):
            return self._tried(official, options)

    def _tried(self, official: type, options: dict[str, Any]) -> Any:
        try:
            return official(**options, **self.arguments)
        except (ImportError, TypeError, ValueError) as error:
            if isinstance(error, ValueError) and "split" in options and "for argument split" in str(error):
                return None
            reason = " ".join(str(error).split())
            raise ValueError(f"Expected torchvision to build {self.data_name}, but it says: {reason}") from error
        except (OSError, RuntimeError) as error:
            hint = "" if self.download else "; run once with a network and --data.download true"
            reason = " ".join(str(error).split()).partition(" You can use download=True")[0].rstrip(".")
            raise FileNotFoundError(
                f"Expected {self.data_name} in data.data_dir ({self.data_dir.absolute()}), but torchvision says: "
                f"{reason}{hint}."
            ) from error


class _Images(ImageSource):
    """Images of a data set of torchvision.

    Args:
        data: The data set.
        name: Of its class.
    """

    def __init__(self, data: Any, name: str) -> None:
        self.data, self.name = data, name

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Image.Image:
        image = self._sample(index)[0]
        if not isinstance(image, Image.Image):
            raise ValueError(
                f"Expected a data set of images, but torchvision's {self.name} gives {type(image).__name__}."
            )
        return image

    def read_labels(self, cache: Path) -> None:
        """Read the labels: an attribute where there is one, else by a look at every sample, once.

        Args:
            cache: Folder in which they are kept.

        Raises:
            ValueError: If they are no classes.
        """
        for attribute in _LABELS:
            found = getattr(self.data, attribute, None)
            if found is not None and len(found) == len(self.data):
                self.labels = torch.as_tensor(found)
                break
        else:
            self.labels = cached(cache, f"labels-{self.name}-{self.fingerprint()}", self._looked_up)["labels"]
        if self.labels.ndim != 1 or self.labels.is_floating_point() or not len(self.labels):
            raise ValueError(f"Expected a data set of classes, but torchvision's {self.name} has other targets.")
        self.labels = self.labels.long()

    def fingerprint(self) -> str:
        """Fingerprint of some of the images, and of how many there are."""
        number = len(self.data)
        digest = hashlib.sha256(f"{self.data!r} {number}".encode())
        for index in sorted({position * number // _PROBED for position in range(_PROBED)} if number else ()):
            digest.update(self[index].tobytes())
        return digest.hexdigest()[:16]

    def _looked_up(self) -> dict[str, Tensor]:
        labels = [self._sample(index)[1] for index in shown(range(len(self.data)), len(self.data), "Reading labels")]
        if not all(isinstance(label, int) for label in labels):
            raise ValueError(f"Expected a data set of classes, but torchvision's {self.name} has other targets.")
        return {"labels": torch.tensor(labels)}

    def _sample(self, index: int) -> tuple[Any, Any]:
        try:
            image, label = self.data[index]
        except Exception as error:  # of damaged files, of whatever reader
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"Expected image {index} of {self.name} to be readable, but got: {reason}.") from error
        return image, label


def _official(name: str) -> type:
    """A class of torchvision.

    Raises:
        ValueError: If there is none of that name; the message names the nearest.
    """
    from torchvision import datasets

    bases = ("DatasetFolder", "ImageFolder", "VisionDataset")
    known = [one for one in datasets.__all__ if one not in bases and hasattr(getattr(datasets, one), "__getitem__")]
    if name not in known:
        near = get_close_matches(name.lower(), [one.lower() for one in known], n=1)
        hint = f"; did you mean {next(one for one in known if one.lower() == near[0])}?" if near else "."
        raise ValueError(f"Expected data.name to be a data set of torchvision, but got {name}{hint}")
    return getattr(datasets, name)


def _parameters(official: type) -> set[str]:
    """Arguments of a class, and of those that it hands arguments on to."""
    found: set[str] = set()
    for one in official.__mro__:
        if "__init__" in vars(one):
            parameters = inspect.signature(one).parameters
            found |= parameters.keys()
            if all(parameter.kind != inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
                break
    return found
