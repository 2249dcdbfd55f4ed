"""Statistics of a table of networks: intervals, partial correlations, left-out groups, differences of predictors."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from nnmass.studies.resampling import FEWEST, QUANTILE, ROUNDING, Moments, Statistic, bootstrapped

__all__ = [
    "UNKNOWN",
    "Quadratic",
    "WithInterval",
    "explainable_share",
    "kendall_interval",
    "left_out_r2",
    "partial_correlation",
    "quadratic_fit",
    "r2_difference",
    "r2_with_interval",
    "spearman_interval",
]

BOOTSTRAP_FROM = 30
"""Networks from which intervals are bootstrapped: with fewer, Fisher's transformation covers better."""

_NAN = float("nan")


class WithInterval(NamedTuple):
    """An estimate and its 95 % interval; NaN where it cannot be told."""

    value: float
    low: float
    high: float


class Quadratic(NamedTuple):
    """Fit of a parabola.

    Attributes:
        r2: Share of the variance that it explains.
        p_value: Of the F test that the straight line does as well.
    """

    r2: float
    p_value: float


UNKNOWN = WithInterval(_NAN, _NAN, _NAN)
"""An estimate that cannot be told."""


def r2_with_interval(x: np.ndarray, y: np.ndarray, networks: np.ndarray) -> WithInterval:
    """R2 of the straight line, with an interval from that of the correlation.

    Args:
        x: Explaining numbers, (n,), finite.
        y: Explained numbers, (n,), finite.
        networks: The network of each point, (n,): a resample draws networks with all their points.

    Returns:
        NaN bounds for fewer than eight networks. With fewer than 30 they are by Fisher's transformation, z = artanh r
        with the standard error 1 / sqrt(n - 3), otherwise the bias-corrected and accelerated bootstrap's. An interval
        of r that holds 0 begins at an R2 of 0.

    Source:
        Fisher: "On the probable error of a coefficient of correlation", 1921; Efron: "Better bootstrap confidence
        intervals", 1987.

    Example:
        >>> import numpy as np
        >>> x = np.arange(12.0)
        >>> [round(part, 3) for part in r2_with_interval(x, x + 3 * np.sin(7 * x), np.arange(12))]
        [0.717, 0.281, 0.914]
    """
    if len(x) < 3 or (moments := Moments([x, y], networks)).is_constant:
        return UNKNOWN
    value, low, high = _interval_of_correlation(moments, moments.correlation(0, 1), controls=0)
    return WithInterval(value**2, *_squared(low, high))


def partial_correlation(
    x: np.ndarray, y: np.ndarray, controls: Sequence[np.ndarray], networks: np.ndarray
) -> WithInterval:
    """Correlation of x and y that is left when a linear function of the controls is taken off both.

    Args:
        x: Explaining numbers, (n,), finite.
        y: Explained numbers, (n,), finite.
        controls: Columns, (n,) each; those that do not vary control nothing.
        networks: The network of each point, (n,).

    Returns:
        NaN where the controls determine x or y. Bounds as in :func:`r2_with_interval`, with one point fewer for each
        control.
    """
    if len(x) < 3 + len(controls):
        return UNKNOWN
    varying = [column for column in controls if np.ptp(column) > ROUNDING * np.abs(column).max()]
    moments = Moments([x, y, *varying], networks)
    if moments.is_constant:
        return UNKNOWN
    return _interval_of_correlation(moments, moments.partial_correlation, controls=len(varying))


def r2_difference(first: np.ndarray, second: np.ndarray, y: np.ndarray, networks: np.ndarray) -> WithInterval:
    """R2 on one predictor less R2 on another, over the same resamples of the networks.

    Args:
        first: Of one predictor, (n,), finite.
        second: Of the other, (n,), finite.
        y: Explained numbers, (n,), finite.
        networks: The network of each point, (n,).

    Returns:
        Bounds of the bias-corrected and accelerated bootstrap; NaN for fewer than eight networks.
    """
    if len(y) < 3 or (moments := Moments([first, second, y], networks)).is_constant:
        return UNKNOWN
    one, other = moments.correlation(0, 2), moments.correlation(1, 2)

    def difference(weights: np.ndarray) -> np.ndarray:
        return one(weights) ** 2 - other(weights) ** 2

    value = float(difference(np.ones((1, moments.networks)))[0])
    return WithInterval(value, *bootstrapped(difference, moments.networks))


def spearman_interval(rho: float, n: int) -> tuple[float, float]:
    """95 % interval of Spearman's rho over n networks, by Fisher's transformation with Bonett and Wright's error.

    Source:
        Bonett, Wright: "Sample size requirements for estimating Pearson, Kendall and Spearman correlations", 2000.
    """
    return _fisher(rho, np.sqrt((1 + rho**2 / 2) / (n - 3)) if n >= FEWEST else _NAN)


def kendall_interval(tau: float, n: int) -> tuple[float, float]:
    """95 % interval of Kendall's tau over n networks, by Fisher's transformation with Fieller's error.

    Source:
        Fieller, Hartley, Pearson: "Tests for rank correlation coefficients", 1957.
    """
    return _fisher(tau, np.sqrt(0.437 / (n - 4)) if n >= FEWEST else _NAN)


def left_out_r2(x: np.ndarray, y: np.ndarray, groups: Sequence[Hashable]) -> float:
    """R2 of predictions for each group by the line through all other groups: negative where the mean does better.

    Args:
        x: Explaining numbers, (n,), finite.
        y: Explained numbers, (n,), finite.
        groups: The group of each point, (n,), such as its depth.

    Returns:
        1 less the sum of squared errors over that of the deviations from the mean; NaN for fewer than three groups.
    """
    names = np.unique(np.asarray(groups).astype(str))
    if len(names) < 3 or np.ptp(y) == 0:
        return _NAN
    predicted = cross_val_predict(
        LinearRegression(), x[:, None], y, groups=np.asarray(groups).astype(str), cv=LeaveOneGroupOut()
    )
    return float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def quadratic_fit(x: np.ndarray, y: np.ndarray) -> Quadratic:
    """Fit a parabola, and test by F whether the straight line does as well.

    Args:
        x: Explaining numbers, (n,), finite.
        y: Explained numbers, (n,), finite.

    Returns:
        NaN for fewer than five points, or fewer than three unlike x.
    """
    if len(np.unique(x)) < 3 or len(x) < 5 or np.ptp(y) == 0:
        return Quadratic(_NAN, _NAN)
    scaled = (x - x.mean()) / x.std()
    errors = [float(((y - np.polyval(np.polyfit(scaled, y, degree), scaled)) ** 2).sum()) for degree in (1, 2)]
    total = float(((y - y.mean()) ** 2).sum())
    free = len(x) - 3
    f = (errors[0] - errors[1]) / max(errors[1] / free, np.finfo(float).tiny)
    return Quadratic(1 - errors[1] / total, float(stats.f.sf(f, 1, free)))


def explainable_share(table: np.ndarray) -> WithInterval:
    """Share of the variance between means over seeds that is not the standard error of these means.

    What a seed does to all networks alike moves them together, and is no error of their differences.

    Args:
        table: (networks, seeds), finite.

    Returns:
        The most that anything about the networks could explain; NaN for one seed or one network.
    """
    networks, seeds = table.shape
    if networks < 2 or seeds < 2:
        return UNKNOWN

    means = table.mean(axis=1) - table.mean()
    scatter = table - table.mean(axis=1, keepdims=True)
    squares = (scatter**2).sum(axis=1)

    def share(weights: np.ndarray) -> np.ndarray:
        count = weights.sum(axis=1)
        # Taking off each seed's mean over the networks takes off a part of the scatter too.
        own = (weights @ squares / count - ((weights @ scatter / count[:, None]) ** 2).sum(axis=1)) / (seeds - 1)
        error = own / seeds * count / (count - 1)
        variance = (weights @ means**2 / count - (weights @ means / count) ** 2) * count / (count - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 0, np.clip(1 - error / variance, 0, 1), np.nan)

    value = float(share(np.ones((1, networks)))[0])
    return WithInterval(value, *bootstrapped(share, networks))


def _interval_of_correlation(moments: Moments, statistic: Statistic, controls: int) -> WithInterval:
    value = float(statistic(np.ones((1, moments.networks)))[0])
    if moments.networks < FEWEST or not np.isfinite(value):
        return WithInterval(value, _NAN, _NAN)
    if moments.networks < BOOTSTRAP_FROM and moments.is_one_point_each:
        return WithInterval(value, *_fisher(value, 1 / np.sqrt(moments.networks - controls - 3)))
    return WithInterval(value, *bootstrapped(statistic, moments.networks))


def _fisher(correlation: float, error: float) -> tuple[float, float]:
    """Bounds of a correlation of which artanh has this standard error."""
    if not np.isfinite(error):
        return _NAN, _NAN
    centre = np.arctanh(np.clip(correlation, -1 + 1e-15, 1 - 1e-15))
    low, high = np.tanh([centre - QUANTILE * error, centre + QUANTILE * error])
    return float(low), float(high)


def _squared(low: float, high: float) -> tuple[float, float]:
    """Bounds of a square, from those of the number."""
    ends = sorted((low**2, high**2))
    return (0.0 if low < 0 < high else ends[0]), ends[1]
