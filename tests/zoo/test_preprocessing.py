"""Preparation of images: by the plain steps of Pillow and NumPy, as data modules do it, and what it refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nnmass.datamodules import CIFAR10, CIFAR100, MNIST, Digits, ImageDataModule, ImageNet, Seg
from nnmass.zoo import Preprocessing

GREY = Preprocessing(1, (28, 28), (0.1307,), (0.3081,))
COLOUR = Preprocessing(3, (20, 32), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
CROPPED = Preprocessing(3, (24, 24), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=0.875)
KINDS = {"grey": GREY, "colour": COLOUR, "cropped": CROPPED, "cropped_grey": dataclasses.replace(GREY, crop=0.5)}


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 10, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).resize((300, 210)).save(path, quality=95)
    return path


def by_hand(path: Path, wanted: Preprocessing) -> np.ndarray:
    """The bytes (H, W) or (H, W, C) by Pillow alone."""
    mode, (height, width) = ("L" if wanted.channels == 1 else "RGB"), wanted.size
    with Image.open(path) as image:
        if wanted.crop is None:
            return np.asarray(image.convert(mode).resize((width, height)))
        least = height / wanted.crop
        image.draft(mode, (round(image.width / image.height * least), round(least)))
        whole = image.convert(mode)
    margin = [(length - wanted.crop * min(whole.size)) / 2 for length in whole.size]
    box = (margin[0], margin[1], whole.width - margin[0], whole.height - margin[1])
    return np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR, box=box))


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_prepared_as_by_hand(kind: str, photograph: Path) -> None:
    wanted = KINDS[kind]
    expected = by_hand(photograph, wanted)
    decoded = wanted.decode(photograph)
    assert decoded.dtype == torch.uint8
    assert decoded.shape == (wanted.channels, *wanted.size)
    assert np.array_equal(decoded.permute(1, 2, 0).squeeze(-1).numpy(), expected)
    pixels = expected.reshape(*wanted.size, -1).astype(np.float32) / np.float32(255)
    floats = (pixels - np.array(wanted.mean, np.float32)) / np.array(wanted.std, np.float32)
    assert np.array_equal(wanted(str(photograph)).permute(1, 2, 0).numpy(), floats)


def test_images_in_memory_are_prepared_like_files_that_are_not_drafted(photograph: Path) -> None:
    with Image.open(photograph) as image:
        assert torch.equal(COLOUR(image), COLOUR(photograph))
        image.save(photograph.with_suffix(".png"))
        assert torch.equal(CROPPED(image), CROPPED(photograph.with_suffix(".png")))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (MNIST(), GREY),
        (CIFAR10(), Preprocessing(3, (32, 32), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))),
        (CIFAR100(standardise=False), Preprocessing(3, (32, 32), (0, 0, 0), (1, 1, 1))),
        (Digits(), Preprocessing(1, (8, 8), (0.3053,), (0.3760,))),
        (ImageNet(resolution=24), CROPPED),
        (Seg(), None),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, Preprocessing | None) else "",
)
def test_data_modules_say_how_their_images_are_prepared(data: Any, expected: Preprocessing | None) -> None:
    assert data.preprocessing == expected


def test_a_batch_of_a_data_module_is_what_its_preprocessing_makes_of_the_files(tmp_path: Path) -> None:
    data = Digits()
    images, _ = data.load("test")
    wanted = data.preprocessing
    assert wanted is not None
    batch, _ = next(iter(data.test_dataloader()))
    for index in range(20):
        Image.fromarray(images[index, 0].numpy()).save(tmp_path / "a.png")
        assert torch.equal(wanted(tmp_path / "a.png"), batch[index])


def test_channels_that_no_image_file_has_have_no_preprocessing(tmp_path: Path) -> None:
    class Infrared(ImageDataModule):
        num_classes, in_chans, image_size, mean, std = 2, 4, (8, 8), (0.5,) * 4, (0.2,) * 4

        def load(self, split: str) -> Any: ...

    assert Infrared().preprocessing is None
    with pytest.raises(ValueError, match="^Expected data of images for prediction from files, but got Infrared[.]$"):
        Infrared().decode(tmp_path / "a.png")


@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 500),
    width=st.integers(1, 500),
    crop=st.none() | st.floats(0.01, 1),
    data=st.data(),
)
def test_plain_numbers_bring_it_back(channels: int, height: int, width: int, crop: float | None, data: Any) -> None:
    numbers = st.lists(st.floats(0.01, 1), min_size=channels, max_size=channels).map(tuple)
    size = (height, width if crop is None else height)
    kept = Preprocessing(channels, size, data.draw(numbers), data.draw(numbers), crop)
    assert Preprocessing.from_dict(json.loads(json.dumps(kept.as_dict()))) == kept


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"channels": 2}, "channels of the preprocessing to be one of 1, 3, but got 2"),
        ({"channels": True}, "channels of the preprocessing to be an integer of at least 1, but got True"),
        ({"channels": 1}, "mean of the preprocessing to be 1 numbers"),
        ({"size": [24]}, r"size of the preprocessing to be 2 numbers, but got \[24\]"),
        ({"size": [24, 0]}, "size of the preprocessing to be an integer of at least 1, but got 0"),
        ({"size": [24.5, 24]}, "size of the preprocessing to be an integer of at least 1, but got 24.5"),
        ({"size": [24, 10**9]}, "size of the preprocessing to be at most 65,536"),
        ({"size": [24, 25]}, "size of a centre crop to be a square"),
        ({"mean": "abc"}, "mean of the preprocessing to be 3 numbers"),
        ({"mean": [0, 0, float("nan")]}, "mean of the preprocessing to be finite numbers, but got nan"),
        ({"mean": [0, 0, True]}, "mean of the preprocessing to be finite numbers, but got True"),
        ({"std": [1, 1, 0]}, "std of the preprocessing to be positive"),
        ({"crop": 1.5}, "crop of the preprocessing to lie above 0 and up to 1"),
        ({"crop": "all"}, "crop of the preprocessing to be finite numbers, but got 'all'"),
        (
            {"colour": 1},
            "a preprocessing to have channels, size, mean, std, crop, but got .*, colour",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_damaged_numbers_are_refused_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^Expected {sentence}"):
        Preprocessing.from_dict({**CROPPED.as_dict(), **change})


@pytest.mark.parametrize("values", [None, [], "a", {"channels": 3}], ids=repr)
def test_fields_that_are_missing_are_named(values: Any) -> None:
    with pytest.raises(ValueError, match="^Expected a preprocessing to have channels, size, mean, std, crop, but got"):
        Preprocessing.from_dict(values)
