"""Augmentation: exact where it is deterministic, the full distribution where it is drawn."""

import pytest
import torch
from torch import Generator
from torch.nn.functional import pad
from torchvision import transforms

from datamodules.augment import normalise, random_crop, random_cutout, random_flip

COUNT = 8100


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_normalise_is_torchvisions_to_the_bit() -> None:
    images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8, generator=generator())
    mean, std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    expected = torch.stack([theirs(image.permute(1, 2, 0).numpy()) for image in images])
    assert torch.equal(normalise(images, mean, std), expected)


def test_crops_are_windows_of_the_padded_image_all_equally_likely() -> None:
    padding = 4
    image = torch.arange(1, 64 + 1, dtype=torch.uint8).view(1, 1, 8, 8)
    windows = pad(image, [padding] * 4).unfold(2, 8, 1).unfold(3, 8, 1).reshape(81, 64)
    crops = random_crop(image.expand(COUNT, 1, 8, 8), padding, generator()).reshape(COUNT, 64)
    matches = (crops[:, None] == windows[None]).all(-1)
    assert (matches.sum(1) == 1).all()
    # Binomial(8100, 1/81): mean 100, five standard deviations are 50.
    assert (matches.sum(0) - 100).abs().max() < 50


def test_half_of_the_images_are_mirrored() -> None:
    image = torch.arange(12).view(1, 1, 3, 4)
    flipped = random_flip(image.expand(COUNT, 1, 3, 4), generator())
    mirrored = (flipped == image.flip(-1)).flatten(1).all(1)
    assert (mirrored | (flipped == image).flatten(1).all(1)).all()
    assert abs(mirrored.float().mean() - 0.5) < 0.03


@pytest.mark.parametrize("size", [1, 4, 5, 20])
def test_cutout_squares_are_centred_everywhere_and_clipped(size: int) -> None:
    cut = random_cutout(torch.ones(COUNT, 2, 9, 6), size, generator()) == 0
    assert torch.equal(cut[:, 0], cut[:, 1])
    starts = {length: torch.arange(length) - size // 2 for length in (9, 6)}
    expected = []
    for row in starts[9]:
        for column in starts[6]:
            mask = torch.zeros(9, 6, dtype=torch.bool)
            mask[max(row, 0) : max(row + size, 0), max(column, 0) : max(column + size, 0)] = True
            expected.append(mask)
    places = torch.stack(expected)
    probability = cut[:, 0].float().mean(0)
    torch.testing.assert_close(probability, places.float().mean(0), atol=0.03, rtol=0)
    distinct = {tuple(mask.flatten().tolist()) for mask in places}
    assert {tuple(mask.flatten().tolist()) for mask in cut[:, 0].unique(dim=0)} == distinct


def test_the_same_generator_gives_the_same_batch() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=generator())
    state = torch.get_rng_state()
    for augment in (lambda g: random_crop(images, 2, g), lambda g: random_flip(images, g)):
        assert torch.equal(augment(generator(3)), augment(generator(3)))
        assert not torch.equal(augment(generator(3)), augment(generator(4)))
    assert torch.equal(state, torch.get_rng_state())
