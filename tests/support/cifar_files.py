"""CIFAR-10 and CIFAR-100 in their official layout, made small, for tests."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets


def write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch, honest: bool = True) -> None:
    """CIFAR-10's official layout with 20 images a file, its MD5 sums made known to torchvision."""
    _write(folder, monkeypatch, "CIFAR10", [f"data_batch_{n}" for n in range(1, 6)], ["test_batch"], honest)


def write_cifar100(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for CIFAR-100, two images a class in either file."""
    _write(folder, monkeypatch, "CIFAR100", ["train"], ["test"])


def _write(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, train: list[str], test: list[str], honest: bool = True
) -> None:
    official = getattr(datasets, name)
    folder = folder / official.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    classes = 100 if name == "CIFAR100" else 10
    key = "fine_labels" if name == "CIFAR100" else "labels"

    def write(file: str, content: dict) -> list[str]:
        data = pickle.dumps(content)
        (folder / file).write_bytes(data)
        return [file, hashlib.md5(data if honest else b"other").hexdigest()]

    def batch() -> dict:
        count = 2 * classes
        return {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8), key: [i % classes for i in range(count)]}

    monkeypatch.setattr(official, "train_list", [write(file, batch()) for file in train])
    monkeypatch.setattr(official, "test_list", [write(file, batch()) for file in test])
    names = {official.meta["key"]: [f"class_{label}" for label in range(classes)]}
    file, digest = write(official.meta["filename"], names)
    monkeypatch.setattr(official, "meta", {**official.meta, "filename": file, "md5": digest})
