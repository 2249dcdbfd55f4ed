"""ImageNet: the index, the crops, the workers, and what is wrong with broken folders."""

import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from interruptions import ThreeClasses, write_photographs
from PIL import Image
from torchvision.transforms.v2 import functional as theirs

from nnmass.datamodules import ImageNet
from nnmass.datamodules.crops import _crop_box, random_resized_crop
from nnmass.datamodules.loader import WorkerLoader
from nnmass.zoo.weights.images import open_photograph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_photographs(tmp_path, train=5, val=2)
    return tmp_path


def make(folder: Path, **options: int) -> ThreeClasses:
    settings = {"resolution": 16, "num_workers": 0, "batch_size": 4, "val_on_test": True, **options}
    return ThreeClasses(data_dir=str(folder), **settings)  # type: ignore[arg-type]


def epoch(data: ImageNet, number: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def test_batches_do_not_depend_on_the_number_of_workers(folder: Path) -> None:
    plain = epoch(make(folder))
    assert sum(len(labels) for _, labels in plain) == 15
    for images, labels in plain:
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (3, 16, 16)
        assert len(labels) == len(images)
    for batch, other in zip(plain, epoch(make(folder, num_workers=2)), strict=True):
        assert torch.equal(batch[0], other[0])
        assert torch.equal(batch[1], other[1])
    assert not torch.equal(plain[0][0], epoch(make(folder), 1)[0][0])
    assert not torch.equal(plain[0][0], epoch(make(folder, seed=1))[0][0])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_goes_on_where_it_was(folder: Path, num_workers: int) -> None:
    expected = epoch(make(folder, num_workers=num_workers), 3)
    loader = make(folder, num_workers=num_workers).train_dataloader()
    loader.sampler.set_epoch(3)
    batches = iter(loader)
    seen = [next(batches), next(batches)]
    state = loader.position
    assert state == {"epoch": 3, "start": 2}  # although the workers have read ahead
    resumed = make(folder, num_workers=num_workers).train_dataloader()
    resumed.go_to(state)
    seen += list(resumed)
    for batch, other in zip(expected, seen, strict=True):
        assert torch.equal(batch[0], other[0])


def test_the_files_of_a_run_stay_those_of_its_beginning(folder: Path) -> None:
    data = make(folder)
    data.prepare_data()
    Image.new("RGB", (90, 60)).save(folder / "imagenet" / "val" / "n1" / "another.png")
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 6
    data.prepare_data()
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 7


def test_a_new_file_is_noticed(folder: Path) -> None:
    assert sum(len(labels) for _, labels in make(folder).val_dataloader()) == 6
    place = folder / "imagenet" / "val" / "n1"
    before = place.stat()
    Image.new("RGB", (90, 60)).save(place / "another.png")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))  # as archives do
    assert sum(len(labels) for _, labels in make(folder).val_dataloader()) == 7


def test_crops_have_the_area_and_shape_of_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([_crop_box(500, 375, generator) for _ in range(4000)]).double()
    left, top, width, height = boxes.unbind(1)
    assert ((left >= 0) & (left + width <= 500) & (top >= 0) & (top + height <= 375)).all()
    ratio = width / height
    assert ratio.min() > 0.72
    assert ratio.max() < 1.4
    assert (width * height / (500 * 375)).min() > 0.075
    torch.manual_seed(0)
    from torchvision.transforms import RandomResizedCrop

    blank = Image.new("RGB", (500, 375))
    usual = torch.tensor(
        [RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    ).double()  # top, left, height, width
    for ours, reference in ((left, usual[:, 1]), (top, usual[:, 0]), (width, usual[:, 3]), (height, usual[:, 2])):
        assert float(ours.mean()) == pytest.approx(float(reference.mean()), rel=0.05)
        assert float(ours.std()) == pytest.approx(float(reference.std()), rel=0.06)


def test_a_shape_that_no_crop_fits_gives_the_largest_allowed() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = Counter(_crop_box(2000, 10, generator) for _ in range(50))
    assert boxes.most_common(1)[0][0][2:] == (13, 10)


def test_the_centre_crop_is_torchvisions_up_to_resampling(folder: Path) -> None:
    path = next((folder / "imagenet" / "train" / "n0").iterdir())
    with Image.open(path) as image:
        resized = theirs.resize(image.convert("RGB"), [48], antialias=True)
    expected = np.asarray(theirs.center_crop(resized, [42, 42]), dtype=float)
    difference = np.abs(ImageNet(resolution=42).decode(path).permute(1, 2, 0).numpy().astype(float) - expected)
    assert difference.mean() < 4


def test_mirroring_happens_half_of_the_time_and_the_seed_decides(folder: Path) -> None:
    path = folder / "gradient.png"
    Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (60, 1))).convert("RGB").save(path)
    crops = [np.asarray(random_resized_crop(path, 16, seed), dtype=float) for seed in range(300)]
    rising = np.mean([crop[:, -1].mean() > crop[:, 0].mean() for crop in crops])
    assert abs(rising - 0.5) < 0.15
    assert np.array_equal(crops[7], np.asarray(random_resized_crop(path, 16, 7), dtype=float))


def test_large_photographs_are_decoded_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200)).save(tmp_path / "large.JPEG")
    assert open_photograph(tmp_path / "large.JPEG", 256).size == (400, 300)
    assert open_photograph(tmp_path / "large.JPEG", 1000).size == (1600, 1200)


def test_batches_are_normalised_on_the_device(folder: Path) -> None:
    data = make(folder)
    images, labels = next(iter(data.val_dataloader()))
    batch, _ = data.transfer_batch_to_device((images, labels), torch.device("cpu"), 0)
    assert torch.equal(batch, theirs.normalize(images / 255, list(data.mean), list(data.std)))


def test_the_validation_photographs_are_split_off_the_training_set(folder: Path) -> None:
    data = make(folder, val_on_test=False, val_size=3)
    data.prepare_data()
    train = torch.cat([labels for _, labels in data.train_dataloader()])
    val = torch.cat([labels for _, labels in data.val_dataloader()])
    assert sorted(val.tolist()) == [0, 1, 2]
    assert sorted(train.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 6
    with pytest.raises(ValueError, match="data.val_size to take and to leave samples of every class"):
        make(folder, val_on_test=False, val_size=14).prepare_data()


@pytest.mark.parametrize("damage", ["truncated", "empty", "classes", "split", "nothing"])
def test_broken_folders_are_named(folder: Path, damage: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    victim = folder / "imagenet" / "train" / "n1" / "n1_3.JPEG"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:300])
    elif damage == "empty":
        for file in victim.parent.iterdir():
            file.unlink()
    elif damage == "classes":
        (folder / "imagenet" / "train" / "n9").mkdir()
    elif damage == "split":
        (folder / "imagenet" / "val").rename(folder / "other")
    messages = {
        "truncated": f"image in {victim}, but it cannot be decoded",
        "empty": f"images in the class folder {victim.parent}, but found none",
        "classes": "3 class folders in .*train, but got 4",
        "split": "train/ and val/ in .*imagenet, but got only train/",
        "nothing": "Expected ImageNet in data.data_dir",
    }
    place = tmp_path_factory.mktemp("nothing") if damage == "nothing" else folder
    with pytest.raises((ValueError, FileNotFoundError), match=messages[damage]):
        epoch(make(place))


def test_a_workers_error_ends_in_one_sentence(folder: Path) -> None:
    from nnmass.runtime.messages import sentence

    victim = folder / "imagenet" / "train" / "n1" / "n1_3.JPEG"
    victim.write_text("no image")
    with pytest.raises(ValueError, match="cannot be decoded") as error:
        epoch(make(folder, num_workers=1))
    assert sentence(error.value).startswith(f"Expected an image in {victim}, but it cannot be decoded")
    assert "Traceback" not in sentence(error.value)


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data.num_workers to be at least 0, but got -1"):
        make(tmp_path, num_workers=-1)
    with pytest.raises(ValueError, match="data.resolution to be at least 8, but got 7"):
        make(tmp_path, resolution=7)


def test_the_real_photographs_load(photographs: Path) -> None:
    data = ImageNet(data_dir=str(photographs), num_workers=2, batch_size=100, val_on_test=True)
    data.prepare_data()
    loader = data.train_dataloader()
    assert len(loader) == 10
    images, labels = next(iter(loader))
    assert images.shape == (100, 3, 224, 224)
    assert len(set(labels.tolist())) == 100
    seen = torch.cat([labels for _, labels in data.val_dataloader()])
    assert seen.tolist() == list(range(1000))


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda"])
def test_only_a_training_on_cuda_pins_memory(folder: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    data = make(folder)
    strategy = SimpleNamespace(root_device=torch.device(device))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=strategy, global_rank=0, world_size=1, num_devices=1, overfit_batches=0
    )
    for loader in (data.train_dataloader(), data.test_dataloader()):
        assert isinstance(loader, WorkerLoader)
        assert loader._loader.pin_memory == (device == "cuda")
