r"""Singular values of many small linear layers through their Gram matrices, compiled for the processor.

J_n = D_n W has the squares of its singular values as eigenvalues of D_n (W W^T) D_n, a matrix of rows x rows whatever
the number of columns. Householder's reduction and the root-free QL iteration run on LANES samples in step, one sample
per lane of the processor's vector registers, because a matrix of 8 x 8 alone leaves them empty.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from nnmass.zoo.fast.kept import kept

__all__ = ["scaled_gram_singular_values"]

LANES = 32
_TINY = 1e-290


def _compiled(function: Callable) -> Callable:
    """Compile a function, and keep the result on disk where there is a folder for it."""
    rules: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}  # NaN and infinity may occur
    return kept(lambda cache: numba.njit(cache=cache, **rules)(function))


def scaled_gram_singular_values(gram: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Square roots of the eigenvalues of D_n G D_n with D_n = diag(slopes_n), for several G and many n each.

    Args:
        gram: G = W W^T of each layer, (layers, rows, rows).
        slopes: (layers, N, rows).

    Returns:
        (layers, N, rows) in falling order. Their error is at most about 3e-8 of the largest, for those near zero; it
        falls with their size to 1e-15 for the largest itself.

    Raises:
        ArithmeticError: If the iteration does not converge, as with numbers that are not finite.

    Source:
        Reinsch: "A stable, rational QL algorithm for the computation of the eigenvalues of an Hermitian, tridiagonal
        matrix", Mathematics of Computation 1971.

    Example:
        >>> scaled_gram_singular_values(np.eye(2)[None], np.array([[[3.0, -4.0]]]))
        array([[[4., 3.]]])
    """
    eigenvalues = np.empty_like(slopes)
    if slopes.size and not _all_eigenvalues(gram, slopes, eigenvalues):
        raise ArithmeticError("Expected finite weights and slopes, but their singular values do not converge.")
    return np.sqrt(np.maximum(np.sort(eigenvalues, axis=-1)[..., ::-1], 0))


@_compiled
def _all_eigenvalues(gram: Any, slopes: Any, eigenvalues: Any) -> bool:
    layers, samples, rows = slopes.shape
    matrix = np.empty((rows, rows, LANES))
    diagonal, beside = np.empty((rows, LANES)), np.empty((rows, LANES))
    for layer in range(layers):
        for first in range(0, samples, LANES):
            for lane in range(LANES):
                sample = min(first + lane, samples - 1)
                for i in range(rows):
                    for j in range(i + 1):
                        matrix[i, j, lane] = gram[layer, i, j] * slopes[layer, sample, i] * slopes[layer, sample, j]
            _reduce(matrix, diagonal, beside)
            if not _iterate(diagonal, beside):
                return False
            for lane in range(min(LANES, samples - first)):
                for i in range(rows):
                    eigenvalues[layer, first + lane, i] = diagonal[i, lane]
    return True


@_compiled
def _reduce(matrix: Any, diagonal: Any, beside: Any) -> None:
    """Householder's reduction of the lower triangles (n, n, LANES) to tridiagonal form; the matrix is overwritten."""
    n = len(matrix)
    tail, scale, overlap = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    product = np.empty((n, LANES))
    for k in range(n - 2):
        tail[:] = 0
        for i in range(k + 2, n):
            for lane in range(LANES):
                tail[lane] += matrix[i, k, lane] * matrix[i, k, lane]
        for lane in range(LANES):
            below = matrix[k + 1, k, lane]
            length = sqrt(tail[lane] + below * below)
            length = -length if below > 0 else length
            pivot = below - length
            weight = length * pivot
            scale[lane] = -1.0 / weight if weight < -_TINY else 0.0
            diagonal[k, lane] = matrix[k, k, lane]
            beside[k, lane] = length
            matrix[k + 1, k, lane] = pivot
            overlap[lane] = 0.0
        for i in range(k + 1, n):
            product[i] = 0
            for j in range(k + 1, i + 1):
                for lane in range(LANES):
                    product[i, lane] += matrix[i, j, lane] * matrix[j, k, lane]
            for j in range(i + 1, n):
                for lane in range(LANES):
                    product[i, lane] += matrix[j, i, lane] * matrix[j, k, lane]
            for lane in range(LANES):
                product[i, lane] *= scale[lane]
                overlap[lane] += product[i, lane] * matrix[i, k, lane]
        for i in range(k + 1, n):
            for lane in range(LANES):
                product[i, lane] -= 0.5 * scale[lane] * overlap[lane] * matrix[i, k, lane]
        for i in range(k + 1, n):
            for j in range(k + 1, i + 1):
                for lane in range(LANES):
                    matrix[i, j, lane] -= matrix[i, k, lane] * product[j, lane] + product[i, lane] * matrix[j, k, lane]
    for lane in range(LANES):
        if n > 1:
            diagonal[n - 2, lane] = matrix[n - 2, n - 2, lane]
            beside[n - 2, lane] = matrix[n - 1, n - 2, lane]
        diagonal[n - 1, lane] = matrix[n - 1, n - 1, lane]
        beside[n - 1, lane] = 0.0


@_compiled
def _iterate(diagonal: Any, beside: Any) -> bool:
    """Turn the diagonals (n, LANES) into eigenvalues by root-free QL iteration; return whether all lanes converged."""
    n = len(diagonal)
    bound, power, cosine, sine = np.zeros(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    gamma, shift = np.empty(LANES), np.empty(LANES)
    for i in range(n):
        for lane in range(LANES):
            beside[i, lane] *= beside[i, lane]
            bound[lane] = max(bound[lane], diagonal[i, lane] * diagonal[i, lane] + beside[i, lane])
    bound[:] = bound * 1.2e-32 + _TINY  # the square of half a unit in the last place
    for low in range(n - 1):
        for attempt in range(61):
            waiting = 0
            for lane in range(LANES):
                waiting += 0 if beside[low, lane] <= bound[lane] else 1
            if waiting == 0:
                break
            if attempt == 60:
                return False
            for lane in range(LANES):
                root = sqrt(beside[low, lane]) + _TINY
                half = (diagonal[low + 1, lane] - diagonal[low, lane]) / (2 * root)
                length = sqrt(half * half + 1)
                length = length if half >= 0 else -length
                shifted = diagonal[low, lane] - root / (half + length)
                # A lane that has converged takes part with a shift that does not change it.
                shift[lane] = diagonal[low, lane] if beside[low, lane] <= bound[lane] else shifted
                cosine[lane], sine[lane] = 1.0, 0.0
                gamma[lane] = diagonal[n - 1, lane] - shift[lane]
                power[lane] = gamma[lane] * gamma[lane]
            for i in range(n - 2, low - 1, -1):
                for lane in range(LANES):
                    total = power[lane] + beside[i, lane]
                    beside[i + 1, lane] = sine[lane] * total
                    before, last = cosine[lane], gamma[lane]
                    # The matrix falls into blocks where both are zero, and needs no rotation there.
                    cosine[lane] = power[lane] / total if total > _TINY else 1.0
                    sine[lane] = beside[i, lane] / total if total > _TINY else 0.0
                    gamma[lane] = cosine[lane] * (diagonal[i, lane] - shift[lane]) - sine[lane] * last
                    diagonal[i + 1, lane] = last + (diagonal[i, lane] - gamma[lane])
                    quotient = gamma[lane] * gamma[lane] / cosine[lane]
                    power[lane] = quotient if cosine[lane] > 1e-200 else before * beside[i, lane]
            for lane in range(LANES):
                beside[low, lane] = sine[lane] * power[lane]
                diagonal[low, lane] = shift[lane] + gamma[lane]
    return True
