"""The values of a graph's constants: stored ones, and those that the forward computes from them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from nnmass.zoo.reader.internals import FakeTensor, unset_fake_temporarily

__all__ = ["Constants"]

_MOST_NUMBERS = 2**22  # in a constant that is computed only to be looked at


class Constants:
    """Values of the nodes that do not depend on the network's input, computed when they are asked for.

    Args:
        constant: What a node that stands for a parameter, a buffer or another constant holds; None for other nodes.
    """

    def __init__(self, constant: Callable[[fx.Node], Any]) -> None:
        self._constant = constant
        self._known: dict[fx.Node, Tensor | None] = {}

    def is_parameter(self, node: fx.Node) -> bool:
        """Return whether a node stands for a learnable weight."""
        return isinstance(self._constant(node), nn.Parameter)

    def is_stored(self, node: fx.Node) -> bool:
        """Return whether a node stands for a stored tensor."""
        return self._constant(node) is not None

    def value(self, node: Any) -> Tensor | None:
        """The value of a constant node; None where it depends on the input, on chance, or is too large to compute.

        One on the meta device has no numbers in it.
        """
        if not isinstance(node, fx.Node):
            return None
        if node not in self._known:
            self._known[node] = None
            try:
                value = self._constant(node)
                value = self._computed(node) if value is None else value
            except Exception:  # whatever a stranger's operator raises
                value = None
            self._known[node] = value if isinstance(value, Tensor) and not isinstance(value, FakeTensor) else None
        return self._known[node]

    def numbers(self, node: Any) -> np.ndarray | None:
        """The numbers in a constant node's value; None where there is no value, or where it has none."""
        value = self.value(node)
        if value is None or value.is_meta or value.numel() > _MOST_NUMBERS:
            return None
        with unset_fake_temporarily(), torch.no_grad():
            value = value.detach().cpu()
            return (value.double() if value.is_floating_point() else value).numpy()

    def _computed(self, node: fx.Node) -> Any:
        target: Any = node.target
        shown = node.meta.get("val")
        if (
            node.op != "call_function"
            or torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())
            or not isinstance(shown, Tensor)
            or shown.numel() > _MOST_NUMBERS
        ):
            return None
        values = {argument: self.value(argument) for argument in node.all_input_nodes}
        if any(value is None for value in values.values()):
            return None
        with unset_fake_temporarily(), torch.no_grad():
            if node.is_impure(impure_random=False):  # writes to what is the network's own
                values = {argument: value.clone() for argument, value in values.items() if value is not None}
            arguments, keywords = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            return target(*arguments, **keywords)
