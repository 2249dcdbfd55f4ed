"""A measure: one function of a network and a batch, with its equation, source, needs and cost."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from torch import nn

from nnmass.zoo.measures.batch import Batch, NotMeasured
from nnmass.zoo.measures.passes import Passes

__all__ = ["Measure", "measure"]


@dataclass(frozen=True)
class Measure:
    """A training-free measure of a network, which leaves the network as it was.

    Attributes:
        name: Its column in tables.
        title: Its name in text.
        equation: The formula, with its symbols explained.
        source: Paper and equation.
        compute: Its value from shared passes.
        needs_labels: Whether it needs the images' labels.
        least_images: The fewest images that give it a meaning.
        forwards: Passes forward over the batch that it takes alone; 0 if it takes none.
        backwards: Passes backward over the batch that it takes alone, gradients of gradients included.

    Example:
        >>> import torch
        >>> from nnmass.zoo.measures import MEASURES
        >>> MEASURES["params"](nn.Linear(3, 2), Batch(torch.zeros(1, 3)))
        8.0
    """

    name: str
    title: str
    equation: str
    source: str
    compute: Callable[[Passes], float]
    needs_labels: bool = False
    least_images: int = 1
    forwards: float = 0.0
    backwards: float = 0.0

    def __call__(self, network: nn.Module, batch: Batch, seed: int = 0) -> float:
        """Measure a network.

        Args:
            network: Any network, bare or wrapped; it stays as it was.
            batch: Images, and labels if the measure needs them.
            seed: Decides all that is drawn.

        Raises:
            NotMeasured: If the measure has no value here.
        """
        return self.of(Passes(network, batch, seed))

    def of(self, passes: Passes) -> float:
        """Its value from passes that other measures may share.

        Args:
            passes: Network and batch.

        Raises:
            NotMeasured: If the measure has no value here.
        """
        if passes.number < self.least_images:
            raise NotMeasured(
                f"Expected at least {self.least_images} images for {self.title}, but got {passes.number}."
            )
        if self.needs_labels:
            passes.labels  # noqa: B018  # refused before any pass
        value = float(self.compute(passes))
        if not isfinite(value):
            raise NotMeasured(f"Expected a finite value of {self.title}, but got {value}.")
        return value


def measure(
    *,
    title: str,
    equation: str,
    source: str,
    needs_labels: bool = False,
    least_images: int = 1,
    forwards: float = 0.0,
    backwards: float = 0.0,
) -> Callable[[Callable[[Passes], float]], Measure]:
    """Make a :class:`Measure` of the function below, under the function's name; the arguments are its fields.

    Example:
        >>> @measure(title="number of tensors", equation="the number of weight tensors", source="none")
        ... def tensors(passes: Passes) -> float:
        ...     return len(passes.weights)
        >>> tensors.name
        'tensors'
    """

    def made(compute: Callable[[Passes], float]) -> Measure:
        return Measure(
            compute.__name__, title, equation, source, compute, needs_labels, least_images, forwards, backwards
        )

    return made
