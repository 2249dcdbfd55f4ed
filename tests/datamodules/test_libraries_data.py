"""Data sets of torchvision and of Hugging Face's datasets, in small files of their own formats, without a network."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from nnmass.datamodules import HuggingFaceImages, TorchvisionImages
from nnmass.datamodules.labelled import LabelledImages

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def of_torchvision(name: str, root: Path, **options: Any) -> TorchvisionImages:
    return TorchvisionImages(name, str(root), **{"resolution": 8, "num_workers": 0, "batch_size": 10, **options})


def sizes(data: LabelledImages) -> dict[str, int]:
    return {name: len(part.chosen) for name, part in data.parts.items()}


def trust(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let torchvision take the small files for the official ones, whose sums it knows."""
    import importlib

    monkeypatch.setattr(importlib.import_module(f"torchvision.datasets.{module}"), "check_integrity", lambda *_: True)


def write_svhn(root: Path) -> np.ndarray:
    for split, count in (("train", 40), ("test", 20)):
        images = RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        savemat(root / f"{split}_32x32.mat", {"X": images, "y": (np.arange(count) % 10 + 1)[:, None]})
    return images


def test_svhn_is_read_from_its_matrices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, "svhn")
    images = write_svhn(tmp_path)
    data = of_torchvision("SVHN", tmp_path, resolution=32, in_memory=True, val_size=10)
    data.prepare_data()
    assert (data.num_classes, data.class_names) == (10, list("0123456789"))
    assert sizes(data) == {"train": 30, "val": 10, "test": 20}
    bytes_, labels = data._on_device("test")
    assert torch.equal(bytes_, torch.from_numpy(images).permute(3, 2, 0, 1))
    assert labels.tolist() == [*range(1, 10), 0] * 2
    assert next(iter(data.train_dataloader()))[0].shape == (10, 3, 32, 32)


def test_stl10_is_read_from_its_binary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, "stl10")
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    names = [f"class{label}" for label in range(10)]
    (folder / "class_names.txt").write_text("\n".join(names))
    for split, count in (("train", 30), ("test", 10)):
        RNG.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tofile(folder / f"{split}_X.bin")
        (np.arange(count, dtype=np.uint8) % 10 + 1).tofile(folder / f"{split}_y.bin")
    data = of_torchvision("STL10", tmp_path)
    data.prepare_data()
    assert data.class_names == names
    assert sizes(data) == {"train": 20, "val": 10, "test": 10}
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (10, 3, 8, 8)
    assert labels.tolist() == list(range(10))


def test_dtd_has_its_own_three_parts_and_its_labels_are_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "dtd" / "dtd"
    for name in ("banded", "dotted"):
        (base / "images" / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(RNG.integers(0, 256, (12, 9, 3), dtype=np.uint8)).save(
                base / "images" / name / f"{number}.jpg"
            )
    (base / "labels").mkdir()
    for number, part in enumerate(("train", "val", "test")):
        (base / "labels" / f"{part}1.txt").write_text(f"banded/{number}.jpg\ndotted/{number}.jpg")
    data = of_torchvision("DTD", tmp_path)
    data.prepare_data()
    assert data.class_names == ["banded", "dotted"]
    assert sizes(data) == {"train": 2, "val": 2, "test": 2}
    from nnmass.datamodules.torchvision_images import _Images

    monkeypatch.setattr(_Images, "_looked_up", lambda _: pytest.fail("looked up again"))
    assert of_torchvision("DTD", tmp_path).class_names == ["banded", "dotted"]


def test_data_without_parts_are_split(tmp_path: Path) -> None:
    wanted = {"size": 60, "image_size": [3, 10, 10], "num_classes": 3}
    data = of_torchvision("FakeData", tmp_path, arguments=wanted, val_size=0.2, test_size=0.25)
    data.prepare_data()
    assert data.num_classes == 3
    assert sizes(data) == {"train": 36, "val": 9, "test": 15}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SVNH", "Expected data.name to be a data set of torchvision, but got SVNH; did you mean SVHN?"),
        ("ImageFolder", "Expected data.name to be a data set of torchvision, but got ImageFolder"),
        ("SVHN", "Expected SVHN in data.data_dir .*, but torchvision says: Dataset not found or corrupted; run once"),
        ("Flowers102", "Expected Flowers102 in data.data_dir .*run once with a network and --data.download true"),
        ("CocoDetection", "Expected torchvision to build CocoDetection, but it says: .*annFile"),
        ("Kitti", "Expected Kitti in data.data_dir .*Dataset not found"),
    ],
)
def test_what_torchvision_cannot_build_is_said(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as error:
        of_torchvision(name, tmp_path)
    assert "\n" not in str(error.value)


def test_targets_that_are_no_classes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    class Boxes(datasets.FakeData):
        def __getitem__(self, index: int) -> tuple[Any, Any]:
            return super().__getitem__(index)[0], [1, 2]

    monkeypatch.setattr(datasets, "FakeData", Boxes)
    with pytest.raises(ValueError, match="a data set of classes, but torchvision's FakeData has other targets"):
        of_torchvision("FakeData", tmp_path, arguments={"size": 4, "image_size": [3, 4, 4]})


def hugging_face(folder: Path, **options: Any) -> HuggingFaceImages:
    return HuggingFaceImages(str(folder), **{"resolution": 8, "num_workers": 0, "batch_size": 10, **options})


def table(count: int, labels: list[Any] | None = None, named: bool = True) -> Any:
    datasets = pytest.importorskip("datasets")
    images = [Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(count)]
    kind = datasets.ClassLabel(names=["cat", "dog", "owl"]) if named else None
    columns = {"image": images, "label": labels or [number % 3 for number in range(count)]}
    features = datasets.Features({"image": datasets.Image(), "label": kind}) if kind else None
    made = datasets.Dataset.from_dict(columns, features=features)
    return made if kind else made.cast_column("image", datasets.Image())


def test_what_datasets_has_saved_is_read_with_its_parts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    tables = {"train": table(18), "validation": table(6), "test": table(9)}
    datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "pets"))
    data = hugging_face(tmp_path / "pets")
    data.prepare_data()
    assert data.class_names == ["cat", "dog", "owl"]
    assert sizes(data) == {"train": 18, "val": 6, "test": 9}
    images, labels = next(iter(data.test_dataloader()))
    assert labels.tolist() == [0, 1, 2] * 3
    assert torch.equal(images[2], data.preprocessing.decode(tables["test"][2]["image"]))


def test_one_table_is_split_and_its_labels_may_be_numbers_or_words(tmp_path: Path) -> None:
    labels = [("10", "9", "b")[number % 3] for number in range(30)]
    table(30, labels, named=False).save_to_disk(str(tmp_path / "words"))
    data = hugging_face(tmp_path / "words", in_memory=True)
    data.prepare_data()
    assert data.class_names == ["10", "9", "b"]
    assert sizes(data) == {"train": 24, "val": 3, "test": 3}


def test_parquet_files_and_image_folders_are_read_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "parquet").mkdir()
    table(18).to_parquet(str(tmp_path / "parquet" / "train.parquet"))
    table(9).to_parquet(str(tmp_path / "parquet" / "test.parquet"))
    data = hugging_face(tmp_path / "parquet")
    data.prepare_data()
    assert data.class_names == ["cat", "dog", "owl"]
    assert sizes(data) == {"train": 15, "val": 3, "test": 9}
    for split in ("train", "test"):
        for name in ("ape", "bee"):
            (tmp_path / "folder" / split / name).mkdir(parents=True)
            for number in range(6):
                Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(
                    tmp_path / "folder" / split / name / f"{number}.png"
                )
    data = hugging_face(tmp_path / "folder")
    data.prepare_data()
    assert data.class_names == ["ape", "bee"]
    assert next(iter(data.test_dataloader()))[0].shape == (10, 3, 8, 8)


@pytest.mark.parametrize("fault", ["nothing", "no images", "missing label", "no folder", "column", "no train"])
def test_what_is_wrong_with_a_folder_of_hugging_face_is_said(tmp_path: Path, fault: str) -> None:
    datasets = pytest.importorskip("datasets")
    place, options = tmp_path / "pets", {}
    if fault == "nothing":
        place.mkdir()
    elif fault == "no images":
        datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).save_to_disk(str(place))
    elif fault == "missing label":
        table(3, [0, None, 1]).save_to_disk(str(place))
    elif fault == "column":
        table(6).save_to_disk(str(place))
        options["label_column"] = "breed"
    elif fault == "no train":
        datasets.DatasetDict({"a": table(6), "b": table(6)}).save_to_disk(str(place))
    sentences = {
        "nothing": "Expected a data set of Hugging Face in .*pets, but datasets says",
        "no images": "data.image_column to name a column of images of .*, but got none, or several, among text, label",
        "missing label": "Expected a label in row 1 of the train set of .*pets, but it is missing",
        "no folder": "Expected data.data_dir to be a folder of images, but got .*pets",
        "column": "data.label_column to name a column of labels of .*pets, but got breed among image, label",
        "no train": "Expected a train split in .*pets, but got a, b",
    }
    with pytest.raises((ValueError, FileNotFoundError), match=sentences[fault]):
        hugging_face(place, **options).prepare_data()
