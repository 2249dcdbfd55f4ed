"""shrink: what the copy holds, that it trains as the originals do, and that it goes on where it was stopped."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from conftest import ROOT
from filelock import FileLock
from interruptions import ThreeClasses, write_photographs
from PIL import Image

from nnmass.commands.main import main
from nnmass.datamodules.crops import _crop_box, random_resized_crop
from nnmass.datamodules.imagenet import ImageNet
from nnmass.datamodules.shrink import images_of_classes, shrunk

SAMPLES = Path(sklearn.datasets.__file__).parent / "images"  # two photographs of 640 x 427 px


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Photographs of 90 x 60 px in three classes, four to train and two to test."""
    write_photographs(tmp_path, train=4, val=2)
    return tmp_path / "imagenet"


def shrink(source: Path, dest: Path, *options: str) -> int:
    return main(["shrink", str(source), str(dest), "--side", "48", *options])


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("shrink.json", ".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def apart(path: Path, other: Path, resolution: int) -> float:
    """Mean difference of what the test sees of two files, on the scale of 0 to 255."""
    first, second = (ImageNet(resolution=resolution).decode(file).numpy().astype(float) for file in (path, other))
    return float(np.abs(first - second).mean())


def ramp(mode: str, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """An image that nothing but its size is lost of when it is made smaller."""
    x, y = np.meshgrid(*(np.linspace(0, 1, length) for length in size))
    if mode == "I;16":
        return Image.fromarray((65535 * x).astype(np.uint16))
    channels = {"RGB": [x, y, 1 - x], "L": [x], "LA": [x, y], "RGBA": [x, y, 1 - x, y], "CMYK": [x, y, 1 - x, 0.3 * x]}
    pixels = (255 * np.stack(channels[mode], axis=-1)).astype(np.uint8)
    return Image.fromarray(pixels.squeeze(), mode)


def test_the_copy_has_the_same_names_with_fewer_pixels(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert shrink(source, tmp_path / "small") == 0
    originals, copies = files(source), files(tmp_path / "small")
    assert copies.keys() == originals.keys()
    for name in copies:
        with Image.open(tmp_path / "small" / name) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (72, 48))
    before, after = (sum(map(len, content.values())) / 1000 for content in (originals, copies))
    line = f"18 images in {tmp_path / 'small'}: {before:.1f} kB before, {after:.1f} kB after.\n"
    assert capsys.readouterr() == (line, "")
    # Whoever is at work, the result is the same.
    assert shrink(source, tmp_path / "alone", "--workers", "1") == 0
    assert files(tmp_path / "alone") == copies


def test_what_is_small_enough_stays_byte_for_byte(source: Path, tmp_path: Path) -> None:
    for folder in (source / "train" / "n0", source / "val" / "n2"):
        Image.effect_noise((48, 200), 50).save(folder / "narrow.png")
        Image.effect_noise((200, 47), 50).save(folder / "flat.JPEG", quality=100)
        Image.effect_noise((49, 200), 50).save(folder / "wider.png")
    assert shrink(source, tmp_path / "small") == 0
    originals, copies = files(source), files(tmp_path / "small")
    same = {name for name in copies if copies[name] == originals[name]}
    assert same == {f"{place}/{name}" for place in ("train/n0", "val/n2") for name in ("narrow.png", "flat.JPEG")}
    with Image.open(tmp_path / "small" / "val" / "n2" / "wider.png") as image:
        assert (image.format, image.size) == ("PNG", (48, 196))


@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        ("RGB", "a.JPEG", {"quality": 95}),
        ("L", "a.jpg", {"quality": 95}),
        ("CMYK", "a.jpeg", {"quality": 95}),
        ("RGB", "a.PNG", {}),
        ("L", "a.png", {}),
        ("LA", "a.png", {}),
        ("RGBA", "a.png", {}),
        ("I;16", "a.png", {}),
        ("RGB", "a.bmp", {}),
        ("RGBA", "a.webp", {"lossless": True}),
        ("RGB", "really_png.JPEG", {"format": "PNG"}),
        ("RGB", "really_jpeg.png", {"format": "JPEG", "quality": 95}),
    ],
)
def test_every_kind_of_image_is_read_as_the_training_reads_the_original(
    mode: str, name: str, options: dict, tmp_path: Path
) -> None:
    original, copy = tmp_path / name, tmp_path / f"copy_of_{name}"
    ramp(mode).save(original, **options)
    copy.write_bytes(shrunk(original, 48, 90))
    with Image.open(copy) as image:
        expected = {".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}.get(copy.suffix.lower(), "JPEG")
        assert (image.format, image.size, image.mode) == (expected, (64, 48), "RGB")
    assert apart(original, copy, 42) < 2


def test_a_palette_is_resolved_and_a_turned_camera_stays_turned(tmp_path: Path) -> None:
    ramp("RGB").quantize(64).save(tmp_path / "palette.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90 degrees
    ramp("RGB").save(tmp_path / "turned.jpg", quality=95, exif=turned, icc_profile=b"a profile")
    ramp("RGB").save(tmp_path / "profile.png", exif=turned, icc_profile=b"a profile")
    for name in ("palette.png", "turned.jpg", "profile.png"):
        copy = tmp_path / f"copy_of_{name}"
        copy.write_bytes(shrunk(tmp_path / name, 48, 90))
        with Image.open(copy) as image:
            assert image.size == (64, 48)
            assert not image.getexif()
            assert "icc_profile" not in image.info
        assert apart(tmp_path / name, copy, 42) < 3


@pytest.mark.parametrize("layout", ["train/val/test", "classes"])
def test_splits_and_bare_class_folders_are_found(layout: str, source: Path, tmp_path: Path) -> None:
    if layout == "classes":
        source = source / "train"
        expected = [f"n{label}/n{label}_{number}.JPEG" for label in range(3) for number in range(4)]
    else:
        (source / "test" / "unknown").mkdir(parents=True)
        (source / "val" / "n0" / "n0_0.JPEG").rename(source / "test" / "unknown" / "x.JPEG")
        (source / "linked").symlink_to(source / "test")
        (source / "val" / "n0" / "notes.txt").write_text("not an image")
        expected = sorted(
            [f"train/n{label}/n{label}_{number}.JPEG" for label in range(3) for number in range(4)]
            + [f"val/n{label}/n{label}_{number}.JPEG" for label in range(3) for number in range(2) if label or number]
            + ["test/unknown/x.JPEG", "linked/unknown/x.JPEG"]
        )
    assert images_of_classes(source) == expected
    assert shrink(source, tmp_path / "small") == 0
    assert sorted(files(tmp_path / "small")) == expected


def test_the_copy_trains_with_the_same_photographs_in_the_same_order(source: Path, tmp_path: Path) -> None:
    assert shrink(source, tmp_path / "small") == 0
    settings = {"resolution": 42, "num_workers": 0, "batch_size": 4, "val_size": 3}
    originals, copies = (ThreeClasses(data_dir=str(place), **settings) for place in (source, tmp_path / "small"))  # type: ignore[arg-type]
    for split in ("train_dataloader", "val_dataloader", "test_dataloader"):
        batches = zip(getattr(originals, split)(), getattr(copies, split)(), strict=True)
        for (images, labels), (others, other_labels) in batches:
            assert torch.equal(labels, other_labels)
            assert (images.float() - others.float()).abs().mean() < 12  # of another photograph: 60 and more


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (1600, 1200), (512, 512), (4000, 300)])
def test_a_random_crop_is_the_same_part_of_the_smaller_photograph(size: tuple[int, int]) -> None:
    short = min(size)
    smaller = (round(size[0] * 256 / short), round(size[1] * 256 / short))
    far = 0
    for seed in range(500):
        boxes = [_crop_box(*shape, torch.Generator().manual_seed(seed)) for shape in (size, smaller)]
        shares = [np.array(box) / np.tile(shape, 2) for box, shape in zip(boxes, (size, smaller), strict=True)]
        far += bool((np.abs(shares[0] - shares[1]) > 1.5 / np.tile(smaller, 2)).any())
    assert far <= 2  # a crop that just fits into one of the two, and not into the other


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_crops_of_real_photographs_differ_little(name: str, tmp_path: Path) -> None:
    copy = tmp_path / name
    copy.write_bytes(shrunk(SAMPLES / name, 256, 90))
    assert apart(SAMPLES / name, copy, 224) < 4
    crops = [
        [np.asarray(random_resized_crop(file, 224, seed), dtype=float) for file in (SAMPLES / name, copy)]
        for seed in range(20)
    ]
    # A small crop of fine detail is enlarged from fewer pixels; two crops of one photograph differ by far more.
    assert np.mean([np.abs(original - smaller).mean() for original, smaller in crops]) < 8
    assert np.mean([np.abs(one[0] - other[0]).mean() for one, other in pairwise(crops)]) > 35


def test_real_photographs(photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for split in ("train", "val"):
        (tmp_path / "some" / split).mkdir(parents=True)
        for folder in sorted((photographs / "imagenet" / split).iterdir())[::25]:
            (tmp_path / "some" / split / folder.name).symlink_to(folder)
    assert shrink(tmp_path / "some", tmp_path / "small", "--side", "128") == 0
    names = images_of_classes(tmp_path / "some")
    assert len(names) == 80
    differences = [apart(tmp_path / "some" / name, tmp_path / "small" / name, 112) for name in names]
    assert max(differences) < 10
    assert np.mean(differences) < 4
    # They are of 256 px: at that side the copy is the original.
    assert shrink(tmp_path / "some", tmp_path / "same", "--side", "256") == 0
    for name in names:
        assert (tmp_path / "same" / name).read_bytes() == (tmp_path / "some" / name).read_bytes()


def test_what_cannot_be_decoded_is_listed_and_left_out(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    whole = files(source)
    large, small, empty = (source / "train" / f"n{label}" / f"n{label}_0.JPEG" for label in range(3))
    large.write_bytes(large.read_bytes()[:-900])
    Image.effect_noise((40, 30), 50).save(small)
    small.write_bytes(small.read_bytes()[:-100])
    empty.write_bytes(b"")
    (source / "val" / "n0" / "gone.png").symlink_to("nowhere")
    assert shrink(source, tmp_path / "small") == 1
    said = capsys.readouterr()
    for path in (large, small, empty, source / "val" / "n0" / "gone.png"):
        assert f"Expected an image in {path}, but it cannot be decoded: " in said.err
    assert len(said.err.splitlines()) == 4
    assert said.out.startswith(f"15 images in {tmp_path / 'small'}: ")
    assert said.out.endswith(" after; 4 could not be decoded and are left out.\n")
    assert len(files(tmp_path / "small")) == 15
    # Mended, they are copied by the next call.
    for path in (large, small, empty):
        path.write_bytes(whole[str(path.relative_to(source))])
    (source / "val" / "n0" / "gone.png").unlink()
    assert shrink(source, tmp_path / "small") == 0
    assert capsys.readouterr().out.startswith("18 images")
    assert shrink(source, tmp_path / "fresh") == 0
    assert files(tmp_path / "small") == files(tmp_path / "fresh")


def test_what_is_there_is_not_written_again_unless_its_original_has_changed(source: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    assert shrink(source, small) == 0
    expected = files(small)
    written = {name: (small / name).stat().st_ctime_ns for name in expected}
    missing, changed = "train/n1/n1_2.JPEG", "val/n0/n0_1.JPEG"
    (small / missing).unlink()
    (small / "train" / "n1" / ".n1_2.JPEG.0a1b2c3d.part").write_bytes(b"half of it")
    (source / changed).write_bytes((source / missing).read_bytes())
    os.utime(source / changed, (time.time() + 60,) * 2)
    assert shrink(source, small) == 0
    assert files(small) == {**expected, changed: expected[missing]}
    again = {name for name in expected if (small / name).stat().st_ctime_ns != written[name]}
    assert again == {missing, changed}


def test_a_copy_that_cannot_be_written_ends_with_a_sentence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert shrink(source, tmp_path / "small") == 0
    for file in (tmp_path / "small" / "train" / "n1").iterdir():
        file.unlink()
    (tmp_path / "small" / "train" / "n1").rmdir()
    (tmp_path / "small" / "train" / "n1").write_text("in the way")
    capsys.readouterr()
    assert shrink(source, tmp_path / "small") == 2
    error = capsys.readouterr().err
    assert error == f"Expected to use {tmp_path / 'small' / 'train' / 'n1'}, but: File exists.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere small", "Expected SOURCE to be a folder, but got nowhere."),
        ("imagenet imagenet", "Expected DEST to be outside of SOURCE (imagenet), but got imagenet."),
        ("imagenet imagenet/../imagenet/small", "Expected DEST to be outside of SOURCE (imagenet), but got"),
        ("link imagenet/small", "Expected DEST to be outside of SOURCE (link), but got imagenet/small."),
        ("imagenet .", "Expected DEST to be a new folder or a copy of SOURCE, but . holds something else."),
        ("imagenet note.txt", "Expected DEST to be a folder, but note.txt is a file."),
        ("imagenet/train/n0 small", "Expected images in CLASS/ or SPLIT/CLASS/ below imagenet/train/n0, but found"),
        ("imagenet small --side 7", "Expected --side to be a whole number of at least 8, but got 7."),
        ("imagenet small --side 256px", "Expected --side to be a whole number of at least 8, but got 256px."),
        ("imagenet small --quality 0", "Expected --quality to be a whole number of at least 1, but got 0."),
        ("imagenet small --quality 96", "Expected --quality to be at most 95, but got 96."),
        ("imagenet small --workers 0", "Expected --workers to be a whole number of at least 1, but got 0."),
        ("imagenet done --side 32", "Expected --side to be 48, as when done was begun, but got 32; name another DEST."),
        ("imagenet done --side 48 --quality 80", "Expected --quality to be 90, as when done was begun, but got 80;"),
        ("other done --side 48", "imagenet, as when done was begun, but got "),
        ("imagenet busy --side 48", "Expected busy to be idle, but another process is writing to it."),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: str,
    message: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("imagenet")
    (tmp_path / "note.txt").write_text("a note")
    if "other" in words:
        write_photographs(tmp_path / "more", train=1, val=1)
        (tmp_path / "more" / "imagenet").rename(tmp_path / "other")
    if "done" in words:
        assert shrink(Path("link"), Path("done")) == 0  # another name of the same folder
    (tmp_path / "busy").mkdir()
    before = files(tmp_path)
    with FileLock(tmp_path / "busy" / ".lock"):
        capsys.readouterr()
        assert main(["shrink", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert files(tmp_path) == before


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "to", "status", "said"),
    [
        ("SIGINT", "group", 130, "Stopped by Ctrl-C; the same command goes on with what is missing."),
        ("SIGINT", "command", 130, "Stopped by Ctrl-C; the same command goes on with what is missing."),
        ("SIGTERM", "group", 76, "Stopped by SIGTERM; the same command goes on with what is missing."),
        ("SIGTERM", "command", 76, "Stopped by SIGTERM; the same command goes on with what is missing."),
        ("SIGUSR1", "group", 75, "Stopped by SIGUSR1; the same command goes on with what is missing."),
        ("SIGKILL", "command", -9, ""),
        ("SIGKILL", "worker", 2, "Expected the processes that shrink to stay alive, but one was killed"),
    ],
)
def test_an_interrupted_copy_goes_on(name: str, to: str, status: int, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "source" / "train" / "n0"
    folder.mkdir(parents=True)
    Image.effect_noise((2400, 1800), 50).convert("RGB").save(folder / "0.JPEG", quality=95)
    for number in range(1, 200):
        (folder / f"{number}.JPEG").hardlink_to(folder / "0.JPEG")
    small = tmp_path / "small"
    words = [sys.executable, str(ROOT / "cli.py"), "shrink", str(tmp_path / "source"), str(small), "--workers", "2"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while len(files(small)) < 10:
        assert process.poll() is None, process.stderr
        time.sleep(0.05)
    workers, number = children(process.pid), signal.Signals[name]
    assert len(workers) == 2
    began = time.monotonic()
    if to == "group":
        os.killpg(process.pid, number)
    else:
        os.kill(workers[0] if to == "worker" else process.pid, number)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, "")
    assert error.startswith(said)
    assert len(error.splitlines()) == bool(said)
    while any(map(alive, workers)):
        assert time.monotonic() < began + 20
        time.sleep(0.05)
    done = files(small)
    whole = {name: content for name, content in done.items() if not name.endswith(".part")}
    assert 10 <= len(whole) < 200
    if name != "SIGKILL":
        assert done == whole
    assert main(words[2:]) == 0
    ends = files(small)
    assert len(ends) == 200
    assert len(set(ends.values())) == 1
    assert all(ends[name] == content for name, content in whole.items())
