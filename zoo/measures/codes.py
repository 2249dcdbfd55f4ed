"""NASWOT: how well the ReLUs of a network tell the images of a batch apart."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nnmass.zoo.measures.batch import NotMeasured
from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.passes import Passes

__all__ = ["CodeKernel", "naswot"]

_ATEN = torch.ops.aten
_COLUMNS = 2**22  # codes compared at once: float32 counts up to 2**24 exactly


def _always(arguments: Sequence[Any]) -> bool:
    return True


def _is_relu6(arguments: Sequence[Any]) -> bool:
    return len(arguments) > 1 and arguments[1] == 0


def _is_half_line(arguments: Sequence[Any]) -> bool:
    return arguments[1] == 0 and (len(arguments) < 3 or arguments[2] is None)


def _is_threshold_at_zero(arguments: Sequence[Any]) -> bool:
    return bool(arguments[1] == 0 and arguments[2] == 0)


# Operators that are linear on either side of zero, if their arguments say so.
_RELUS: dict[Any, Callable[[Sequence[Any]], bool]] = {
    _ATEN.relu: _always,
    _ATEN.relu_: _always,
    _ATEN.leaky_relu: _always,
    _ATEN.leaky_relu_: _always,
    _ATEN._prelu_kernel: _always,
    _ATEN.rrelu_with_noise: _always,
    _ATEN.rrelu_with_noise_: _always,
    _ATEN.hardtanh: _is_relu6,
    _ATEN.hardtanh_: _is_relu6,
    _ATEN.clamp: _is_half_line,
    _ATEN.clamp_: _is_half_line,
    _ATEN.clamp_min: _is_half_line,
    _ATEN.clamp_min_: _is_half_line,
    _ATEN.threshold: _is_threshold_at_zero,
    _ATEN.threshold_: _is_threshold_at_zero,
}


class CodeKernel(TorchDispatchMode):
    """The kernel of the codes of all ReLUs that run within this context, module, function or in place.

    A ReLU's code of an image has a bit per unit: whether its input is positive. ReLU6, leaky, parametric and randomised
    ReLUs are ReLUs too, and so are clamps and thresholds at zero.

    Args:
        number: Images in the batch, N.

    Attributes:
        kernel: Bits in which the codes of two images agree, (N, N).
        units: Bits of a code, N_A, over all ReLUs so far.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.kernel = torch.zeros(number, number, dtype=torch.float64)
        self.units = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note the code before the operator runs, because it may write over its input."""
        applies = _RELUS.get(func.overloadpacket)
        if applies is not None and applies(args):
            self._note(args[0])
        return func(*args, **(kwargs or {}))

    def _note(self, entering: Tensor) -> None:
        number = len(self.kernel)
        if entering.dim() < 2 or len(entering) != number:
            raise NotMeasured(
                f"Expected ReLUs of inputs (N, ...) for {number} images, but got one of {tuple(entering.shape)}."
            )
        for part in (entering.flatten(1) > 0).split(_COLUMNS, dim=1):
            code = part.float()
            positive = code.sum(1)
            differing = positive[:, None] + positive[None, :] - 2 * (code @ code.T)
            self.kernel += (part.shape[1] - differing).double().cpu()
            self.units += part.shape[1]


@measure(
    title="NASWOT",
    equation="s = ln det K; K_ij = N_A - d_H(c_i, c_j); c_i: one bit for each of the N_A ReLUs, 1 where its input for "
    "image i is positive, d_H: Hamming distance",
    source="Mellor, Turner, Storkey, Crowley, ICML 2021, section 3",
    least_images=2,
    forwards=1,
)
def naswot(passes: Passes) -> float:
    """Log-determinant of the kernel of ReLU codes, in training mode.

    The authors' code sees the ReLUs that are modules; this sees those that are functions as well.

    Raises:
        NotMeasured: If there is no ReLU, or the kernel is singular: some images have the same code, or there are more
            images than the codes can tell apart.
    """
    with passes.drawing(), torch.no_grad(), CodeKernel(passes.number) as codes:
        passes.logits(passes.copy(), passes.images)
    if not codes.units:
        raise NotMeasured("Expected a network with ReLUs, but no ReLU ran.")
    pairs = torch.triu(codes.kernel == codes.units, diagonal=1).nonzero()
    if len(pairs):
        first, second = pairs[0].tolist()
        raise NotMeasured(f"Expected images with codes of their own, but images {first} and {second} have the same.")
    values = torch.linalg.eigvalsh(codes.kernel)
    if values[0] <= values[-1] * len(values) * torch.finfo(values.dtype).eps:
        raise NotMeasured(
            f"Expected no more images than the codes can tell apart, but the kernel of {len(values)} is singular."
        )
    return float(values.log().sum())
