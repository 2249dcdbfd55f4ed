"""The cases of the check: networks, sizes, precisions and what may stand around a step."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nnmass.zoo.agreement.networks import cell, gaussian, mlp, rectified_mlp, sweeps, two_valued
from nnmass.zoo.agreement.ways import Way, autocast, captured, evaluate, parallel, scaled, train, unsynchronised

__all__ = ["PRECISIONS", "Case", "cases_on"]

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


class Case(NamedTuple):
    """One row of the check.

    Attributes:
        title: What it tries.
        precision: Of the calculation.
        build: Makes the network, on shared outputs if it is given True; the same one each time.
        inputs: Makes the input, in double precision.
        way: How a step is run.
        channels_last: Whether the network and its input lie in this memory format.
    """

    title: str
    precision: torch.dtype
    build: Callable[[bool], nn.Module]
    inputs: Callable[[], Tensor]
    way: Way = train
    channels_last: bool = False

    @property
    def weights(self) -> torch.dtype:
        """Precision of the weights: single under automatic precision."""
        return torch.float32 if self.is_autocast else self.precision

    @property
    def is_autocast(self) -> bool:
        """Test for automatic precision during the forward pass."""
        return self.way in (autocast, scaled)

    @property
    def section(self) -> str:
        """Part of the check that it belongs to: a precision, or what stands around a step."""
        name = str(self.precision).removeprefix("torch.")
        return name if self.way in (train, evaluate) else "around a step"

    @property
    def is_sweeps(self) -> bool:
        """Test that nothing but the sweeps over memory computes."""
        return self.title.startswith("sweeps")

    @property
    def needs_gpu(self) -> bool:
        """Test for something that processors have not."""
        return self.way in (captured, unsynchronised)


def cases_on(device: torch.device) -> list[Case]:
    """The rows of the check, from the simplest.

    Args:
        device: A processor or a GPU; it decides which precision the gradient scaler is tried with.
    """
    everywhere = [case for precision in PRECISIONS for case in _in_precision(precision)]
    return [*everywhere, *_around_a_step(torch.float16 if device.type == "cuda" else torch.bfloat16)]


def _in_precision(precision: torch.dtype) -> Iterator[Case]:
    for width, tc in ((1, 99), (5, 99), (16, 99), (33, 99), (16, 0)):
        title = f"sweeps, width {width}" + ("" if tc else ", no link")
        yield Case(title, precision, partial(sweeps, width=width, tc=tc), partial(two_valued, 8, width, 8, 8))
    # On a GPU the sums over rows are taken in parts of several blocks from 32,769 rows on.
    yield Case("sweeps, 67,500 rows", precision, partial(sweeps, width=5, tc=99), partial(two_valued, 75, 5, 30, 30))
    images = partial(gaussian, 8, 3, 8, 8)
    for width in (1, 5, 16, 33):
        yield Case(f"cell, width {width}", precision, partial(cell, width=width, tc=width * 3 // 2), images)
    yield Case("cell, no link", precision, partial(cell, width=16, tc=0), images)
    yield Case("cell, all links", precision, partial(cell, width=16, tc=48), images)
    some = partial(cell, width=16, tc=24)
    yield Case("cell, batch 1", precision, some, partial(gaussian, 1, 3, 8, 8))
    yield Case("cell, evaluation", precision, some, images, evaluate)
    yield Case("cell, channels last", precision, some, images, channels_last=True)
    yield Case("cell, expansion 6", precision, partial(cell, width=5, tc=8, expansion=6), images)
    vectors = partial(gaussian, 64, 12)
    yield Case("MLP, width 1, no link", precision, partial(mlp, width=1, tc=0), vectors)
    yield Case("MLP, width 5, all links", precision, partial(mlp, width=5, tc=20), vectors)
    yield Case("MLP, width 16", precision, partial(mlp, width=16, tc=24), vectors)
    yield Case("MLP, width 33, batch 1", precision, partial(mlp, width=33, tc=40), partial(gaussian, 1, 12))
    yield Case("MLP, evaluation", precision, partial(mlp, width=16, tc=24), vectors, evaluate)
    yield Case("MLP, ReLU", precision, partial(rectified_mlp, width=5, tc=8), _positive_vectors)


def _positive_vectors() -> Tensor:
    return gaussian(64, 12).abs()


def _around_a_step(half: torch.dtype) -> Iterator[Case]:
    one, images = partial(cell, width=16, tc=24), partial(gaussian, 8, 3, 8, 8)
    other, vectors = partial(mlp, width=16, tc=24), partial(gaussian, 64, 12)
    yield Case("cell, autocast bfloat16", torch.bfloat16, one, images, autocast)
    yield Case("cell, autocast float16", torch.float16, one, images, autocast)
    yield Case("cell, gradient scaler", half, one, images, scaled)
    yield Case("MLP, autocast bfloat16", torch.bfloat16, other, vectors, autocast)
    for name, build, inputs in (("cell", one, images), ("MLP", other, vectors)):
        for title, way in (("DDP", parallel), ("CUDA graph", captured), ("no wait for the GPU", unsynchronised)):
            yield Case(f"{name}, {title}", torch.float32, build, inputs, way)
