"""Resamples of a study's networks: covariances of each, and bias-corrected intervals of what is made of them."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy import stats

__all__ = ["FEWEST", "QUANTILE", "ROUNDING", "Moments", "Statistic", "bootstrapped"]

RESAMPLES = 2000
FEWEST = 8
"""Networks below which no interval is given."""

QUANTILE = float(stats.norm.ppf(0.975))
ROUNDING = 1e-10
_NAN = float("nan")

Statistic = Callable[[np.ndarray], np.ndarray]
"""Function of weights (resamples, networks) that gives a number for each resample."""


class Moments:
    """Sums of each network's points, of which the covariance matrix of any resample of the networks is made.

    Args:
        columns: Numbers of the points, (n,) each.
        networks: The network of each point, (n,).
    """

    def __init__(self, columns: Sequence[np.ndarray], networks: np.ndarray) -> None:
        values = np.column_stack(columns).astype(float)
        spread = np.ptp(values, axis=0)
        self.is_constant = bool((spread <= ROUNDING * np.abs(values).max(axis=0)).any())
        values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
        names, number = np.unique(networks, return_inverse=True)
        self.networks = len(names)
        self.is_one_point_each = len(names) == len(values)
        products = values[:, :, None] * values[:, None, :]
        self.count = np.bincount(number, minlength=len(names)).astype(float)
        self.sums = np.zeros((len(names), values.shape[1]))
        self.products = np.zeros((len(names), *products.shape[1:]))
        np.add.at(self.sums, number, values)
        np.add.at(self.products, number, products)

    def covariances(self, weights: np.ndarray) -> np.ndarray:
        """Covariance matrices (resamples, columns, columns); NaN where a column does not vary."""
        count = weights @ self.count
        mean = weights @ self.sums / count[:, None]
        products = np.tensordot(weights, self.products, axes=1) / count[:, None, None]
        covariances = products - mean[:, :, None] * mean[:, None, :]
        varies = (np.diagonal(covariances, axis1=1, axis2=2) > ROUNDING**1.2).all(axis=1)
        return np.where(varies[:, None, None], covariances, np.nan)

    def correlation(self, first: int, second: int) -> Statistic:
        """Correlation of two columns."""

        def of_resamples(weights: np.ndarray) -> np.ndarray:
            matrix = self.covariances(weights)
            variances = matrix[:, first, first] * matrix[:, second, second]
            return matrix[:, first, second] / np.sqrt(variances)

        return of_resamples

    def partial_correlation(self, weights: np.ndarray) -> np.ndarray:
        """Correlation of the first two columns, given all others."""
        matrix = self.covariances(weights)
        result = np.full(len(matrix), np.nan)
        known = np.isfinite(matrix).all(axis=(1, 2))
        scale = np.sqrt(np.diagonal(matrix[known], axis1=1, axis2=2))
        correlations = matrix[known] / (scale[:, :, None] * scale[:, None, :])
        regular = np.linalg.det(correlations) > ROUNDING
        precision = np.linalg.inv(correlations[regular])
        result[np.flatnonzero(known)[regular]] = -precision[:, 0, 1] / np.sqrt(precision[:, 0, 0] * precision[:, 1, 1])
        return result


@lru_cache(maxsize=8)
def _resamples(networks: int) -> np.ndarray:
    """Times that each network is drawn, (resamples, networks); the same for every statistic."""
    drawn = np.random.default_rng(0).multinomial(networks, np.full(networks, 1 / networks), RESAMPLES).astype(float)
    drawn.setflags(write=False)
    return drawn


def bootstrapped(statistic: Statistic, networks: int) -> tuple[float, float]:
    """Compute the bias-corrected and accelerated 95 % interval over resamples of the networks.

    Args:
        statistic: What is made of a resample.
        networks: Their number.

    Returns:
        Low and high; NaN for fewer than eight networks.

    Source:
        Efron: "Better bootstrap confidence intervals", 1987.
    """
    if networks < FEWEST:
        return _NAN, _NAN
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = statistic(_resamples(networks))
        value = float(statistic(np.ones((1, networks)))[0])
        without_one = statistic(1 - np.eye(networks))
    resampled, without_one = resampled[np.isfinite(resampled)], without_one[np.isfinite(without_one)]
    if not np.isfinite(value) or not len(resampled) or not len(without_one):
        return _NAN, _NAN
    # A resample that draws each network once has the value itself, but for rounding, which differs between processors.
    is_equal = np.isclose(resampled, value, rtol=ROUNDING, atol=ROUNDING)
    below = ((resampled < value) & ~is_equal).mean() + is_equal.mean() / 2
    bias = stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    deviations = without_one.mean() - without_one
    scale = float((deviations**2).sum() ** 1.5)
    acceleration = float((deviations**3).sum()) / (6 * scale) if scale > 0 else 0.0
    shifted = bias + np.array([-QUANTILE, QUANTILE])
    low, high = np.quantile(resampled, stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)
