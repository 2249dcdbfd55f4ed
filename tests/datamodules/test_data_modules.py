"""Data modules: both layouts of CIFAR-10, the split, the cache, and what is wrong with broken data."""

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar_files import write_cifar10, write_cifar100
from idx_files import write_idx
from PIL import Image

from nnmass.datamodules import CIFAR10, CIFAR100, MNIST, Digits, FashionMNIST, ImageDataModule, ImageNet, Seg
from nnmass.datamodules.base import Split
from nnmass.datamodules.cache import cached
from nnmass.datamodules.image_tree import load_image_tree


def make_tree(folder: Path, per_class: int = 4, classes: int = 10) -> dict[str, torch.Tensor]:
    """A train/test tree of PNG images; returns the training pixels by class folder."""
    rng = np.random.default_rng(0)
    truth = {}
    for split in ("train", "test"):
        for label in range(classes):
            place = folder / split / f"class_{label}"
            place.mkdir(parents=True)
            pixels = rng.integers(0, 256, (per_class, 32, 32, 3), dtype=np.uint8)
            for index, image in enumerate(pixels):
                Image.fromarray(image).save(place / f"{index:04}.png")
            if split == "train":
                truth[place.name] = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return truth


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    make_tree(tmp_path)
    return tmp_path


def test_a_tree_is_decoded_pixel_for_pixel_and_cached(tmp_path: Path) -> None:
    truth = make_tree(tmp_path)
    data = CIFAR10(data_dir=str(tmp_path), val_size=10)
    data.prepare_data()
    images, labels = data.load("train")
    assert torch.equal(images, torch.cat(list(truth.values())))
    assert labels.tolist() == [label for label in range(10) for _ in range(4)]
    files = sorted((tmp_path / ".cache").glob("*.safetensors"))
    assert len(files) == 2
    stamps = [file.stat().st_mtime_ns for file in files]
    assert torch.equal(CIFAR10(data_dir=str(tmp_path)).load("train")[0], images)
    assert [file.stat().st_mtime_ns for file in files] == stamps
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "train" / "class_0" / "0000.png")
    assert not CIFAR10(data_dir=str(tmp_path)).load("train")[0][0].any()


def test_images_are_resized_as_those_of_a_prediction_are(tree: Path) -> None:
    data = CIFAR10(data_dir=str(tree), val_size=10, resolution=16)
    assert data.input_size == (3, 16, 16)
    images, labels = data.load_checked("train")
    assert images.shape == (40, 3, 16, 16)
    assert len(labels) == 40
    files = sorted((tree / "train").glob("*/*.png"))
    assert data.preprocessing is not None
    assert torch.equal(images, torch.stack([data.preprocessing.decode(file) for file in files]))
    # Antialiased: each pixel is a mean over its neighbourhood, not one pixel of it, so that noise becomes weaker.
    whole = CIFAR10(data_dir=str(tree)).load("train")[0].float()
    assert images.float().std() < 0.8 * whole.std()
    # The whole images stay as they are, in the cache too.
    assert CIFAR10(data_dir=str(tree), resolution=32).load("test")[0].shape == (40, 3, 32, 32)


def test_grey_images_are_resized_too(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    data = MNIST(resolution=14)
    monkeypatch.setattr(data, "_load_whole", lambda split: (whole, torch.arange(5)))
    assert data.load_checked("test")[0].shape == (5, 1, 14, 14)


def test_a_resolution_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected data.resolution to be at least 1, but got 0."):
        CIFAR10(resolution=0)


def test_a_tree_below_cifar10_is_found(tmp_path: Path) -> None:
    make_tree(tmp_path / "cifar10")
    assert len(CIFAR10(data_dir=str(tmp_path)).load("test")[1]) == 40


def test_the_variable_names_the_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNMASS_DATA", str(tree))
    assert CIFAR10().data_dir == tree
    assert CIFAR10(data_dir="elsewhere").data_dir == Path("elsewhere")


def test_a_folder_that_cannot_be_written_costs_only_time(
    tree: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    (tree / ".cache").write_text("in the way")
    users = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(users))
    for _ in range(2):
        assert len(CIFAR10(data_dir=str(tree)).load("train")[0]) == 40
        assert len(list((users / "nnmass").glob("train-*.safetensors"))) == 1
    assert not caplog.text
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree / ".cache"))
    assert len(CIFAR10(data_dir=str(tree)).load("train")[0]) == 40
    assert "No copy of the decoded data is kept" in caplog.text


def _prepare(folder: Path, made: Path) -> None:
    def make() -> dict[str, torch.Tensor]:
        with open(made, "a") as file:
            file.write("x")
        return {"images": torch.ones(3)}

    assert cached(folder, "images", make)["images"].tolist() == [1, 1, 1]


def test_of_several_processes_one_prepares(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_prepare, args=(tmp_path, tmp_path / "made")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "made").read_text() == "x"


def test_cifar100_is_read_in_its_own_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar100(tmp_path, monkeypatch)
    data = CIFAR100(data_dir=str(tmp_path), val_size=100)
    data.prepare_data()
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (100, 3, 32, 32)
    assert labels.max() > 90
    raw = pickle.loads((tmp_path / "cifar-100-python" / "test").read_bytes())
    assert torch.equal(data.load("test")[0].flatten(1), torch.from_numpy(raw["data"]))
    assert data.load("test")[1].tolist() == raw["fine_labels"]


def test_the_official_batches_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    data = CIFAR10(data_dir=str(tmp_path), val_size=10)
    data.prepare_data()
    assert sum(len(labels) for _, labels in data.train_dataloader()) == 90
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 10
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 20
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "test_batch").read_bytes())["data"]
    assert torch.equal(data.load("test")[0].flatten(1), torch.from_numpy(raw))


def test_batches_with_a_wrong_checksum_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch, honest=False)
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(ValueError, match="the MD5 sum of .*data_batch_1 is wrong"):
        CIFAR10(data_dir=str(tmp_path)).load("train")


def test_no_data_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*cifar-10-batches-py.*--data.data_dir.*NNMASS_DATA"):
        CIFAR10(data_dir=str(tmp_path)).prepare_data()


def test_a_damaged_file_is_put_aside_and_fetched_again_by_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    write_idx(tmp_path / "there" / "MNIST" / "raw")
    write_idx(tmp_path / "MNIST" / "raw")
    victim = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    half = victim.read_bytes()[:100]
    victim.write_bytes(half)

    def download(self: datasets.MNIST) -> None:
        with open(tmp_path / "downloads", "a") as file:
            file.write("x")
        victim.write_bytes((tmp_path / "there" / "MNIST" / "raw" / victim.name).read_bytes())

    monkeypatch.setattr(datasets.MNIST, "download", download)
    context = multiprocessing.get_context("fork")
    prepare = MNIST(data_dir=str(tmp_path), download=True, val_size=10).prepare_data
    processes = [context.Process(target=prepare) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert (tmp_path / "downloads").read_text() == "x"
    assert victim.with_name(f"{victim.name}.damaged").read_bytes() == half


@pytest.mark.parametrize("damage", ["truncated", "text", "size", "unreadable", "empty class", "missing class"])
def test_broken_trees_are_named(tree: Path, damage: str) -> None:
    victim = tree / "train" / "class_3" / "0001.png"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:200])
    elif damage == "text":
        victim.write_text("not an image")
    elif damage == "unreadable":
        victim.unlink()
        victim.mkdir()
    elif damage == "size":
        Image.new("RGB", (31, 32)).save(victim)
    else:
        for file in victim.parent.iterdir():
            file.unlink()
    if damage == "missing class":
        victim.parent.rmdir()
    messages = {
        "truncated": f"image in {victim}, but it cannot be decoded",
        "text": f"image in {victim}, but it cannot be decoded",
        "unreadable": f"image in {victim}, but it cannot be decoded",
        "size": f"32 x 32 px in {victim}, but got 32 x 31 px",
        "empty class": f"images in the class folder {victim.parent}",
        "missing class": "10 class folders in .*train, but got 9",
    }
    with pytest.raises(ValueError, match=messages[damage]):
        load_image_tree(tree / "train", 10, (32, 32), tree / ".cache")


def test_the_classes_of_a_tree_are_called_as_its_folders(tree: Path) -> None:
    data = CIFAR10(data_dir=str(tree), val_size=10)
    data.prepare_data()
    assert data.class_names == [f"class_{label}" for label in range(10)]
    (tree / "test" / "class_3").rename(tree / "test" / "Class_3")
    lacking = r"same class folders in .*train and .*test, but .*test lacks class_3 and .*train lacks Class_3"
    with pytest.raises(ValueError, match=lacking):
        CIFAR10(data_dir=str(tree), val_size=10).prepare_data()


def test_two_splits_of_photographs_have_the_same_classes(tmp_path: Path) -> None:
    class Pets(ImageNet):
        num_classes = 2

    for place in ("train/cat", "train/dog", "val/cat", "val/Dog"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (40, 40)).save(tmp_path / place / f"{number}.png")
    data = Pets(data_dir=str(tmp_path), val_size=2)
    with pytest.raises(ValueError, match="val lacks dog and .*train lacks Dog"):
        data.prepare_data()
    (tmp_path / "val" / "Dog").rename(tmp_path / "val" / "dog")
    data.prepare_data()
    assert data.class_names == ["cat", "dog"]
    assert Pets(data_dir=str(tmp_path / "nowhere")).class_names == ["0", "1"]


def test_greys_of_16_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "8.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "16.png")
    for data in (Digits(), CIFAR10(), ImageNet(resolution=16)):
        assert torch.equal(data.decode(tmp_path / "16.png"), data.decode(tmp_path / "8.png"))


@pytest.mark.parametrize("labels", [[1, 2, 3], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_labels_that_are_no_classes_are_named(labels: list) -> None:
    class Stamps(ImageDataModule):
        num_classes, in_chans, image_size, mean, std = 3, 1, (4, 4), (0.5,), (0.5,)

        def load(self, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor(labels)

    with pytest.raises(ValueError, match="the train labels of Stamps to be int64 from 0 to 2, but got torch"):
        Stamps().prepare_data()


def test_the_split_is_stratified_seeded_and_disjoint() -> None:
    def split(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        data = Digits(val_size=200, split_seed=seed)
        return data.split(data.load("train")[1])

    labels = Digits().load("train")[1]
    train, val = split(0)
    assert sorted(torch.cat([train, val]).tolist()) == list(range(1437))
    share = labels[val].bincount() / labels.bincount()
    assert (share - 200 / 1437).abs().max() < 0.01
    assert torch.equal(split(0)[1], val)
    assert not torch.equal(split(1)[1], val)


def test_digits_are_all_there_once() -> None:
    from sklearn.datasets import load_digits

    data = Digits()
    counts = sum(data.load(split)[1].bincount() for split in ("train", "test"))
    assert counts.tolist() == np.bincount(load_digits().target).tolist()  # type: ignore[union-attr]
    images = data.load("train")[0].float() / 255
    assert images.mean() == pytest.approx(data.mean[0], abs=1e-3)
    assert images.std() == pytest.approx(data.std[0], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "data.batch_size to be at least 1, but got 0"),
        ({"val_size": 3}, "data.val_size to be at least 10, but got 3"),
        ({"split_seed": -1}, "data.split_seed to be at least 0, but got -1"),
        ({"seed": -1}, "data.seed to be at least 0, but got -1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Digits(**arguments)


def test_pixels_can_stay_between_0_and_1() -> None:
    images = next(iter(Digits(standardise=False).val_dataloader()))[0]
    assert images.min() == 0
    assert images.max() == 1


def test_a_validation_set_that_takes_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="take and to leave samples of every class"):
        Digits(val_size=1430).val_dataloader()


def test_the_real_images_decode(cifar10_images: Path, tmp_path: Path) -> None:
    images, labels = load_image_tree(cifar10_images / "cifar10" / "test", 10, (32, 32), tmp_path)
    assert images.shape == (10_000, 3, 32, 32)
    assert labels.bincount().tolist() == [1000] * 10
    torch.testing.assert_close(
        (images / 255.0).mean((0, 2, 3)), torch.tensor(CIFAR10.mean, dtype=torch.float32), atol=0.01, rtol=0
    )


def test_a_cache_is_mapped_into_memory_not_read(tree: Path) -> None:
    data = CIFAR10(data_dir=str(tree), val_size=10)
    batches = data.train_dataloader()
    data.prepare_data()
    mapped = Path("/proc/self/maps").read_text()
    assert ".safetensors" in mapped
    assert batches.samples.data_ptr() == data._samples["train", torch.device("cpu")][0].data_ptr()


def test_a_full_disk_costs_only_time(
    tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nnmass.datamodules.cache.save_file", full)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree / "home"))
    made = []

    def make() -> dict[str, torch.Tensor]:
        made.append(1)
        return {"images": torch.ones(2)}

    assert cached(tree / ".cache", "images", make)["images"].tolist() == [1, 1]
    assert len(made) == 1
    assert "No space left on device" in caplog.text
    assert not list((tree / ".cache").glob("*.part"))


def test_a_damaged_cache_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "images.safetensors").write_bytes(b"garbage")
    for _ in range(2):
        assert cached(tmp_path, "images", lambda: {"images": torch.ones(2)})["images"].tolist() == [1, 1]
    assert caplog.text.count("are damaged") == 1


def test_a_half_finished_download_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", closed)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half of an archive")
    with pytest.raises(FileNotFoundError, match="the download failed"):
        CIFAR10(data_dir=str(tmp_path), download=True).prepare_data()


def test_a_tree_of_one_split_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path / "cifar10")
    (tmp_path / "cifar10" / "test").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="Expected train/ and test/ in .*cifar10, but got only train/"):
        CIFAR10(data_dir=str(tmp_path)).prepare_data()


def test_fashion_mnist_is_read_from_its_idx_files(tmp_path: Path) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw")
    images, labels = FashionMNIST(data_dir=str(tmp_path)).load("train")
    raw = (tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()[16:]
    assert images.shape == (40, 1, 28, 28)
    assert images.numpy().tobytes() == raw
    assert labels.tolist() == [i % 10 for i in range(40)]


@pytest.mark.parametrize(
    ("damage", "message"), [("magic", "idx magic number 2051"), ("short", "bytes in .*, as its head")]
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, damage: str, message: str) -> None:
    write_idx(tmp_path / "MNIST" / "raw")
    kind = "labels-idx1" if damage in ("label", "absent") else "images-idx3"
    victim = tmp_path / "MNIST" / "raw" / f"train-{kind}-ubyte"
    content = victim.read_bytes()
    damaged = {
        "magic": b"\0\0\x08\x04" + content[4:],
        "short": content[:-5],
        "label": content[:-1] + b"\x0b",
        "absent": b"",
    }
    victim.write_bytes(damaged[damage])
    if damage == "absent":
        victim.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        MNIST(data_dir=str(tmp_path)).load("train")
    assert str(victim) in str(error.value)


def test_the_real_mnist_is_bit_exact(mnist_files: Path) -> None:
    data = MNIST(data_dir=str(mnist_files))
    for split, count in (("train", 60_000), ("test", 10_000)):
        images, labels = data.load(split)  # type: ignore[arg-type]
        prefix = "train" if split == "train" else "t10k"
        raw = mnist_files / "MNIST" / "raw"
        assert images.shape == (count, 1, 28, 28)
        assert images.numpy().tobytes() == (raw / f"{prefix}-images-idx3-ubyte").read_bytes()[16:]
        assert labels.to(torch.uint8).numpy().tobytes() == (raw / f"{prefix}-labels-idx1-ubyte").read_bytes()[8:]
    images = data.load("train")[0].float() / 255
    assert images.mean() == pytest.approx(data.mean[0], abs=1e-4)
    assert images.std() == pytest.approx(data.std[0], abs=1e-4)


def test_every_class_has_a_name_of_its_own() -> None:
    cifar10, cifar100, imagenet = (kind(data_dir="nowhere") for kind in (CIFAR10, CIFAR100, ImageNet))
    for data in (Digits(), MNIST(), FashionMNIST(), cifar10, cifar100, Seg(), imagenet):
        assert len(set(data.class_names)) == len(data.class_names) == data.num_classes
    assert cifar10.class_names[3] == "cat"
    assert cifar100.class_names == sorted(cifar100.class_names)
    assert imagenet.class_names[0] == "n01440764"


def test_a_split_is_loaded_once_however_often_lightning_prepares(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning prepares before each training and each test; listing a tree of 60,000 files takes a second."""
    looked: list[str] = []

    def counted(folder: Path, *others: Any) -> Any:
        looked.append(folder.name)
        return load_image_tree(folder, *others)

    monkeypatch.setattr("nnmass.datamodules.official.load_image_tree", counted)
    data = CIFAR10(data_dir=str(tree), val_size=10)
    for _ in range(3):
        data.prepare_data()
        data.train_dataloader()
        data.test_dataloader()
    assert looked == ["train", "test"]
