"""Trained networks by name: those in the package, and those in a folder or behind an address of the user's.

Beside the weights, NAME.safetensors, lies the record NAME.json, which ``nnmass release`` writes; nothing is fetched but
from an address that the user has set.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from nnmass.zoo.checks import require, require_choice

__all__ = ["RELEASED", "WEIGHTS_VARIABLE", "Pretrained", "find_pretrained", "list_pretrained"]

WEIGHTS_VARIABLE = "NNMASS_WEIGHTS"
"""Environment variable: a folder with weights and their records, or an address (https://...) of weights."""

RELEASED = Path(__file__).with_name("released")
"""Folder of the trained networks in the package."""

_CLASSES = ("MobileNetV2", "RandomSkipDenseNet", "RandomSkipMLP", "ResNet")
_ADDRESSES = ("https://", "http://", "file://")


@dataclass(frozen=True)
class Pretrained:
    """Record of a trained network.

    Attributes:
        name: As :func:`nnmass.zoo.create_model` takes it.
        file: Name of the file of its weights.
        bytes: Size of that file.
        sha256: Its checksum.
        network: ``class``, one of the zoo's, and ``init_args``.
        preprocessing: Fields of :class:`nnmass.zoo.Preprocessing`; None where samples are no images.
        classes: Names of the classes, in the order of the logits.
        data: The data set's class.
        seed: Of links, initial weights and the order of the samples.
        epochs: Length of the training.
        checkpoint: The weights that were taken, such as ``best.ckpt``.
        test: ``accuracy``, ``loss`` and what else was measured on the test set with these weights.
        topology: NN-Mass, densities, parameters, MACs.
        device: The one that it was trained on.
        versions: Those of the libraries.
        folder: Where the record lies.
    """

    name: str
    file: str
    bytes: int
    sha256: str
    network: Mapping[str, Any]
    preprocessing: Mapping[str, Any] | None
    classes: list[str]
    data: str
    seed: int
    epochs: int
    checkpoint: str
    test: Mapping[str, Any]
    topology: Mapping[str, Any]
    device: str | None
    versions: Mapping[str, str]
    folder: Path

    def weights(self) -> Path:
        """Find the file of weights beside the record, in the user's folder, or download it from the user's address.

        Raises:
            ValueError: If it is nowhere, or not the file whose checksum the record holds.
        """
        folders = [*_own_folder(), self.folder]
        path = next((folder / self.file for folder in folders if (folder / self.file).is_file()), None)
        if path is None and _place().startswith(_ADDRESSES):
            path = _downloaded(f"{_place().rstrip('/')}/{self.file}", self.sha256)
        require(
            path is not None,
            f"{self.file}, the weights of {self.name},",
            f"be in {' or '.join(map(str, folders))}",
            "no such file",
            f"{WEIGHTS_VARIABLE} names the folder, or the address, that has it.",
        )
        assert path is not None
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        require(found == self.sha256, f"the SHA-256 checksum of {path}", f"be {self.sha256}", found)
        return path

    def description(self) -> dict[str, Any]:
        """The record as checkpoints describe their network."""
        return {
            "format": 1,
            "network": {"class_path": f"nnmass.zoo.{self.network['class']}", "init_args": self.network["init_args"]},
            "input_size": self.topology["input_size"],
            "preprocessing": self.preprocessing,
            "classes": self.classes,
            "data": self.data,
        }


def list_pretrained(pattern: str = "*") -> list[str]:
    """Names of the trained networks that match a shell-style pattern, sorted.

    Args:
        pattern: For example ``"mlp_*"``.

    Example:
        >>> list_pretrained("dense_d*")
        ['dense_digits']
    """
    return sorted(name for name in _records() if fnmatchcase(name, pattern))


def find_pretrained(name: str) -> Pretrained:
    """Find the record of a trained network; what the user's folder holds comes before the package.

    Args:
        name: One of :func:`list_pretrained`.

    Raises:
        ValueError: If there is none of this name, or its record is damaged.

    Example:
        >>> find_pretrained("dense_digits").data
        'Digits'
    """
    records = _records()
    if name not in records:
        near = get_close_matches(name, records, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(records))}."
        raise ValueError(f"Expected name to be a network with trained weights, but got {name!r}; {hint}")
    path = records[name]
    return _read(path, path.stat().st_mtime_ns)


def _records() -> dict[str, Path]:
    """Files of the records by name."""
    return {path.stem: path for folder in (RELEASED, *_own_folder()) for path in sorted(folder.glob("*.json"))}


def _place() -> str:
    return os.environ.get(WEIGHTS_VARIABLE, "")


def _own_folder() -> Iterator[Path]:
    place = _place()
    if place and not place.startswith(_ADDRESSES):
        folder = Path(place).expanduser()
        require(folder.is_dir(), WEIGHTS_VARIABLE, "be a folder or an address", repr(place))
        yield folder


@cache
def _read(path: Path, _changed: int) -> Pretrained:
    try:
        record = Pretrained(**json.loads(path.read_text(encoding="utf-8")), folder=path.parent)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Expected the record of a trained network in {path}, but {error}.") from error
    require_choice(f"the class in {path}", record.network.get("class"), _CLASSES)
    require(Path(record.file).name == record.file, f"the file in {path}", "be a name without folders", record.file)
    return record


def _downloaded(address: str, sha256: str) -> Path:
    """Download a file once, to where ``torch.hub`` keeps all others."""
    import torch

    path = Path(torch.hub.get_dir()) / "nnmass" / f"{sha256[:16]}_{address.rpartition('/')[2]}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path), hash_prefix=sha256)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"Expected weights that can be downloaded from {address}, but got: {error}.") from error
    return path
