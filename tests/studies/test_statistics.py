"""The statistics of a study against scipy's own, explicit loops and simulated samples of known truth."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnmass.studies.resampling import bootstrapped
from nnmass.studies.statistics import (
    explainable_share,
    kendall_interval,
    left_out_r2,
    partial_correlation,
    quadratic_fit,
    r2_difference,
    r2_with_interval,
    spearman_interval,
)


def sample(points: int, correlation: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x, noise = generator.standard_normal((2, points))
    return x, correlation * x + np.sqrt(1 - correlation**2) * noise


def residual(of: np.ndarray, controls: list[np.ndarray]) -> np.ndarray:
    design = np.column_stack([np.ones(len(of)), *controls])
    return of - design @ np.linalg.lstsq(design, of, rcond=None)[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 60), st.integers(0, 2), st.integers(0, 10**6))
def test_a_partial_correlation_is_that_of_the_residuals(points: int, controls: int, seed: int) -> None:
    columns = list(np.random.default_rng(seed).standard_normal((2 + controls, points)))
    x, y, others = columns[0], columns[1] + columns[-1], columns[2:]
    expected = np.corrcoef(residual(x, others), residual(y, others))[0, 1]
    assert partial_correlation(x, y, others, np.arange(points)).value == pytest.approx(expected, abs=1e-9)


def test_few_networks_have_fishers_interval() -> None:
    x, y = sample(11, -0.8)
    theirs = stats.pearsonr(x, y).confidence_interval(0.95)
    ours = r2_with_interval(x, y, np.arange(11))
    assert ours == pytest.approx((stats.pearsonr(x, y).statistic ** 2, theirs.high**2, theirs.low**2))
    assert r2_with_interval(*sample(11, 0.05, seed=1), np.arange(11)).low == 0


def test_many_networks_have_the_interval_of_scipys_bootstrap() -> None:
    x, y = sample(60, 0.7)
    theirs = stats.bootstrap(
        (x, y),
        lambda a, b: stats.pearsonr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    ours = r2_with_interval(x, y, np.arange(60))
    assert np.sqrt(ours[1:]) == pytest.approx([theirs.low, theirs.high], abs=0.02)


@pytest.mark.parametrize("correlation", [0.3, 0.9])
@pytest.mark.parametrize("spaced", [False, True], ids=["normal", "evenly spaced"])
def test_intervals_cover_the_truth_at_eleven_networks(correlation: float, spaced: bool) -> None:
    hits = 0
    for seed in range(400):
        x, y = sample(11, correlation, seed)
        if spaced:
            y = y - correlation * x + correlation * np.linspace(-1.7, 1.7, 11)
            x = np.linspace(-1.7, 1.7, 11)
        _, low, high = r2_with_interval(x, y, np.arange(11))
        hits += low <= correlation**2 <= high
    assert hits / 400 > 0.92  # 0.95 less three standard errors of 400


def test_seeds_of_a_network_are_resampled_together() -> None:
    x, y = sample(12, 0.6)
    once = r2_with_interval(x, y, np.arange(12))
    copied = [np.repeat(column, 9) for column in (x, y, np.arange(12))]
    thrice = r2_with_interval(*copied)
    assert thrice.value == pytest.approx(once.value)
    # Nine copies of each network tell no more than one, though the points are 108.
    as_if_single = r2_with_interval(copied[0], copied[1], np.arange(108))
    assert thrice.high - thrice.low > 2 * (as_if_single.high - as_if_single.low)


def test_a_difference_is_between_the_same_resamples() -> None:
    x, y = sample(40, 0.6)
    value, low, high = r2_difference(x, x + 1e-6 * y, y, np.arange(40))
    assert abs(value) < 1e-5
    assert high - low < 1e-4  # apart, each interval is wider by four orders
    other = np.random.default_rng(3).standard_normal(40)
    close = x + 0.3 * y
    better, swapped = r2_difference(close, other, y, np.arange(40)), r2_difference(other, close, y, np.arange(40))
    assert better.low > 0
    assert better == pytest.approx((-swapped.value, -swapped.high, -swapped.low), abs=0.02)


@pytest.mark.parametrize("networks", [8, 9, 12])
def test_an_interval_is_the_same_however_a_processor_rounds(networks: int) -> None:
    """Of few networks some resamples draw each of them once, and have the value itself but for rounding."""
    values = np.arange(networks) ** 1.5

    def mean(weights: np.ndarray) -> np.ndarray:
        return weights @ values / networks

    def rounded(weights: np.ndarray, by: float) -> np.ndarray:
        return mean(weights) * (1 + by * (len(weights) > networks))

    for by in (1e-14, -1e-14):
        assert bootstrapped(partial(rounded, by=by), networks) == pytest.approx(bootstrapped(mean, networks), rel=1e-9)


def test_a_group_is_predicted_by_the_line_through_the_others() -> None:
    x, y = sample(30, 0.7)
    groups = np.repeat([1, 2, 3, 4, 5], 6)
    errors = 0.0
    for group in range(1, 6):
        slope, intercept = np.polyfit(x[groups != group], y[groups != group], 1)
        errors += ((y[groups == group] - slope * x[groups == group] - intercept) ** 2).sum()
    assert left_out_r2(x, y, groups) == pytest.approx(1 - errors / ((y - y.mean()) ** 2).sum())
    assert np.isnan(left_out_r2(x, y, np.repeat([1, 2], 15)))


def test_a_parabola_is_told_from_a_line() -> None:
    x = np.linspace(1, 9, 40)
    noise = np.random.default_rng(0).standard_normal(40)
    bent, straight = quadratic_fit(x, -((x - 5) ** 2) + noise), quadratic_fit(x, x + noise)
    assert bent.r2 > 0.9 > bent.p_value + 0.8
    assert straight.p_value > 0.05
    design = np.column_stack([np.ones(40), x, x**2])
    error = residual(x + noise, [x, x**2])
    assert straight.r2 == pytest.approx(1 - error @ error / ((x + noise).var() * 40))
    variance = error @ error / 37 * np.linalg.inv(design.T @ design)[2, 2]
    t = np.linalg.lstsq(design, x + noise, rcond=None)[0][2] / np.sqrt(variance)
    assert straight.p_value == pytest.approx(2 * stats.t.sf(abs(t), 37), rel=1e-6)


@pytest.mark.parametrize(
    ("interval", "rank"), [(spearman_interval, stats.spearmanr), (kendall_interval, stats.kendalltau)]
)
def test_intervals_of_ranks_cover_the_truth(interval: Callable, rank: Callable) -> None:
    truth = rank(*sample(100_000, 0.6)).statistic
    bounds = [interval(rank(*sample(20, 0.6, seed)).statistic, 20) for seed in range(400)]
    assert np.mean([low <= truth <= high for low, high in bounds]) > 0.92
    assert np.isnan(interval(0.5, 7)).all()


def test_what_seeds_leave_to_be_explained_is_the_share_of_the_networks_variance() -> None:
    generator = np.random.default_rng(0)
    networks = generator.standard_normal((1000, 1))
    table = networks + np.sqrt(5) * generator.standard_normal((1000, 5))  # the mean's error has the networks' variance
    share = explainable_share(table + generator.standard_normal((1, 5)))
    assert share.value == pytest.approx(0.5, abs=0.05)
    assert share.low < 0.5 < share.high
    assert np.isnan(explainable_share(table[:, :1])).all()


@pytest.mark.parametrize(
    "numbers",
    [([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3, 4], [2, 2, 2, 2]), ([1, 2], [1, 2]), ([], [])],
    ids=["equal x", "equal y", "two points", "none"],
)
def test_what_has_no_line_is_unknown(numbers: tuple[list[float], list[float]]) -> None:
    x, y = (np.array(part, dtype=float) for part in numbers)
    assert np.isnan(r2_with_interval(x, y, np.arange(len(x)))).all()
    assert np.isnan(r2_difference(x, x, y, np.arange(len(x)))).all()


def test_a_control_that_determines_the_predictor_leaves_nothing_to_tell() -> None:
    x, y = sample(20, 0.5)
    assert np.isnan(partial_correlation(x, y, [2 * x + 1], np.arange(20))).all()
    constant = partial_correlation(x, y, [np.ones(20)], np.arange(20))
    assert constant == pytest.approx(partial_correlation(x, y, [], np.arange(20)))
