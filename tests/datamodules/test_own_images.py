"""Images of one's own in class folders and tables: parts, statistics, both ways of holding them, what is refused."""

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as theirs

from nnmass.commands.main import main
from nnmass.datamodules import ImageFolder, ImageTable
from nnmass.datamodules.division import Split, divided, stratified
from nnmass.datamodules.labelled import LabelledImages
from nnmass.datamodules.loader import MemoryLoader, WorkerLoader
from nnmass.datamodules.own_augment import OwnAugmentation

CLASSES = ("cat", "dog", "owl")


def draw_images(folder: Path, count: int, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> None:
    """Write `count` images of 20 x 14 px of each class, of a mean colour of its own."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 120, (14, 20, 3), dtype=np.uint8) + np.uint8(40 * label)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """One tree, ten images of each class."""
    draw_images(tmp_path / "pets", 10)
    return tmp_path / "pets"


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """Three parts of 6, 2 and 3 images of each class."""
    for seed, (part, count) in enumerate({"train": 6, "val": 2, "test": 3}.items()):
        draw_images(tmp_path / "pets" / part, count, seed)
    return tmp_path / "pets"


def folder(data_dir: Path, **options: Any) -> ImageFolder:
    return ImageFolder(str(data_dir), **{"resolution": 8, "num_workers": 0, "batch_size": 4, **options})


def sizes(data: LabelledImages) -> dict[str, int]:
    return {name: len(part.chosen) for name, part in data.parts.items()}


@given(st.lists(st.integers(2, 9), min_size=2, max_size=5), st.sampled_from([None, 0.3, 0.5, 5]), st.integers(0, 99))
def test_a_split_is_stratified_whole_and_decided_by_its_seed(counts: list[int], size: Any, seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    names = list(map(str, range(len(counts))))
    wanted = max(len(labels) // 10, len(counts)) if size is None else round(len(labels) * size) if size < 1 else size
    if not len(counts) <= wanted <= len(labels) - len(counts):
        with pytest.raises(ValueError, match="Expected data.val_size to take and to leave samples of") as raised:
            stratified(labels, size, seed, names, "val_size", "x")
        instead = len(stratified(labels, None, seed, names, "val_size", "x")[1])
        assert str(raised.value).endswith(f"but got {size}; null takes {instead}.")
        return
    rest, taken = stratified(labels, size, seed, names, "val_size", "x")
    assert len(taken) == wanted
    assert sorted([*rest.tolist(), *taken.tolist()]) == list(range(len(labels)))
    shares = labels[taken].bincount(minlength=len(counts)) - torch.tensor(counts) * wanted / len(labels)
    assert float(shares.abs().max()) <= 1
    assert torch.equal(taken, stratified(labels, size, seed, names, "val_size", "x")[1])


@pytest.mark.parametrize(
    ("given_parts", "options", "sources"),
    [
        ("train", {}, {"train": "train", "val": "train", "test": "train"}),
        ("train val", {}, {"train": "train", "val": "train", "test": "val"}),
        ("train val", {"test_size": 6}, {"train": "train", "val": "val", "test": "train"}),
        ("train test", {}, {"train": "train", "val": "train", "test": "test"}),
        ("train val test", {}, {"train": "train", "val": "val", "test": "test"}),
        ("train test", {"val_on_test": True}, {"train": "train", "val": "test", "test": "test"}),
        ("train val", {"val_on_test": True}, {"train": "train", "val": "val", "test": "val"}),
        ("train", {"val_on_test": True}, {"train": "train", "val": "train", "test": "train"}),
    ],
)
def test_what_is_not_given_is_split_off_the_training_set(
    given_parts: str, options: dict[str, Any], sources: dict[str, str]
) -> None:
    labels = {part: torch.arange(30) % 3 for part in given_parts.split()}
    parts = divided(labels, Split(**options), CLASSES, "pets")
    assert {name: part.source for name, part in parts.items()} == sources
    off_train = [part for name, part in parts.items() if part.source == "train"]
    if options.get("val_on_test") and given_parts == "train":
        assert torch.equal(parts["val"].chosen, parts["test"].chosen)
        off_train = [parts["train"], parts["test"]]
    assert sorted(torch.cat([part.chosen for part in off_train]).tolist()) == list(range(30))


def test_a_tree_of_classes_is_split_in_three(pets: Path) -> None:
    data = folder(pets, val_size=6, test_size=0.3)
    data.prepare_data()
    assert data.class_names == list(CLASSES)
    assert (data.num_classes, data.in_chans, data.input_size) == (3, 3, (3, 8, 8))
    assert sizes(data) == {"train": 15, "val": 6, "test": 9}
    seen = {}
    for name, loader in {"val": data.val_dataloader(), "test": data.test_dataloader()}.items():
        seen[name] = torch.cat([labels for _, labels in loader]).bincount().tolist()
    assert seen == {"val": [2] * 3, "test": [3] * 3}
    other = folder(pets, val_size=6, test_size=0.3, split_seed=1)
    assert not torch.equal(data.parts["test"].chosen, other.parts["test"].chosen)


@pytest.mark.parametrize("in_memory", [False, True])
def test_mean_and_standard_deviation_are_those_of_the_training_images_alone(parted: Path, in_memory: bool) -> None:
    data = folder(parted, in_memory=in_memory, resolution=14)
    pixels = torch.stack([data.preprocessing.decode(path) for path in sorted((parted / "train").rglob("*.png"))])
    mean, std = data.mean_and_std
    expected = pixels.double().div(255).transpose(0, 1).flatten(1)
    assert list(mean) == pytest.approx(expected.mean(1).tolist(), abs=1e-6)
    assert list(std) == pytest.approx(expected.std(1, correction=0).tolist(), abs=1e-6)
    images, _ = next(iter(data.val_dataloader()))
    if not in_memory:
        images, _ = data.transfer_batch_to_device((images, images), torch.device("cpu"), 0)
    first = data.preprocessing.decode(parted / "val" / "cat" / "0.png")
    assert torch.allclose(images[0], theirs.normalize(first / 255, list(mean), list(std)), atol=1e-6)


def test_they_are_measured_once_for_each_training_set(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnmass.datamodules import pixels

    measured = []
    monkeypatch.setattr(pixels, "DataLoader", lambda data, **_: measured.append(len(data)) or data)  # type: ignore[func-returns-value]
    monkeypatch.setattr(pixels, "shown", lambda items, *_: (items[i].unsqueeze(0) for i in range(len(items))))
    first = folder(pets).mean_and_std
    assert folder(pets).mean_and_std == first
    assert measured == [24]
    assert folder(pets, split_seed=1).mean_and_std != first
    Image.new("RGB", (20, 14)).save(pets / "owl" / "0.png")
    assert folder(pets).mean_and_std != first
    assert measured == [24] * 3
    assert folder(pets, mean=[0.5] * 3, std=[0.2] * 3).mean_and_std == ((0.5,) * 3, (0.2,) * 3)
    assert measured == [24] * 3


def test_images_in_memory_are_those_of_the_files_and_are_augmented_by_seed_and_epoch(parted: Path) -> None:
    plain = folder(parted, in_memory=True)
    plain.prepare_data()
    images, labels = next(iter(plain.test_dataloader()))
    assert isinstance(plain.test_dataloader(), MemoryLoader)
    expected = plain.preprocessing(parted / "test" / "cat" / "0.png")
    assert torch.equal(images[0], expected)
    assert labels.tolist() == [0, 0, 0, 1]

    def epoch(number: int, **options: Any) -> torch.Tensor:
        loader = folder(parted, in_memory=True, augmentation=OwnAugmentation(flip=True), **options).train_dataloader()
        loader.sampler.set_epoch(number)
        return torch.cat([batch for batch, _ in loader])

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))
    assert not torch.equal(epoch(1), epoch(1, seed=5))


def test_photographs_are_read_by_workers_and_a_resumed_epoch_goes_on(parted: Path) -> None:
    whole = list(folder(parted).train_dataloader())
    loader = folder(parted, num_workers=1).train_dataloader()
    assert isinstance(loader, WorkerLoader)
    loader.go_to({"epoch": 0, "start": 2})
    rest = list(loader)
    loader.close()
    for batch, other in zip(whole[2:], rest, strict=True):
        assert torch.equal(batch[0], other[0])
        assert torch.equal(batch[1], other[1])


def test_grey_images_have_one_channel(parted: Path) -> None:
    for in_memory in (False, True):
        data = folder(parted, grey=True, in_memory=in_memory)
        assert data.input_size == (1, 8, 8)
        for loader in (data.train_dataloader(), data.test_dataloader()):
            assert next(iter(loader))[0].shape[1:] == (1, 8, 8)


def spoil(place: Path, how: str) -> None:
    """Make one thing wrong with a tree in three parts."""
    if how == "one class":
        for part in ("train", "val", "test"):
            shutil.rmtree(place / part / "dog")
            shutil.rmtree(place / part / "owl")
    elif how == "class in one part":
        shutil.rmtree(place / "test" / "owl")
    elif how == "another spelling":
        for part, form in (("train", "NFC"), ("val", "NFC"), ("test", "NFD")):
            (place / part / "owl").rename(place / part / unicodedata.normalize(form, "käuzchen"))
    elif how == "no known kind":
        for file in (place / "train" / "dog").iterdir():
            file.rename(file.with_suffix(".xcf"))
    elif how == "damaged":
        (place / "train" / "dog" / "1.png").write_bytes(b"not an image")
    elif how == "empty folder":
        shutil.rmtree(place)
        place.mkdir()
    elif how == "images without classes":
        for part in ("train", "val", "test"):
            for file in sorted((place / part).rglob("*.png")):
                file.rename(place / part / f"{file.parent.name}{file.name}")
            for name in CLASSES:
                (place / part / name).rmdir()
    elif how == "no training set":
        shutil.rmtree(place / "train")
    elif how == "two folders":
        shutil.copytree(place / "val", place / "valid")
    elif how == "one colour":
        for file in place.rglob("*.png"):
            Image.new("RGB", (4, 4), (9, 9, 9)).save(file)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("one class", "Expected at least two classes in .*pets, but got cat"),
        ("class in one part", "Expected the same class folders in .*train and .*test, but .*test lacks owl"),
        (
            "another spelling",
            "test lacks käuzchen and .*; they look alike, but their letters are put together different",
        ),
        ("no known kind", "Expected images in the class folder .*dog, but found none but 0.xcf"),
        ("damaged", "Expected an image in .*1.png, but it cannot be decoded: its content is none of BMP"),
        ("empty folder", "Expected folders of classes in .*pets, but found none"),
        ("images without classes", "Expected folders of classes in .*train, but found none"),
        ("no training set", "Expected folders of classes in .*train, but found none"),
        ("two folders", "Expected one folder of the val set in .*pets, but got val, valid"),
        ("one colour", "Expected training images of .*pets that differ, but all their pixels are 9"),
    ],
)
def test_what_is_wrong_with_folders_is_said(parted: Path, how: str, sentence: str) -> None:
    spoil(parted, how)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as error:
        folder(parted).prepare_data()
    assert "ImageNet" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"val_size": 2}, "Expected no data.val_size .null. where .*pets has a val set, but got 2"),
        ({"test_size": 0.5}, "Expected no data.test_size .null. where .*pets has a test set, but got 0.5"),
        ({"val_on_test": True}, "Expected no data.val_on_test where .*pets has a validation and a test set"),
        ({"val_size": 0}, "Expected data.val_size to be at least 1, but got 0"),
        (
            {"augmentation": OwnAugmentation(flip=True)},
            "Expected no data.augmentation.flip with data.in_memory false, but got True",
        ),
        ({"mean": [0.5]}, "Expected data.mean to be 3 numbers, and mean and std to be given together, but got"),
    ],
)
def test_options_that_do_not_fit_are_refused(parted: Path, options: dict[str, Any], sentence: str) -> None:
    statistics = {} if "mean" in options else {"mean": [0.5] * 3, "std": [0.2] * 3}
    with pytest.raises(ValueError, match=sentence):
        folder(parted, **statistics, **options).prepare_data()
    with pytest.raises(ValueError, match="share between 0 and 1, but got 1.5"):
        stratified(torch.arange(30) % 3, 1.5, 0, CLASSES, "val_size", "pets")
    with pytest.raises(ValueError, match="at least 2 samples of every class of pets, .* but got 1 of owl"):
        stratified(torch.tensor([0, 0, 1, 1, 2]), 3, 0, CLASSES, "val_size", "pets")


def test_a_class_may_be_called_as_a_part(tmp_path: Path) -> None:
    draw_images(tmp_path, 4, classes=("bus", "train"))
    assert folder(tmp_path).class_names == ["bus", "train"]


def write_table(place: Path, text: str) -> Path:
    (place / "labels.csv").write_text(text)
    return place / "labels.csv"


def test_a_table_gives_labels_and_parts(pets: Path) -> None:
    lines = [
        f"{name};{name}/{number}.png;{part}"
        for name in CLASSES
        for number, part in enumerate(["train"] * 5 + ["Validation"] * 2 + ["TEST"] * 3)
    ]
    data = ImageTable(
        str(write_table(pets, "\n".join(["breed;path;split", *lines]))),
        file_column="path",
        label_column="breed",
        resolution=8,
        num_workers=0,
    )
    data.prepare_data()
    assert data.class_names == list(CLASSES)
    assert sizes(data) == {"train": 15, "val": 6, "test": 9}
    images, labels = next(iter(data.test_dataloader()))
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert torch.equal(images[4], data.preprocessing.decode(pets / "dog" / "8.png"))


def test_numbers_are_labels_in_their_order_and_parts_are_split_off(pets: Path) -> None:
    lines = [f"{name}/{number}.png,{9 + label}" for label, name in enumerate(CLASSES) for number in range(10)]
    table = write_table(pets, "\n".join(["file,label", *lines]))
    data = ImageTable(str(table), resolution=8, num_workers=0, in_memory=True)
    data.prepare_data()
    assert data.class_names == ["9", "10", "11"]
    assert sizes(data) == {"train": 24, "val": 3, "test": 3}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,label\ncat/0.png,cat", "Expected the column file in line 1 of .*labels.csv, but got name, label"),
        ("file,label\ncat/0.png,cat\ncat/1.png,", "a label for cat/1.png in line 3 of .*labels.csv, but it is missing"),
        ("file,label\ncat/0.png,cat\ncat/1.png", "a label for cat/1.png in line 3 of .*labels.csv, but it is missing"),
        ("file,label\n,cat", "Expected the name of a file in line 2 of .*labels.csv, but it is missing"),
        ("file,label,split\ncat/0.png,cat,dev", "train, val or test for cat/0.png in line 2 of .*, but got 'dev'"),
        ("file,label,split\ncat/0.png,cat,", "train, val or test for cat/0.png in line 2 of .*, but got nothing"),
        ("file,label\ncat/0.txt,cat", "Expected an image .*in line 2 of .*labels.csv, but got cat/0.txt"),
        (
            "file,label\ncat/0.png,a\ndog/0.png,b\ncat/0.png,b",
            "each image once .*, but got cat/0.png in lines 2 and 4",
        ),
        ("file,label\ncat/0.png,a\ndog/99.png,b", "the image of line 3 of .*labels.csv, but there is no file .*99.png"),
        ("file,label\ncat/0.png,cat\ncat/1.png,cat", "Expected at least two classes in .*labels.csv, but got cat"),
        ("file,label", "Expected images in .*labels.csv, but it lists none"),
        ("", "Expected the column file in line 1 of .*labels.csv, but got nothing"),
        ("file,label,split\ncat/0.png,cat,test", "Expected images to train on in .*labels.csv, but it lists none"),
        (
            "file,label,split\ncat/0.png,cat,train\ndog/1.png,dog,train\ncat/3.png,cat,test",
            "Expected images of every class in each part of .*labels.csv, but the test set lacks dog",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said(pets: Path, text: str, sentence: str) -> None:
    table = write_table(pets, text)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        ImageTable(str(table), resolution=8, num_workers=0).prepare_data()


def test_a_training_on_folders_knows_its_classes(parted: Path, tmp_path: Path) -> None:
    words = ["--config", "digits_dense.yaml", "--data", "ImageFolder", "--data.data_dir", str(parted)]
    words += ["--data.in_memory", "true", "--data.resolution", "8", "--data.balance", "loss", "--data.val_size", "null"]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--output_dir", str(tmp_path / "runs")]
    assert main(["fit", *words]) == 0
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir() and not path.is_symlink())
    record = json.loads((run / "run.json").read_text())
    assert record["data"] == "ImageFolder"
    assert {"test/accuracy", "test/macro_accuracy", "test/macro_f1"} <= record["test"].keys()
    assert (run / "class_accuracy.csv").read_text().splitlines()[1].startswith("cat,3,")
    assert "num_classes" not in (run / "config.yaml").read_text()
