"""ExpansionBlock: the depthwise-separable layer that stands in for a 3x3 convolution in the DSConv networks."""

from typing import Any, TypeGuard

from torch import Tensor, nn

from nnmass.zoo.checks import require_integer
from nnmass.zoo.fast.outputs import read_outputs
from nnmass.zoo.fast.readers import Reader

__all__ = ["ExpansionBlock", "is_expansion_block"]


class ExpansionBlock(nn.Sequential):
    """1x1 convolution to e x w channels, BN, ReLU, 3x3 depthwise convolution, BN, ReLU, 1x1 convolution to w channels.

    No convolution has a bias, and nothing follows the last one: normalisation and activation belong to the network
    around it.

    Args:
        in_channels: Channels of the input.
        width: Channels of the output, w.
        expansion: e; 1 gives a plain depthwise-separable layer, 6 is MobileNetV2's.
        stride: Stride of the depthwise convolution.

    Raises:
        ValueError: If a size is below 1.

    Source:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018), without the residual; the
        ICLR 2021 submission on NN-Mass, section 4.3, names the networks and leaves the layer open.

    Example:
        >>> import torch
        >>> ExpansionBlock(3, 8, expansion=6, stride=2)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, in_channels: int, width: int, expansion: int = 1, stride: int = 1) -> None:
        in_channels, width = require_integer("in_channels", in_channels, 1), require_integer("width", width, 1)
        inner = require_integer("expansion", expansion, 1) * width
        super().__init__(
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, w, H / stride, W / stride)."""
        return super().forward(x)

    @property
    def readers(self) -> list[Reader]:
        """The last two convolutions, each with the normalisation and activation before it."""
        layers: list[Any] = list(self)
        return [Reader(layers[1], layers[3]), Reader(layers[4], layers[6])]

    def forward_on_shared_outputs(self, x: Tensor) -> Tensor:
        """The same function, keeping what the first two convolutions give and asking again for what enters the others.

        Args:
            x: As for :meth:`forward`.
        """
        return read_outputs([self[0](x)], [self.readers])


def is_expansion_block(module: nn.Module) -> TypeGuard[ExpansionBlock]:
    """Test for an expansion block as it is built, whose parts a fast pass may run in its stead."""
    return type(module) is ExpansionBlock and len(module) == 7
