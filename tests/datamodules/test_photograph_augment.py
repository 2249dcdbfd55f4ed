"""Augmentation of photographs: against torchvision and timm alone, by seed, resumed, on any number of workers."""

import pickle
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interruptions import ThreeClasses, write_photographs
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms import v2

from nnmass.datamodules import DataModule, ImageFolder
from nnmass.datamodules.own_augment import OwnAugmentation
from nnmass.datamodules.photograph_augment import _NOTATION, PhotographAugmentation, PhotographSteps
from nnmass.studies.choices import JacobianChoice
from nnmass.studies.measurer import Measurer
from nnmass.zoo.seeding import seeded

MEAN = (0.485, 0.456, 0.406)
COLOUR = (124, 116, 104)
EVERYTHING = {"policy": "rand-m6-mstd0.5-inc1", "colour_jitter": 0.4, "erasing": 0.5}


def photograph(number: int = 0, mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((40, 40)).convert(mode)


def pixels(image: Image.Image) -> Tensor:
    return v2.functional.pil_to_tensor(image)


def steps(mean: tuple[float, ...] = MEAN, **options: Any) -> PhotographSteps:
    return PhotographSteps(PhotographAugmentation(**options), mean, 40)


def random_states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def test_without_steps_the_bytes_stay() -> None:
    image = photograph()
    assert torch.equal(steps(mixup=0.5)(image, 3), pixels(image))
    grey = photograph(mode="L")
    assert torch.equal(steps((0.5,))(grey, 3), pixels(grey))


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"policy": "trivial"}, v2.TrivialAugmentWide()),
        ({"policy": "rand"}, v2.RandAugment()),
        ({"colour_jitter": 0.3}, v2.ColorJitter(0.3, 0.3, 0.3)),
    ],
    ids=["trivial", "rand", "colour jitter"],
)
def test_each_step_is_torchvisions(options: dict[str, Any], theirs: v2.Transform) -> None:
    ours = steps(**options)
    differing = 0
    for seed in range(30):
        with seeded(seed):
            expected = pixels(theirs(photograph(seed)))
        assert torch.equal(ours(photograph(seed), seed), expected)
        differing += not torch.equal(expected, pixels(photograph(seed)))
    assert differing > 20


@pytest.mark.parametrize("policy", ["rand-m6-mstd0.5-inc1", "rand-n3-m9-p1"])
def test_timms_notation_is_timms_policy(policy: str) -> None:
    theirs, ours = rand_augment_transform(policy, {"translate_const": 18, "img_mean": COLOUR}), steps(policy=policy)
    for seed in range(30):
        random.seed(seed)
        np.random.seed(seed)
        assert torch.equal(ours(photograph(seed), seed), pixels(theirs(photograph(seed))))


@given(st.from_regex(_NOTATION, fullmatch=True), st.integers(0, 2**62))
def test_every_policy_that_is_accepted_is_read_by_timm_and_runs(policy: str, seed: int) -> None:
    assert steps(policy=policy)(photograph(), seed).shape == (3, 40, 40)


def test_the_edges_of_a_magnitude_are_nothing_and_the_strongest() -> None:
    """At magnitude 0 timm's operations that become stronger change nothing, but for those without a strength."""
    without_strength = {"AutoContrast", "Equalize", "Invert"}
    for magnitude in (0, 10):
        (policy,) = steps(policy=f"rand-m{magnitude}-p1-inc1")._colours
        changes = {op.name: not torch.equal(pixels(op(photograph())), pixels(photograph())) for op in policy.ops}
        weak = {name for name, changed in changes.items() if not changed}
        assert weak.isdisjoint(without_strength)
        assert magnitude == 0 or not weak


@pytest.mark.parametrize("policy", ["rand-m10-p1-inc1", "rand-m0-p1"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_of_the_values_no_bit_may_be_left(policy: str, mode: str) -> None:
    """With the highest magnitude, or the lowest where they do not increase, posterize leaves black."""
    (read,) = steps((0.5,) * len(mode), policy=policy)._colours
    (posterize,) = (operation for operation in read.ops if operation.name.startswith("Posterize"))
    assert not pixels(posterize(photograph(mode=mode))).any()


def test_erasing_paints_the_mean_colour_over_the_promised_share() -> None:
    ours, erased = steps(erasing=1.0), []
    for seed in range(200):
        image = pixels(photograph(seed))
        result = ours(photograph(seed), seed)
        changed = (result != image).any(dim=0)
        assert (result[:, changed] == torch.tensor(COLOUR, dtype=torch.uint8).view(3, 1)).all()
        erased.append(float(changed.float().mean()))
    assert min(erased) > 0.01
    assert max(erased) < 0.36
    assert sum(torch.equal(steps(erasing=0.3)(photograph(), seed), pixels(photograph())) for seed in range(200)) > 110


@pytest.mark.parametrize("policy", ["trivial", "rand", "rand-m6-mstd0.5-inc1"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_seed_decides_and_no_random_state_moves(policy: str, mode: str) -> None:
    ours = steps(MEAN if mode == "RGB" else (0.45,), **EVERYTHING | {"policy": policy})
    before = random_states()
    results = [ours(photograph(mode=mode), seed) for seed in range(40)]
    assert random_states() == before
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert all(torch.equal(ours(photograph(mode=mode), seed), result) for seed, result in enumerate(results))
    assert len({result.numpy().tobytes() for result in results}) > 30
    assert results[0].shape == (len(mode), 40, 40)


def test_an_error_leaves_the_random_state_as_it_was() -> None:
    before = random_states()
    with pytest.raises(AttributeError):
        steps(**EVERYTHING)(None, 3)  # type: ignore[arg-type]
    assert random_states() == before


def test_a_process_that_is_spawned_can_take_the_steps_over() -> None:
    ours = steps(**EVERYTHING)
    again = pickle.loads(pickle.dumps(ours))
    assert torch.equal(again(photograph(), 5), ours(photograph(), 5))


@given(
    st.integers(1, 7),
    st.integers(2, 6),
    st.sampled_from([(0.2, 0.0), (0.0, 1.0), (0.1, 1.0)]),
    st.integers(0, 2**62),
)
def test_mixed_labels_are_the_shares_of_the_images(
    count: int, classes: int, alphas: tuple[float, float], seed: int
) -> None:
    """Each image is of one colour, which is one-hot as its label: means over the pixels are then the shares."""
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    images = one_hot(labels, classes).float().view(count, classes, 1, 1).expand(-1, -1, 8, 8).contiguous()
    augmentation = PhotographAugmentation(mixup=alphas[0], cutmix=alphas[1])
    mixed, shares = augmentation.mix(images, labels, classes, seed)
    assert mixed.shape == images.shape
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(count))
    torch.testing.assert_close(mixed.mean(dim=(2, 3)), shares)
    again = augmentation.mix(images, labels, classes, seed)
    assert torch.equal(again[0], mixed)
    assert torch.equal(again[1], shares)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"policy": "strong"}, "policy to be none, trivial, rand, or RandAugment in timm's notation .* got 'strong'"),
        ({"policy": "rand-m11"}, "policy to be none, trivial, .* got 'rand-m11'"),
        ({"policy": "rand-m9-m"}, "policy to be none, trivial, .* got 'rand-m9-m'"),
        ({"colour_jitter": 1.1}, r"colour_jitter to lie in \[0, 1\], but got 1.1"),
        ({"erasing": -0.1}, r"erasing to lie in \[0, 1\], but got -0.1"),
        ({"mixup": -1.0}, "mixup to be at least 0, but got -1.0"),
        ({"cutmix": float("nan")}, "cutmix to be at least 0, but got nan"),
        ({"cutmix": float("inf")}, "cutmix to be at least 0, but got inf"),
        ({"repeats": 0}, "repeats to be at least 1, but got 0"),
    ],
    ids=lambda part: None if isinstance(part, str) else next(iter(part)),
)
def test_what_is_out_of_range_is_named(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"Expected data.augmentation.{sentence}"):
        PhotographAugmentation(**options)


ALL = PhotographAugmentation("rand-m6-mstd0.5-inc1", 0.4, 0.5, mixup=0.1, cutmix=1.0, repeats=2)


def make(folder: Path, augmentation: PhotographAugmentation = ALL, **options: Any) -> ThreeClasses:
    settings = {"resolution": 24, "train_resolution": 16, "num_workers": 0, "batch_size": 4, "val_on_test": True}
    return ThreeClasses(data_dir=str(folder), augmentation=augmentation, **settings | options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("photographs")
    write_photographs(place, train=5, val=2)
    return place


def finished(data: DataModule, position: dict[str, int]) -> list[tuple[Tensor, Tensor]]:
    """Batches as the network sees them, from a position on."""
    loader = data.train_dataloader()
    loader.go_to(position)
    return [data.transfer_batch_to_device(batch, torch.device("cpu"), 0) for batch in loader]


def test_all_that_is_random_depends_on_seed_and_epoch_and_not_on_the_workers(folder: Path) -> None:
    start = {"epoch": 2, "start": 0}
    expected = finished(make(folder), start)
    assert [images.shape for images, _ in expected] == [(4, 3, 16, 16)] * 3 + [(3, 3, 16, 16)]
    for images, shares in expected:
        assert images.dtype == torch.float32
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(len(images)))
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    for again in (finished(make(folder), start), finished(make(folder, num_workers=2), start)):
        for batch, other in zip(expected, again, strict=True):
            assert all(map(torch.equal, batch, other))
    for other in (finished(make(folder, seed=1), start), finished(make(folder), {"epoch": 3, "start": 0})):
        assert not torch.equal(other[0][0], expected[0][0])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_goes_on_in_its_middle_with_the_same_bits(folder: Path, num_workers: int) -> None:
    whole = finished(make(folder), {"epoch": 1, "start": 0})
    rest = finished(make(folder, num_workers=num_workers), {"epoch": 1, "start": 2})
    assert len(rest) == 2
    for batch, other in zip(whole[2:], rest, strict=True):
        assert all(map(torch.equal, batch, other))


def test_a_photograph_that_comes_again_is_augmented_anew(folder: Path) -> None:
    data = make(folder, PhotographAugmentation(repeats=2))
    images, labels = next(iter(data.train_dataloader()))
    assert torch.equal(labels[0::2], labels[1::2])
    assert not any(torch.equal(one, other) for one, other in zip(images[0::2], images[1::2], strict=True))


def test_the_first_of_the_repetitions_is_the_photograph_without_any(folder: Path) -> None:
    plain = next(iter(make(folder, PhotographAugmentation("trivial")).train_dataloader()))
    repeated = next(iter(make(folder, PhotographAugmentation("trivial", repeats=2)).train_dataloader()))
    assert torch.equal(repeated[0][0::2], plain[0][:2])


def test_only_training_photographs_are_augmented_and_of_the_resolution_of_training(folder: Path) -> None:
    data, plain = make(folder, test_crop=1.0), make(folder, PhotographAugmentation(), test_crop=1.0)
    assert data.input_size == (3, 24, 24)
    assert data.train_input_size == (3, 16, 16)
    assert data.preprocessing.crop == 1.0
    for loader, other in (
        (data.val_dataloader(), plain.val_dataloader()),
        (data.test_dataloader(), plain.test_dataloader()),
    ):
        for batch, expected in zip(loader, other, strict=True):
            assert batch[0].shape[1:] == (3, 24, 24)
            assert all(map(torch.equal, batch, expected))
    smaller = make(folder, test_crop=0.5)
    assert not torch.equal(next(iter(smaller.test_dataloader()))[0], next(iter(data.test_dataloader()))[0])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"train_resolution": 7}, "data.train_resolution to be at least 8, but got 7"),
        ({"test_crop": 0.0}, "data.test_crop to lie above 0 and up to 1, but got 0.0"),
        ({"test_crop": 1.01}, "data.test_crop to lie above 0 and up to 1, but got 1.01"),
    ],
    ids=lambda part: None if isinstance(part, str) else next(iter(part)),
)
def test_sizes_out_of_range_are_named(options: dict[str, Any], sentence: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=f"Expected {sentence}"):
        make(folder, **options)


def test_own_photographs_are_augmented_in_the_same_way(folder: Path) -> None:
    settings: dict[str, Any] = {"resolution": 24, "train_resolution": 16, "num_workers": 0, "batch_size": 4}
    own = ImageFolder(
        data_dir=str(folder / "imagenet"),
        augmentation=OwnAugmentation(**asdict(ALL)),
        val_on_test=True,
        mean=list(MEAN),
        std=list(ThreeClasses.std),
        **settings,
    )
    start = {"epoch": 1, "start": 1}
    for batch, other in zip(finished(own, start), finished(make(folder), start), strict=True):
        assert all(map(torch.equal, batch, other))


@pytest.mark.parametrize("options", [{"train_resolution": 16}, {"test_crop": 0.95}], ids=["resolution", "crop"])
def test_images_in_memory_are_not_cropped(options: dict[str, Any], folder: Path) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"Expected no data.{name} with data.in_memory true, but got {value}"):
        ImageFolder(data_dir=str(folder / "imagenet"), in_memory=True, resolution=24, **options)


def test_a_study_measures_the_photographs_that_a_network_would_see(folder: Path) -> None:
    data = make(folder)
    measurer = Measurer(JacobianChoice(samples=6))
    images = measurer._images("config", data, 6)
    expected = torch.cat([batch for batch, _ in finished(make(folder), {"epoch": 0, "start": 0})])[:6]
    assert torch.equal(images, expected)
