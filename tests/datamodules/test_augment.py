"""Augmentation: exact where it is deterministic, the full distribution where it is drawn."""

from collections.abc import Callable

import pytest
import torch
from gpu_shaped import device_waits
from scipy.stats import beta, kstest
from torch import Generator, Tensor
from torch.nn.functional import pad
from torchvision import transforms
from torchvision.transforms.v2 import functional as theirs

from nnmass.datamodules.augment import (
    Augmentation,
    adjust_colours,
    cutmix,
    mixup,
    random_crop,
    random_cutout,
    random_flip,
)
from nnmass.zoo.weights.preprocessing import normalise

COUNT = 8100


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_normalise_is_torchvisions_to_the_bit() -> None:
    images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8, generator=generator())
    mean, std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    expected = torch.stack([usual(image.permute(1, 2, 0).numpy()) for image in images])
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


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_as_in_torchvision(channels: int) -> None:
    images = torch.randint(0, 256, (6, channels, 9, 7), dtype=torch.uint8, generator=generator())
    factors = 0.5 + torch.rand(3, 6, generator=generator(1))
    expected = []
    for image, brightness, contrast, saturation in zip(images, *factors.tolist(), strict=True):
        image = theirs.adjust_contrast(theirs.adjust_brightness(image, brightness), contrast)
        expected.append(theirs.adjust_saturation(image, saturation))
    difference = adjust_colours(images, *factors).int() - torch.stack(expected).int()
    assert difference.abs().max() <= 1  # a factor's float32 rounding may move a value over a whole number
    assert (difference == 0).float().mean() > 0.99


def test_mixup_blends_images_and_labels_by_the_same_share_of_its_own() -> None:
    shares = torch.eye(COUNT // 10)
    images = shares.view(COUNT // 10, 1, 1, -1).expand(-1, 2, 3, -1)
    mixed, labels = mixup(images, shares, 1.0, generator())
    torch.testing.assert_close(mixed, labels.view(COUNT // 10, 1, 1, -1).expand_as(mixed))
    torch.testing.assert_close(labels.sum(1), torch.ones(len(labels)))
    own = labels.diagonal()
    assert abs(own.mean() - 0.5) < 0.05  # Beta(1, 1) is uniform
    assert abs(own.std() - 12**-0.5) < 0.03


def test_cutmix_labels_count_the_pixels() -> None:
    count = 500
    shares = torch.eye(count)
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(count, 2, 8, 6)
    mixed, labels = cutmix(images, shares, 1.0, generator())
    assert torch.equal(mixed[:, 0], mixed[:, 1])
    for index in range(count):
        seen = torch.zeros(count)
        for value, pixels in zip(*mixed[index, 0].unique(return_counts=True), strict=True):
            seen[int(value)] = pixels / 48
        torch.testing.assert_close(labels[index], seen)
    assert len({tuple(mask) for mask in (mixed[:, 0] != images[:, 0]).flatten(1).tolist()}) > 100


@pytest.mark.parametrize("alpha", [0.4, 1.0, 4.0])
def test_shares_of_mixup_follow_the_beta_distribution(alpha: float) -> None:
    shares = torch.eye(3000)
    own = mixup(torch.zeros(3000, 1, 1, 1), shares, alpha, generator())[1].diagonal().double()
    assert kstest(own.numpy(), beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixing_by_next_to_nothing_or_by_halves_gives_shares(mix: Callable[..., tuple[Tensor, Tensor]]) -> None:
    for alpha in (1e-3, 1e3):
        mixed, shares = mix(torch.rand(500, 1, 4, 4, generator=generator()), torch.eye(500), alpha, generator())
        assert torch.isfinite(mixed).all()
        torch.testing.assert_close(shares.sum(1), torch.ones(500))
        assert shares.min() >= 0


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixing_twice_in_a_row_draws_twice(mix: Callable[..., tuple[Tensor, Tensor]]) -> None:
    images, shares, state = torch.arange(48.0).view(8, 1, 3, 2), torch.eye(8), torch.get_rng_state()
    mine = generator(1)
    rows = [mix(images, shares, 1.0, drawn)[1] for drawn in (mine, mine, generator(1))]
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])
    assert torch.equal(state, torch.get_rng_state())


AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], object]] = {
    "crop": lambda images, drawn: random_crop(images, 4, drawn),
    "flip": random_flip,
    "cutout": lambda images, drawn: random_cutout(images, 8, drawn),
    "normalise": lambda images, drawn: normalise(images, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)),
    "colours": lambda images, drawn: adjust_colours(images, *torch.rand(3, 4, device="cuda")),
    "mixup": lambda images, drawn: mixup(images.float(), torch.zeros(4, 10, device="cuda"), 0.2, drawn),
    "cutmix": lambda images, drawn: cutmix(images.float(), torch.zeros(4, 10, device="cuda"), 0.2, drawn),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_gpu_is_not_waited_for(name: str) -> None:
    with device_waits() as waits:
        AUGMENTATIONS[name](torch.zeros(4, 3, 16, 16, dtype=torch.uint8, device="cuda"), generator())
        assert waits == []


def test_everything_together_gives_finite_images_and_whole_shares() -> None:
    augment = Augmentation(4, True, "trivial", colour_jitter=0.4, cutout=8, mixup=0.2, cutmix=1.0)
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=generator())
    before = images.clone()
    batch, shares = augment(images, torch.arange(64) % 10, generator(), (0.5,) * 3, (0.25,) * 3, 10)
    assert torch.equal(images, before)
    assert batch.shape == images.shape
    assert torch.isfinite(batch).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop_padding": -1}, "augmentation.crop_padding to be at least 0, but got -1"),
        ({"colour_jitter": 1.5}, "colour_jitter to lie in .*, but got 1.5"),
        ({"policy": "auto"}, "policy to be none, trivial or rand, but got 'auto'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)
