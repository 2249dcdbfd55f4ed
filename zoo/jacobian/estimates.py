"""Estimates of a Jacobian's spectrum from products with it, where the matrix itself would not fit."""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan, sqrt
from typing import Literal, NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from nnmass.zoo.checks import require, require_integer
from nnmass.zoo.precision import full_precision

__all__ = ["Estimate", "Spectrum", "estimate_spectrum"]


@dataclass(frozen=True)
class Estimate:
    """A number and its error.

    Attributes:
        value: The number.
        standard_error: Its standard error; of an extreme singular value the residual that bounds its error; 0 where
            there is no error, and NaN where nothing tells its size.
        error_of: Where the error comes from: the choice of ``images`` (and the random vectors with it), of one image
            the random vectors alone, ``probes``, or the ``residual`` of an extreme value; None where it is exact.
        freedom: Degrees of freedom of the standard error; 0 where it is none.
    """

    value: float
    standard_error: float = 0.0
    error_of: Literal["images", "probes", "residual"] | None = None
    freedom: int = 0

    @classmethod
    def of(cls, draws: Tensor, exact: bool = False) -> "Estimate":
        r"""Mean over images, samples and random vectors, with its standard error.

        Random vectors of one image say nothing of other images, so the error is that of the n images' means,
        :math:`s / \sqrt n`; of one image it is that of the random vectors, pooled over the samples (tokens).

        Args:
            draws: One number per image, sample of it and random vector, (images, samples, probes).
            exact: Whether no random vector had a say, (images, samples, 1).
        """
        images, samples, probes = draws.shape
        value = draws.mean().item()
        if images > 1:
            return cls(value, draws.mean((1, 2)).std().item() / sqrt(images), "images", images - 1)
        if exact:
            return cls(value)
        variance = draws.var(2).mean().item() if probes > 1 else nan
        return cls(value, sqrt(variance / (samples * probes)), "probes", samples * (probes - 1))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval that covers the truth with a probability of ``level``, by Student's t, as images are few.

        Args:
            level: Between 0 and 1. An exact number is its own interval, an extreme one lies within its residual.

        Example:
            >>> low, high = Estimate(1.0, 0.1, "images", freedom=3).interval()
            >>> round(low, 3), round(high, 3)
            (0.682, 1.318)
        """
        require(0 < level < 1, "level", "lie between 0 and 1", level)
        wide = float(stdtrit(self.freedom, 0.5 + level / 2)) if self.error_of in ("images", "probes") else 1.0
        return self.value - wide * self.standard_error, self.value + wide * self.standard_error


@dataclass(frozen=True)
class Spectrum:
    """Singular values of one layer's Jacobian, or what is known of them.

    Attributes:
        rows: Numbers in one sample's output.
        columns: Numbers in one sample's input.
        mean: Mean of the min(rows, columns) singular values.
        mean_square: Mean of their squares.
        isometry: Mean of |sigma - 1|, the distance from isometry.
        largest: The largest singular value of all samples.
        smallest: The smallest one.
        values: Singular values, (n,), on the CPU; for an estimate the nodes of the quadrature.
        weights: Share of the spectrum at each value, (n,), adding up to 1, on the CPU.
        exact: Whether the values are all there are.
    """

    rows: int
    columns: int
    mean: Estimate
    mean_square: Estimate
    isometry: Estimate
    largest: Estimate
    smallest: Estimate
    values: Tensor
    weights: Tensor
    exact: bool

    @classmethod
    def of(cls, values: Tensor, rows: int, columns: int, images: int | None = None) -> "Spectrum":
        """The spectrum of exact singular values (N, min(rows, columns)) of N samples.

        Args:
            values: The singular values.
            rows: Numbers in one sample's output.
            columns: Numbers in one sample's input.
            images: Images that the samples are of, those of one image side by side; by default each is one.
        """
        values = values.cpu()  # where the histogram's edges are

        def mean(numbers: Tensor) -> Estimate:
            return Estimate.of(_grouped(numbers.mean(1), images, 1), exact=True)

        flat = values.flatten().double()
        weights = torch.full_like(flat, 1 / len(flat))
        return cls(
            rows,
            columns,
            mean(values),
            mean(values.square()),
            mean(_distance_from_isometry(values)),
            Estimate(flat.max().item()),
            Estimate(flat.min().item()),
            flat,
            weights,
            exact=True,
        )

    @property
    def std(self) -> float:
        """Standard deviation of the singular values."""
        return max(self.mean_square.value - self.mean.value**2, 0.0) ** 0.5

    @property
    def condition_number(self) -> float:
        """Largest over smallest; of an estimate a bound from below."""
        return self.largest.value / self.smallest.value if self.smallest.value > 0 else float("inf")

    def histogram(self, bins: int = 32, top: float | None = None) -> tuple[Tensor, Tensor]:
        """Shares of the spectrum (bins,) between edges (bins + 1,) from 0 to ``top``, by default the largest value."""
        top = max(self.largest.value, 1e-12) if top is None else top
        edges = torch.linspace(0, top, bins + 1, dtype=torch.float64)
        bin_of = torch.bucketize(self.values.double(), edges[1:-1], right=True)
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, self.weights.double()), edges


@full_precision()
@torch.no_grad()
def estimate_spectrum(
    layer: Callable[[Tensor], Tensor],
    x: Tensor,
    generator: torch.Generator,
    probes: int = 4,
    steps: int = 24,
    images: int | None = None,
) -> Spectrum:
    r"""Stochastic Lanczos quadrature for the spectrum of a layer's Jacobian, averaged over the samples of a batch.

    Lanczos' recurrence on the smaller of J^T J and J J^T, from ``probes`` random sign vectors per sample, gives nodes
    and weights of a quadrature whose integral of sqrt(lambda) is the mean singular value, of \|sqrt(lambda) - 1\| the
    distance from isometry, and of lambda the mean square (there it is Hutchinson's estimator, free of bias). The
    standard errors are those of the images' means, of one image those of the probes (:meth:`Estimate.of`); the bias of
    the quadrature, which falls with ``steps``, is not in them. The largest and smallest singular values are those that
    the recurrence has reached, a bound from below and one from above; a true one lies within the residual that is
    stated as their error, and where many lie close to zero that residual is large beside the smallest.

    Args:
        layer: Maps (N, ...) to (N, ...), each sample on its own.
        x: Where, (N, ...). It needs memory for about six tensors of ``probes`` times this, and the layer's own.
        generator: Source of the probes, on the CPU.
        probes: Random vectors per sample, at least 2 for a standard error of one image.
        steps: Lanczos steps; each costs one product with J and one with its transpose.
        images: Images that the samples are of, those of one image side by side; by default each is one.

    Returns:
        The spectrum, with one value and weight per node, probe and sample.

    Raises:
        ValueError: If there are no probes or no steps.

    Source:
        Ubaru, Chen, Saad: "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. 2017.
    """
    probes, steps = require_integer("probes", probes, 1), require_integer("steps", steps, 1)
    gram = _smaller_gram(layer, x.repeat_interleave(probes, dim=0))
    signs = torch.randint(0, 2, gram.vectors.shape, generator=generator).to(gram.vectors) * 2 - 1
    diagonal, off_diagonal, residual = _lanczos(gram.times, signs.flatten(1), gram.vectors.shape, steps)
    tridiagonal = torch.diag_embed(diagonal)
    tridiagonal += torch.diag_embed(off_diagonal, 1) + torch.diag_embed(off_diagonal, -1)
    eigenvalues, eigenvectors = torch.linalg.eigh(tridiagonal)
    residuals = residual[:, None] * eigenvectors[:, -1].abs()
    values, weights = eigenvalues.clamp(min=0).sqrt(), eigenvectors[:, 0].square()
    mean, isometry = (weights * values).sum(1), (weights * _distance_from_isometry(values)).sum(1)
    seen = weights.flatten() > 1e-12  # a recurrence that ended early leaves nodes without weight
    return Spectrum(
        gram.rows,
        gram.columns,
        Estimate.of(_grouped(mean, images, probes)),
        Estimate.of(_grouped(diagonal[:, 0], images, probes)),
        Estimate.of(_grouped(isometry, images, probes)),
        _extreme(eigenvalues.flatten()[seen], residuals.flatten()[seen], torch.argmax),
        _extreme(eigenvalues.flatten()[seen], residuals.flatten()[seen], torch.argmin),
        values.flatten()[seen],
        (weights / len(weights)).flatten()[seen],
        exact=False,
    )


class _Gram(NamedTuple):
    """The smaller of J^T J and J J^T, one of each sample, as a product with one vector of each."""

    rows: int
    columns: int
    vectors: Tensor  # of the shape that it takes
    times: Callable[[Tensor], Tensor]


def _smaller_gram(layer: Callable[[Tensor], Tensor], points: Tensor) -> _Gram:
    output, transposed = torch.func.vjp(layer, points)[:2]
    rows, columns = output[0].numel(), points[0].numel()

    def times(vectors: Tensor) -> Tensor:
        return torch.func.jvp(layer, (points,), (vectors,))[1]

    if columns <= rows:
        return _Gram(rows, columns, points, lambda vectors: transposed(times(vectors))[0])
    return _Gram(rows, columns, output, lambda vectors: times(transposed(vectors)[0]))


def _distance_from_isometry(values: Tensor) -> Tensor:
    return (values - 1).abs()


def _grouped(draws: Tensor, images: int | None, probes: int) -> Tensor:
    """Draws of the probes, samples and images, in one row, as (images, samples, probes).

    Where samples are not those of so many images (a network may mix them), all are taken for one image's.
    """
    samples = len(draws) // probes
    images = samples if images is None else images
    return draws.view(images if samples % images == 0 else 1, -1, probes)


def _extreme(eigenvalues: Tensor, residuals: Tensor, choose: Callable[[Tensor], Tensor]) -> Estimate:
    """An extreme singular value: the root of an eigenvalue of J^T J, to within the root of its residual's interval."""
    chosen = choose(eigenvalues)
    squared, error = max(eigenvalues[chosen].item(), 0.0), residuals[chosen].item()
    value = squared**0.5
    within = max((squared + error) ** 0.5 - value, value - max(squared - error, 0.0) ** 0.5)
    return Estimate(value, within, "residual")


def _lanczos(
    operator: Callable[[Tensor], Tensor], vectors: Tensor, shape: torch.Size, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Diagonals (B, steps), off-diagonals (B, steps - 1) and what is left (B,) of the matrices of B vectors."""
    current, previous = vectors / vectors.norm(dim=1, keepdim=True), torch.zeros_like(vectors)
    beta = torch.zeros(len(vectors), 1, dtype=vectors.dtype, device=vectors.device)
    diagonal: list[Tensor] = []
    off_diagonal: list[Tensor] = []
    for _ in range(min(steps, vectors.shape[1])):
        product = operator(current.view(shape)).flatten(1)
        alpha = (current * product).sum(1, keepdim=True)
        product = product - alpha * current - beta * previous
        beta = product.norm(dim=1, keepdim=True)
        diagonal.append(alpha)
        # A recurrence that has exhausted the probe's Krylov space ends here: what follows has no weight.
        ended = beta <= 1e-5 * (diagonal[0].abs() + (off_diagonal[0] if off_diagonal else beta))
        beta = beta.masked_fill(ended, 0)
        off_diagonal.append(beta)
        previous, current = current, (product / beta.masked_fill(ended, 1)).masked_fill(ended, 0)
    along, beside = torch.cat(diagonal, 1).cpu().double(), torch.cat(off_diagonal, 1).cpu().double()
    return along, beside[:, :-1], beside[:, -1]
