"""TrivialAugment and RandAugment: torchvision's operations to the bit, torchvision's draws in their frequencies."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gpu_shaped import device_waits
from scipy.stats import chi2_contingency, chisquare
from torch import Generator, Tensor
from torch.nn.functional import conv2d
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as theirs

from nnmass.datamodules import policy
from nnmass.datamodules.policy import MAGNITUDES, OPERATIONS, apply_operations, random_policy

POLICIES: dict[str, Any] = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def moved(image: Tensor, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0, 0), **more: Any) -> Tensor:
    degrees = [math.degrees(math.atan(slope)) for slope in shear]
    return theirs.affine(image, angle=0.0, translate=list(shift), scale=1.0, shear=degrees, **more)


ALONE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Identity": lambda image, m: image,
    "ShearX": lambda image, m: moved(image, shear=(m, 0), center=[0, 0]),
    "ShearY": lambda image, m: moved(image, shear=(0, m), center=[0, 0]),
    "TranslateX": lambda image, m: moved(image, (int(m), 0)),
    "TranslateY": lambda image, m: moved(image, (0, int(m))),
    "Rotate": theirs.rotate,
    "Brightness": lambda image, m: theirs.adjust_brightness(image, 1 + m),
    "Color": lambda image, m: theirs.adjust_saturation(image, 1 + m),
    "Contrast": lambda image, m: theirs.adjust_contrast(image, 1 + m),
    "Sharpness": lambda image, m: theirs.adjust_sharpness(image, 1 + m),
    "Posterize": lambda image, m: theirs.posterize(image, int(m)),
    "Solarize": lambda image, m: theirs.solarize(image, 255 * m),
    "AutoContrast": lambda image, m: theirs.autocontrast(image),
    "Equalize": lambda image, m: theirs.equalize(image),
}


def strength(size: tuple[int, ...], chosen: str, name: str, magnitude: int, direction: int) -> float:
    """By torchvision's own table of magnitudes."""
    magnitudes, signed = POLICIES[chosen]._AUGMENTATION_SPACE[name]
    values = magnitudes(MAGNITUDES, *size)
    value = 0.0 if values is None else float(values[magnitude])
    return -value if signed and direction else value


def undecided(image: Tensor, name: str, m: float) -> Tensor:
    """Pixels that the last bit of a sum decides: whole numbers to be rounded down, and halfway between two pixels.

    There torchvision itself differs between machines, and between the first and the last pixels of an image.
    """
    exact = image.double()
    grey = theirs.rgb_to_grayscale(image).double()
    if name == "Sharpness" and min(image.shape[-2:]) > 2:
        kernel = torch.ones(len(image), 1, 3, 3, dtype=torch.float64)
        kernel[..., 1, 1] = 5
        smooth = conv2d(exact, kernel / 13, groups=len(image)).round()
        exact[..., 1:-1, 1:-1] += m * (exact[..., 1:-1, 1:-1] - smooth)
    elif name in ("Brightness", "Color", "Contrast"):
        exact += m * (exact - {"Brightness": 0, "Color": grey, "Contrast": grey.mean()}[name])
    elif name in ("ShearX", "ShearY"):
        across = name == "ShearX"
        exact = (
            exact.zero_()
            + 0.5
            + abs(m) * (torch.arange(image.shape[-2 if across else -1]) + 0.5).view((-1, 1) if across else (1, -1))
        )
    else:
        return torch.zeros_like(image, dtype=torch.bool)
    return (exact - exact.round()).abs() < 1e-4


def assert_torchvisions(found: Tensor, image: Tensor, chosen: str, name: str, magnitude: int, direction: int) -> None:
    m = strength(image.shape[-2:], chosen, name, magnitude, direction)
    expected = ALONE[name](image, m)
    assert found.dtype == expected.dtype == torch.uint8
    difference = (found.int() - expected.int()).abs()
    decided = ~undecided(image, name, m)
    assert not (difference * decided).any(), (name, magnitude, direction)
    if name not in ("ShearX", "ShearY"):
        assert difference.max() <= 1


def pictures(channels: int, height: int, width: int) -> Tensor:
    """Noise over all bytes, noise over a part of them, and one byte everywhere."""
    noise = torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator(height))
    return torch.stack([noise, noise // 3 + 60, torch.full_like(noise, 100)])


def test_the_operations_are_torchvisions() -> None:
    for augment in POLICIES.values():
        assert list(OPERATIONS) == list(augment._AUGMENTATION_SPACE)


@pytest.mark.parametrize("chosen", ["trivial", "rand"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (9, 14), (2, 3), (1, 1)])
def test_every_operation_is_torchvisions_at_every_magnitude_and_sign(
    chosen: str, channels: int, size: tuple[int, int]
) -> None:
    cases = [(magnitude, direction) for magnitude in range(MAGNITUDES) for direction in (0, 1)]
    magnitudes, directions = np.array(cases).T
    for image in pictures(channels, *size):
        copies = image.expand(len(cases), -1, -1, -1)
        for place, name in enumerate(OPERATIONS):
            found = apply_operations(copies, chosen, np.full(len(cases), place), magnitudes, directions)
            assert found.shape == copies.shape
            for case, one in zip(cases, found, strict=True):
                assert_torchvisions(one, image, chosen, name, *case)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_of_a_batch_gets_its_own_operation(channels: int) -> None:
    draws, count, names = np.random.default_rng(3), 300, list(OPERATIONS)
    images = torch.randint(0, 256, (count, channels, 12, 10), dtype=torch.uint8, generator=generator())
    before = images.clone()
    cases = [draws.integers(most, size=count) for most in (len(names), MAGNITUDES, 2)]
    found = apply_operations(images, "trivial", *cases)
    for one, image, place, *case in zip(found, images, *cases, strict=True):
        assert_torchvisions(one, image, "trivial", names[place], *case)
    assert torch.equal(images, before)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("chosen", ["trivial", "rand"])
def test_batches_may_be_small(chosen: str, count: int) -> None:
    images = torch.zeros(count, 3, 4, 5, dtype=torch.uint8)
    assert random_policy(images, chosen, generator()).shape == images.shape


def test_images_of_other_than_one_or_three_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images of 1 or 3 channels with data.augmentation.policy rand, but got 2\."):
        random_policy(torch.zeros(4, 2, 8, 8, dtype=torch.uint8), "rand", generator())


def test_the_default_type_of_numbers_does_not_matter() -> None:
    images = torch.randint(0, 256, (100, 3, 8, 8), dtype=torch.uint8, generator=generator())
    expected = random_policy(images, "trivial", generator())
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(random_policy(images, "trivial", generator()), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("chosen", ["trivial", "rand"])
def test_operations_magnitudes_and_signs_are_equally_likely(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[np.ndarray, ...]] = []

    def note(images: Tensor, _: str, *draws: np.ndarray) -> Tensor:
        calls.append(draws)
        return images

    monkeypatch.setattr(policy, "apply_operations", note)
    count = 20_000
    random_policy(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), chosen, generator())
    assert len(calls) == (1 if chosen == "trivial" else 2)
    for operations, magnitudes, directions in calls:
        if chosen == "rand":
            assert set(magnitudes) == {9}
        # Jointly, so that they are independent too.
        cells = (operations * MAGNITUDES + magnitudes) * 2 + directions
        counts = np.array(list(Counter(cells.tolist()).values()))
        assert len(counts) == len(OPERATIONS) * 2 * (MAGNITUDES if chosen == "trivial" else 1)
        assert chisquare(counts).pvalue > 1e-4
    if chosen == "rand":
        first, second = (operations for operations, _, _ in calls)
        assert chisquare(np.bincount(first * len(OPERATIONS) + second, minlength=196)).pvalue > 1e-4


@pytest.mark.parametrize("chosen", ["trivial", "rand"])
def test_what_comes_out_is_as_frequent_as_with_torchvision(chosen: str) -> None:
    image = torch.randint(0, 256, (3, 6, 5), dtype=torch.uint8, generator=generator())
    count, transform = 5000, POLICIES[chosen]()
    ours = Counter(map(repr, random_policy(image.expand(count, -1, -1, -1), chosen, generator()).flatten(1).tolist()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        others = Counter(repr(transform(image).flatten().tolist()) for _ in range(count))
    # Rare outcomes count together: the test needs some of each.
    common = [outcome for outcome in ours | others if ours[outcome] + others[outcome] >= 20]
    table = [[found[outcome] for outcome in common] for found in (ours, others)]
    for row in table:
        row.append(count - sum(row))
    assert len(common) > 40
    assert chi2_contingency([row for row in zip(*table, strict=True) if sum(row)]).pvalue > 1e-4


@pytest.mark.parametrize("chosen", ["trivial", "rand"])
def test_draws_depend_on_the_generator_alone_and_leave_the_global_state(chosen: str) -> None:
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=generator()).expand(40, 3, 32, 32)
    state, mine = torch.get_rng_state(), generator(5)
    first = random_policy(images, chosen, mine)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, random_policy(images, chosen, generator(5)))
    assert not torch.equal(first, random_policy(images, chosen, mine))
    assert not torch.equal(first, random_policy(images, chosen, generator(6)))
    assert len(first.flatten(1).unique(dim=0)) > 15


@pytest.mark.parametrize("chosen", ["trivial", "rand"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_is_not_waited_for(chosen: str, channels: int) -> None:
    with device_waits() as waits:
        images = torch.zeros(200, channels, 32, 32, dtype=torch.uint8, device="cuda")
        assert random_policy(images, chosen, generator()).device.type == "cuda"
        assert waits == []
