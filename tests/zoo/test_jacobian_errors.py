"""Standard errors of the spectra's means: what they cover, over images and of one image."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nnmass.zoo import layer_spectra
from nnmass.zoo.jacobian.estimates import Estimate
from nnmass.zoo.seeding import seeded

FIGURES = ("mean", "mean_square", "isometry")


def network() -> nn.Module:
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.ELU(), nn.Conv2d(3, 3, 3)
        ).double()


def population() -> torch.Tensor:
    """Images of unlike contrast: the layers' means differ from image to image."""
    generator = torch.Generator().manual_seed(0)
    contrast = torch.randn(400, 1, 1, 1, dtype=torch.float64, generator=generator).exp()
    brightness = torch.randn(400, 2, 1, 1, dtype=torch.float64, generator=generator)
    return brightness + contrast * torch.randn(400, 2, 5, 5, dtype=torch.float64, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4, 12])
@pytest.mark.parametrize("exact_up_to", [0, 1024])
def test_intervals_cover_the_truth_19_times_in_20(count: int, exact_up_to: int) -> None:
    """Over images the truth is the population's mean; of one image it is that image's own."""
    model, images = network(), population()
    truth = list(layer_spectra(model, images, "eval"))
    covered, asked = 0, 0
    for repetition in range(50):
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(repetition))[:count]
        if count == 1:
            truth = list(layer_spectra(model, images[chosen], "eval"))
        found = layer_spectra(model, images[chosen], "eval", exact_up_to=exact_up_to, steps=40, seed=repetition)
        for one, other in zip(found, truth, strict=True):
            for figure in FIGURES:
                low, high = getattr(one.spectrum, figure).interval()
                true = getattr(other.spectrum, figure).value
                covered += low - 1e-9 * true <= true <= high + 1e-9 * true
                asked += 1
    assert covered / asked >= 0.89, covered / asked


def test_probes_of_one_image_are_not_taken_for_images() -> None:
    """Two images, alike in all their probes: the error is that of two numbers, not of twenty."""
    draws = torch.tensor([[[1.0] * 10], [[3.0] * 10]])
    found = Estimate.of(draws)
    assert (found.value, found.error_of, found.freedom) == (2.0, "images", 1)
    assert found.standard_error == pytest.approx(math.sqrt(2) / math.sqrt(2))
    low, high = found.interval()
    assert (low, high) == pytest.approx((2 - 12.7062, 2 + 12.7062), rel=1e-5)


@given(samples=st.integers(1, 4), probes=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_one_image_has_the_error_of_its_probes(samples: int, probes: int, seed: int) -> None:
    draws = torch.randn(1, samples, probes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = Estimate.of(draws)
    assert (found.error_of, found.freedom) == ("probes", samples * (probes - 1))
    of_samples = [sample.var().item() / probes for sample in draws[0]]
    assert found.standard_error == pytest.approx(math.sqrt(sum(of_samples)) / samples)


def test_an_error_that_nothing_tells_is_unknown() -> None:
    assert math.isnan(Estimate.of(torch.ones(1, 1, 1)).standard_error)
    assert Estimate.of(torch.ones(1, 1, 1), exact=True) == Estimate(1.0)
    with pytest.raises(ValueError, match="Expected level to lie between 0 and 1, but got 1"):
        Estimate(1.0).interval(1)


@pytest.mark.parametrize("exact_up_to", [0, 1024])
def test_every_row_says_what_its_errors_are_of(exact_up_to: int) -> None:
    model, images = network(), population()[:3]
    for count, error_of in ((3, "images"), (1, "" if exact_up_to else "probes")):
        rows = [found.as_dict() for found in layer_spectra(model, images[:count], "eval", exact_up_to=exact_up_to)]
        assert {row["error_of"] for row in rows} == {error_of}
    means = [next(layer_spectra(model, image[None], "eval")).spectrum.mean.value for image in images]
    found = next(layer_spectra(model, images, "eval")).spectrum.mean
    assert found.standard_error == pytest.approx(torch.tensor(means, dtype=torch.float64).std().item() / math.sqrt(3))


def test_tokens_of_one_image_are_not_taken_for_images() -> None:
    with seeded(0):
        model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    tokens = torch.randn(3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = [next(layer_spectra(model, image[None])).spectrum.mean.value for image in tokens]
    found = next(layer_spectra(model, tokens)).spectrum.mean
    assert found.freedom == 2
    assert found.standard_error == pytest.approx(torch.tensor(alone, dtype=torch.float64).std().item() / math.sqrt(3))
