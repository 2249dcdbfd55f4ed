"""Exact singular values of a layer's Jacobian J = d s_i / d x_{i-1}, where the whole matrix is small or structured."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nnmass.zoo.checks import require, require_shape
from nnmass.zoo.precision import full_precision

# Layers of at most so many rows go by their Gram matrices; above, LAPACK's blocks are as fast.
_SMALL = 64

__all__ = ["circular_convolution_singular_values", "dense_jacobian", "dense_singular_values", "linear_singular_values"]


@full_precision()
def linear_singular_values(weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> list[Tensor]:
    r"""Singular values of linear layers with activation, s = phi(W x + b), for many samples each.

    .. math:: J_n = D_n W, \quad D_n = diag(\phi'(W x_n + b))

    In double precision they come from decompositions of each J_n, to 1e-10 of the largest value. In single precision,
    on the processor, they come from the Gram matrices of :mod:`zoo.jacobian.gram`, in double precision: to 1e-7 of the
    largest value, as decompositions in single precision have it, and without a gradient.

    Args:
        weights: W of each layer, (rows, columns); every number that enters is a column, linked ones included.
        slopes: phi' at the pre-activations of each layer, (N, rows).

    Returns:
        Per layer (N, min(rows, columns)) in falling order, zeros included, in the precision of the arguments.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> linear_singular_values([torch.eye(2, 3)], [torch.tensor([[3.0, -4.0], [0.0, 1.0]])])
        [tensor([[4., 3.],
                [1., 0.]])]
    """
    groups: dict[torch.Size | None, list[int]] = {}  # layers of one shape are measured together
    for layer, (weight, slope) in enumerate(zip(weights, slopes, strict=True)):
        if weight.ndim != 2 or slope.ndim != 2 or slope.shape[1] != weight.shape[0]:
            raise ValueError(
                f"Expected weight (rows, columns) and slopes (N, rows), "
                f"but got {tuple(weight.shape)} and {tuple(slope.shape)}."
            )
        small = weight.device.type == "cpu" and weight.dtype == torch.float32 and len(weight) <= _SMALL
        groups.setdefault(slope.shape if small else None, []).append(layer)
    values: dict[int, Tensor] = {
        layer: torch.linalg.svdvals(slopes[layer][:, :, None] * weights[layer]) for layer in groups.pop(None, [])
    }
    for layers in groups.values():
        from nnmass.zoo.jacobian.gram import (
            scaled_gram_singular_values,  # loads the compiler, which not every use needs
        )

        exact = [weights[layer].detach().double() for layer in layers]
        gram = torch.stack([weight @ weight.T for weight in exact]).numpy()
        stacked = torch.stack([slopes[layer].detach() for layer in layers]).double().numpy()
        measured = torch.from_numpy(scaled_gram_singular_values(gram, stacked)).float()
        values.update((layer, one[:, : weights[layer].shape[1]]) for layer, one in zip(layers, measured, strict=True))
    return [values[layer] for layer in range(len(weights))]


@full_precision()
def dense_jacobian(layer: Callable[[Tensor], Tensor], x: Tensor, chunk: int = 256) -> Tensor:
    """The whole Jacobian of a layer at each sample of a batch, by forward-mode differentiation.

    Args:
        layer: Maps (N, ...) to (N, ...), each sample on its own.
        x: Where, (N, ...).
        chunk: Columns computed at once.

    Returns:
        (N, rows, columns): rows and columns number the entries of one sample's output and input.
    """
    columns = x[0].numel()
    parts = []
    for start in range(0, columns, chunk):
        directions = torch.eye(columns, dtype=x.dtype, device=x.device)[start : start + chunk]

        def product(direction: Tensor) -> Tensor:
            return torch.func.jvp(layer, (x,), (direction.view(x[0].shape).expand_as(x),))[1].flatten(1)

        parts.append(torch.func.vmap(product)(directions))
    return torch.cat(parts).permute(1, 2, 0)


@full_precision()
def dense_singular_values(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Singular values of the whole Jacobian of a layer at each sample of a batch.

    Args:
        layer: Maps (N, ...) to (N, ...), each sample on its own.
        x: Where, (N, ...).

    Returns:
        (N, min(rows, columns)) in falling order, zeros included.

    Example:
        >>> dense_singular_values(lambda x: 2 * x, torch.zeros(1, 3))
        tensor([[2., 2., 2.]])
    """
    return torch.linalg.svdvals(dense_jacobian(layer, x))


@full_precision()
def circular_convolution_singular_values(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Singular values of a convolution of stride 1 with circular padding, by the Fourier transform of its kernel.

    With zero padding the spectrum differs by what happens at the border: of the size x size positions those within half
    a kernel of it, a share of about 2 (k - 1) / size for a k x k kernel.

    Args:
        weight: Kernel, (out, in, k, k).
        size: Height and width of the image, in px, at least those of the kernel.

    Returns:
        (height * width * min(out, in),) in falling order.

    Raises:
        ValueError: If the kernel is not one of images, or the image is smaller than it.

    Source:
        Sedghi, Gupta, Long: "The singular values of convolutional layers", ICLR 2019.

    Example:
        >>> circular_convolution_singular_values(torch.full((1, 1, 1, 1), 3.0), (2, 2))
        tensor([3., 3., 3., 3.])
    """
    require(weight.dim() == 4, "weight", "have four dimensions", f"{weight.dim()}")
    kernel, sides = tuple(weight.shape[2:]), require_shape("size", size)
    fits = len(sides) == 2 and all(side >= one for side, one in zip(sides, kernel, strict=True))
    require(fits, "size", f"be height and width of at least the kernel's {kernel}", size)
    transformed = torch.fft.fft2(weight, s=size).permute(2, 3, 0, 1)
    return torch.linalg.svdvals(transformed).flatten().sort(descending=True).values
