"""What a trained network is for: labels for a folder of images, and a copy that runs without this code."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from nnmass.commands.options.named_networks import find_network
from nnmass.datamodules import CIFAR10, Digits, ImageNet
from nnmass.datamodules.image_files import ImageFiles

CONFIG = ("--config", "digits_dense", "--trainer.max_epochs", "2")


@pytest.fixture(scope="module")
def folder(nnmass: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    done = nnmass("fit", *CONFIG, cwd=folder)
    assert done.returncode == 0, done.stderr
    images, _ = Digits().load("test")
    for index, image in enumerate(images[:150]):
        place = folder / "images" / str(index % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(place / f"{index:03d}.png")
    (folder / "images" / "notes.txt").write_text("no image")
    return folder


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_exported_networks_answer_alike(ending: str, folder: Path, nnmass: Callable) -> None:
    checkpoint = folder / "runs" / "latest" / "checkpoints" / "best.ckpt"
    file = folder / f"network.{ending}"
    done = nnmass("export", checkpoint, file)
    assert done.returncode == 0, done.stderr
    assert "inputs N x 1 x 8 x 8" in done.stdout
    batch = torch.rand(7, 1, 8, 8)
    with torch.inference_mode():
        expected = find_network(str(checkpoint)).network.eval()(batch)
        if ending == "onnx":
            session = onnxruntime.InferenceSession(str(file))
            found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: batch.numpy()})[0])
        else:
            found = torch.export.load(file).module()(batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    before = file.read_bytes()
    again = nnmass("export", checkpoint, file)
    assert "Expected a file that does not exist yet" in again.stderr
    assert file.read_bytes() == before
    assert not list(folder.glob(".*part*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("export {best}", "to be given file, but got nothing"),
        ("export resnet50 a.onnx", "Expected a checkpoint (.ckpt) to export, but got resnet50."),
        ("export nowhere.ckpt a.onnx", "Expected a checkpoint, but nowhere.ckpt does not exist."),
        ("export {best} a.pth", "Expected the file to end in .onnx or .pt2, but got 'a.pth'."),
        ("export broken/a.ckpt a.onnx", "to lie in a run folder"),
        ("export {best} a.onnx --opset 3", "Expected a known option, but got '--opset'"),
    ],
)
def test_mistakes_get_one_sentence(words: str, sentence: str, folder: Path, nnmass: Callable) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "a.png").write_bytes(b"no image")
    (folder / "broken" / "a.ckpt").write_bytes(b"no checkpoint")
    best = "runs/latest/checkpoints/best.ckpt"
    done = nnmass(*words.format(config=" ".join(CONFIG), best=best).split(), cwd=folder)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_files_are_decoded_as_the_data_set_is(tmp_path: Path) -> None:
    colour = np.arange(3 * 40 * 50, dtype=np.uint8).reshape(40, 50, 3)
    Image.fromarray(colour).save(tmp_path / "a.png")
    assert Digits().decode(tmp_path / "a.png").shape == (1, 8, 8)
    assert CIFAR10(data_dir=str(tmp_path)).decode(tmp_path / "a.png").shape == (3, 32, 32)
    assert ImageNet(data_dir=str(tmp_path), resolution=24).decode(tmp_path / "a.png").shape == (3, 24, 24)
    same = np.arange(3 * 32 * 32, dtype=np.uint8).reshape(32, 32, 3)
    Image.fromarray(same).save(tmp_path / "b.png")
    found = CIFAR10(data_dir=str(tmp_path)).decode(tmp_path / "b.png")
    assert (found.permute(1, 2, 0).numpy() == same).all()


def test_a_file_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected an image in .*a.png, but it cannot be decoded"):
        list(ImageFiles([tmp_path], Digits().decode, batch_size=1))
