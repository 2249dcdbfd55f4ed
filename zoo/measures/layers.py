"""The layers of a network that measures look at: convolutions and linear layers, their weights and their channels."""

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["LAYERS", "ChannelSums", "layer_weights"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (*_CONVOLUTIONS, nn.Linear)


def layer_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of all convolutions, linear layers and attention's projections, without biases; tied weights once.

    Args:
        network: Any network.

    Returns:
        The parameters by name, in the order of the modules.

    Raises:
        ValueError: If there are none, or a layer's weight is computed from others and no parameter of its own.

    Example:
        >>> list(layer_weights(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))))
        ['0.weight']
    """
    found: dict[str, nn.Parameter] = {}
    for prefix, module in network.named_modules():
        if not isinstance(module, (*LAYERS, nn.MultiheadAttention)):
            continue
        own = {name: one for name, one in module.named_parameters(prefix, recurse=False) if name.endswith("weight")}
        if not own and isinstance(module, LAYERS):
            raise ValueError(f"Expected weights that are parameters, but that of {prefix or 'the layer'} is computed.")
        found.update((name, one) for name, one in own.items() if not any(one is other for other in found.values()))
    if not found:
        raise ValueError("Expected a network with convolutions or linear layers, but got one without.")
    return found


class ChannelSums:
    """Sums of a layer's output times its gradient over the positions of each channel, kept by a pass backward.

    Within this context each convolution and linear layer of a network passes on a copy of its output, so that
    operations in place do not reach what is kept.

    Attributes:
        sums: By name of the layer, (N, channels), summed over calls; filled by the pass backward. N is the length of
            the layer's output, which is the batch's unless the network folds positions into it.
    """

    def __init__(self, network: nn.Module) -> None:
        self.sums: dict[str, Tensor] = {}
        self._network = network
        self._handles: list[Any] = []

    def __enter__(self) -> "ChannelSums":
        """Watch the layers."""
        for name, module in self._network.named_modules():
            if isinstance(module, LAYERS):
                self._handles.append(module.register_forward_hook(self._watch(name, isinstance(module, nn.Linear))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Watch them no more."""
        for handle in self._handles:
            handle.remove()

    def _watch(self, name: str, is_last: bool) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            return _Watched.apply(output, name, is_last, self.sums)

        return hook


class _Watched(torch.autograd.Function):
    """The identity, whose pass backward notes output times gradient of each channel."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, name: str, is_last: bool, sums: dict[str, Tensor]) -> Tensor:
        ctx.save_for_backward(output)
        ctx.name, ctx.is_last, ctx.sums = name, is_last, sums
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (output,), (gradient,) = ctx.saved_tensors, gradients
        if ctx.is_last:
            output, gradient = output.movedim(-1, 1), gradient.movedim(-1, 1)
        found = torch.linalg.vecdot(output.flatten(2), gradient.flatten(2)) if output.dim() > 2 else output * gradient
        earlier = ctx.sums.get(ctx.name)
        ctx.sums[ctx.name] = found if earlier is None else earlier + found
        return gradients[0], None, None, None
