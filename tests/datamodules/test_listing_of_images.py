"""Folders of images: every file is used, left out in a line, or named in a sentence; names of any bytes."""

import ast
import io
import logging
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from interruptions import ThreeClasses
from PIL import Image

from nnmass.datamodules import CIFAR10, Digits, listing
from nnmass.datamodules.image_files import ImageFiles
from nnmass.datamodules.image_tree import load_image_tree
from nnmass.datamodules.listing import as_text, files_of_classes, images_below, names_of_classes
from nnmass.datamodules.shrink import images_of_classes, shrunk
from nnmass.zoo.weights.images import FORMAT_OF, converted, decoding, open_image

NOT_UTF8 = os.fsdecode(b"caf\xe9.png")
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"


def save(path: Path, shade: int = 90, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(content, FORMAT_OF.get(path.suffix.lower(), "PNG"))
    path.write_bytes(content.getvalue())
    return path


def make_classes(folder: Path, names: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    for label in range(3):
        for number, name in enumerate(names):
            save(folder / f"class_{label}" / name, 80 * label + number)
    return folder


def test_the_endings_are_pillows() -> None:
    registered = Image.registered_extensions()
    assert {ending: registered[ending] for ending in FORMAT_OF} == FORMAT_OF
    left_out = {ending for ending, kind in registered.items() if kind in FORMAT_OF.values()} - set(FORMAT_OF)
    assert left_out <= {".apng", ".pfm"}  # moving pictures, floating-point numbers


@pytest.mark.parametrize("ending", sorted(FORMAT_OF))
def test_every_ending_is_read_and_shrunk(ending: str, tmp_path: Path) -> None:
    name = f"a{ending.upper()}"
    make_classes(tmp_path, (name,))
    assert files_of_classes(tmp_path, 3).names == [f"class_{label}/{name}" for label in range(3)]
    images, labels = load_image_tree(tmp_path, 3, (8, 8), tmp_path / ".cache")
    assert labels.tolist() == [0, 1, 2]
    assert abs(images.float().mean((1, 2, 3)) - torch.tensor([0.0, 80, 160])).max() < 3
    large = save(tmp_path / f"large{ending}", 80, (40, 20))
    (tmp_path / f"small{ending}").write_bytes(shrunk(large, 10, 90))
    with open_image(tmp_path / f"small{ending}") as small:
        assert (small.format, small.size) == (FORMAT_OF[ending], (20, 10))
        assert abs(float(np.asarray(converted(small, "RGB")).mean()) - 80) < 3


def test_what_is_hidden_is_neither_class_nor_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_classes(tmp_path / "train")
    expected = files_of_classes(tmp_path / "train", 3)
    for place in (".ipynb_checkpoints/a.png", "class_1/.ipynb_checkpoints/b.png", "class_0/._a.png"):
        save(tmp_path / "train" / place)
    (tmp_path / "train" / "class_0" / ".DS_Store").write_bytes(b"x")
    assert files_of_classes(tmp_path / "train", 3) == expected
    assert [path.name for path in images_below(tmp_path)[0]] == ["a.png", "b.png"] * 3
    assert images_of_classes(tmp_path) == [f"train/{name}" for name in expected.names]
    assert not caplog.text


def test_other_files_are_named_once_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_said", set())
    for split in ("train", "val"):
        make_classes(tmp_path / split, ("a.png", "b.jpg", "c.tif"))
    for name in ("class_0/a.heic", "class_1/b.heic", "class_1/notes"):
        (tmp_path / "train" / name).write_bytes(b"x")
    data = ThreeClasses(data_dir=str(tmp_path), num_workers=0, resolution=16, val_size=3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            data.prepare_data()
    line = f"Left out of {tmp_path / 'train'}, as no images by their names: 3 (.heic 2, no ending 1), such as "
    assert [record.getMessage() for record in caplog.records] == [f"{line}class_0/a.heic."]
    assert len(files_of_classes(tmp_path / "train", 3).labels) == 9
    caplog.clear()
    next(iter(ImageFiles([tmp_path / "train"], data.decode, 4)))
    assert [record.getMessage() for record in caplog.records] == []  # said already
    monkeypatch.setattr(listing, "_said", set())
    next(iter(ImageFiles([tmp_path], data.decode, 4)))
    assert "3 (.heic 2, no ending 1), such as train/class_0/a.heic." in caplog.text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "val" / "class_1").rename(folder / "gone"), "but .*val lacks class_1[.]$"),
        (lambda folder: (folder / "train" / "class_0").rename(folder / "gone"), "but .*train lacks class_0[.]$"),
        (
            lambda folder: [(folder / s / "x").mkdir() for s in ("train", "val")],
            "got 4: class_0, class_1, class_2, x[.]$",
        ),
    ],
    ids=["val", "train", "both"],
)
def test_wrong_class_folders_are_named(change: object, sentence: str, tmp_path: Path) -> None:
    for split in ("train", "val"):
        make_classes(tmp_path / split)
    change(tmp_path)  # type: ignore[operator]
    with pytest.raises(ValueError, match=sentence):
        ThreeClasses(data_dir=str(tmp_path), val_size=3).prepare_data()


def test_many_class_folders_are_named_by_the_first(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"n{number:02}").mkdir()
    with pytest.raises(ValueError, match="got 40: n00, n01, n02, n03, n04 and 35 others[.]$"):
        names_of_classes(tmp_path, tmp_path, 3)


def test_a_file_that_is_replaced_is_read_again_whatever_its_times_say(tmp_path: Path) -> None:
    make_classes(tmp_path / "train", ("a.bmp", "b.bmp"))

    def shades() -> list[int]:
        return load_image_tree(tmp_path / "train", 3, (8, 8), tmp_path / ".cache")[0][:, 0, 0, 0].tolist()

    assert shades() == [0, 1, 80, 81, 160, 161]
    victim = tmp_path / "train" / "class_1" / "a.bmp"
    before, place = victim.stat(), victim.parent.stat()
    save(victim, 77)  # of the same size
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(victim.parent, ns=(place.st_atime_ns, place.st_mtime_ns))
    assert shades() == [0, 1, 77, 81, 160, 161]
    victim.unlink()
    save(victim.parent / "c.bmp", 5)
    os.utime(victim.parent, ns=(place.st_atime_ns, place.st_mtime_ns))
    assert shades() == [0, 1, 81, 5, 160, 161]


def test_names_of_any_bytes_are_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe9j\xe0")
    for split in ("train", "test", "val"):
        for label in range(10):
            save(folder / split / os.fsdecode(b"class\xff%d" % label) / NOT_UTF8, 10 * label, (32, 32))
            save(folder / split / os.fsdecode(b"class\xff%d" % label) / "b.png", 10 * label, (32, 32))
    tree = CIFAR10(data_dir=str(folder), val_size=10)
    tree.prepare_data()
    assert tree.class_names[3] == r"class\xff3"
    assert tree.load("train")[0][:, 0, 0, 0].tolist() == [10 * label for label in range(10) for _ in range(2)]
    assert len(list((folder / ".cache").glob("*.safetensors"))) == 2
    assert "damaged" not in caplog.text

    class TenClasses(ThreeClasses):
        num_classes = 10

    photographs = TenClasses(data_dir=str(folder), num_workers=1, resolution=16, val_on_test=True)
    photographs.prepare_data()
    assert sum(len(labels) for _, labels in photographs.train_dataloader()) == 20
    photographs.teardown("fit")
    assert len(images_of_classes(folder)) == 60


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=2, max_size=2, unique=True))
def test_no_two_names_have_one_text(names: list[bytes]) -> None:
    one, other = (as_text(os.fsdecode(name)) for name in names)
    assert one != other
    assert one.encode()


def test_no_other_decoder_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    victim = tmp_path / "train" / "class_0" / "x.jpg"
    make_classes(tmp_path / "train")
    victim.write_bytes(POSTSCRIPT)
    sentence = (
        f"image in {victim}, but it cannot be decoded: its content is none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP."
    )
    for read in (
        lambda: load_image_tree(tmp_path / "train", 3, (8, 8), tmp_path / ".cache"),
        lambda: Digits().decode(victim),
        lambda: ThreeClasses().decode(victim),
        lambda: shrunk(victim, 4, 90),
    ):
        with pytest.raises(ValueError, match=sentence):
            read()


def test_every_image_is_opened_with_the_formats_named() -> None:
    for folder in ("datamodules", "commands", "callbacks", "studies", "zoo", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open"):
                    assert "formats" in [keyword.arg for keyword in node.keywords], path


def claiming(width: int, height: int) -> bytes:
    """A PNG whose head says that it is so large."""
    parts = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(b"")}
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("huge.png", "it claims more than 178,956,970 px"),
        ("pipe.png", "it is no file"),
        ("dangling.png", "No such file or directory"),
        ("float.tif", "its pixels are floating-point numbers"),
        ("deep.tif", "its pixels are from 0 to 70000, not from 0 to 65535"),
    ],
)
def test_what_cannot_be_an_image_is_named_with_the_reason(name: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "huge.png":
        path.write_bytes(claiming(60_000, 60_000))
    elif name == "pipe.png":
        os.mkfifo(path)
    elif name == "dangling.png":
        path.symlink_to(tmp_path / "gone.png")
    else:
        values = np.array([[0, 70000]], dtype=np.float32 if name == "float.tif" else np.int32)
        Image.fromarray(values).save(path)
    with pytest.raises(ValueError, match="cannot be decoded") as error, decoding(path), open_image(path) as image:
        converted(image, "RGB")
    assert str(error.value).startswith(f"Expected an image in {path}, but it cannot be decoded: {reason}")


def test_large_photographs_are_no_reason_to_warn(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "a.png").write_bytes(claiming(10_000, 10_000))
    with open_image(tmp_path / "a.png") as image:
        assert image.size == (10_000, 10_000)
    assert not recwarn.list


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a" / "1.png")
    save(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "a" / "up").symlink_to(tmp_path / "photos")
    assert [path.name for path in images_below(tmp_path / "photos")[0]] == ["1.png", "2.png"]


def test_images_come_in_the_order_of_the_files_and_what_is_broken_is_listed(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for number in range(10):
            save(tmp_path / folder / f"{number}.png", 10 * number + (100 if folder == "b" else 0))
    (tmp_path / "a" / "5.png").write_bytes(b"broken")

    def decode(path: Path) -> torch.Tensor:
        with decoding(path), open_image(path) as image:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    images = ImageFiles([tmp_path / "b" / "3.png", tmp_path], decode, batch_size=4)
    assert len(images.paths) == 20
    assert images.paths[0] == tmp_path / "b" / "3.png"  # which is named twice, and comes once
    seen: list[int] = []
    for pixels, places in images:
        assert len(pixels) == len(places) <= 4
        for shade, place in zip(pixels[:, 0, 0, 0].tolist(), places, strict=True):
            path = images.paths[place]
            assert shade == 10 * int(path.stem) + (100 if path.parent.name == "b" else 0)
        seen += places
    assert seen == [place for place, path in enumerate(images.paths) if path != tmp_path / "a" / "5.png"]
    assert [sentence.split(",")[0] for sentence in images.unread] == [f"Expected an image in {tmp_path}/a/5.png"]


def test_no_more_than_two_batches_are_in_memory(tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / f"{number:02}.png")
    decoded: list[Path] = []

    def decode(path: Path) -> torch.Tensor:
        decoded.append(path)
        return torch.zeros(3, 8, 8, dtype=torch.uint8)

    for number, _ in enumerate(ImageFiles([tmp_path], decode, batch_size=3), start=1):
        assert len(decoded) <= 3 * (number + 1)
    assert len(decoded) == 20


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^Expected images to be files or folders, but .*/nowhere does not exist[.]$"):
        ImageFiles([tmp_path / "nowhere"], Digits().decode, batch_size=1)
    with pytest.raises(ValueError, match=r"^Expected images \(.bmp, .gif, .*\) in the folder, but found none in "):
        ImageFiles([tmp_path], Digits().decode, batch_size=1)
