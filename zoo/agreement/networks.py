"""Small networks on which a fast pass shows its mistakes and no others.

A rectifier's slope jumps at zero, so that a pre-activation next to it gives either of two gradients, in any precision
and in any pass. Here none comes near: rounding stays rounding, and bounds on it can be tight.
"""

import torch
from torch import Tensor, nn

from nnmass.zoo.networks.cells import RandomSkipCell
from nnmass.zoo.networks.mlp import RandomSkipMLP
from nnmass.zoo.seeding import seeded

__all__ = ["cell", "gaussian", "mlp", "rectified_mlp", "sweeps", "two_valued"]


def gaussian(*shape: int) -> Tensor:
    """Normally distributed inputs, in double precision."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def two_valued(*shape: int) -> Tensor:
    """Inputs of either sign and of size 1 to 1.25, in double precision."""
    generator = torch.Generator().manual_seed(1)
    size = 1 + 0.25 * torch.rand(shape, dtype=torch.float64, generator=generator)
    return size * (1 - 2 * torch.randint(2, shape, generator=generator))


def cell(share: bool, width: int, tc: int, expansion: int | None = None) -> RandomSkipCell:
    """A cell of five layers whose channels are rectified as a whole: passed on, or (one of four) cut off.

    Each bias is five times its weight, and so beyond what a normalised channel reaches.

    Args:
        share: Whether it runs on shared outputs.
        width: Channels per layer.
        tc: The most long-range channels that a layer takes.
        expansion: Of depthwise-separable layers, if it has such.
    """
    network = RandomSkipCell(3, width, 5, tc, expansion=expansion, share_outputs=share, seed=1)
    with seeded(2) as generator, torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
            signs = torch.where(torch.rand(norm.num_features, generator=generator) < 0.25, -1.0, 1.0)
            signs[0] = 1
            norm.weight.uniform_(0.3, 0.5)
            norm.bias.copy_(2.5 * signs)
            _begin(norm)
    return network


def sweeps(share: bool, width: int, tc: int) -> RandomSkipCell:
    """A cell of four layers whose convolutions hand on what they get, so that nothing but the sweeps computes.

    Its running statistics are what store and normalise make, its output is what gather makes of them, the gradients of
    its weights are what scatter makes, and that of its input is what batch_norm_backward makes. It takes
    :func:`two_valued` inputs of ``width`` channels.

    Args:
        share: Whether it runs on shared outputs.
        width: Channels per layer.
        tc: The most long-range channels that a layer takes.
    """
    network = RandomSkipCell(width, width, 4, tc, share_outputs=share, seed=1)
    with seeded(2), torch.no_grad():
        for position, layer in enumerate(network.layers):
            linked = len(layer.links)  # type: ignore[arg-type]
            hands_on = torch.eye(width + linked if position == 3 else width, width + linked)
            if position == 2 and linked:  # some of what is linked, so that gradients come back to it twice
                rows = torch.arange(width)
                hands_on[rows, width + rows % linked] = 0.125
            convolution = nn.Conv2d(width + linked, len(hands_on), 1, bias=False).requires_grad_(False)
            convolution.weight.copy_(hands_on[:, :, None, None])
            layer.conv, layer.norm_out = convolution, nn.Identity()
            if isinstance(layer.norm_in, nn.BatchNorm2d):
                layer.norm_in.weight.uniform_(0.8, 1.2)
                layer.norm_in.bias.uniform_(-0.1, 0.1)
                _begin(layer.norm_in)
    # Each kind of result is one sweep's: these statistics are of what gather has made, these gradients are of what
    # batch_norm_backward has made.
    network.layers[3].norm_in.momentum = 0.0  # type: ignore[union-attr]
    network.layers[2].norm_in.requires_grad_(False)
    return network


def _begin(norm: nn.BatchNorm2d) -> None:
    """Running statistics far from any batch's, which follow by half the way: seen in sixteen bits too."""
    norm.momentum = 0.5
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.uniform_(-2, -1)
    norm.running_var.uniform_(3, 4)


def mlp(share: bool, width: int, tc: int) -> RandomSkipMLP:
    """An MLP of six layers with ELU, whose slope does not jump; it takes 12 numbers.

    Args:
        share: Whether it writes each output once.
        width: Neurons per layer.
        tc: The most long-range links that a layer takes.
    """
    return RandomSkipMLP(6, width, tc, num_classes=5, in_features=12, share_outputs=share, seed=1)


def rectified_mlp(share: bool, width: int, tc: int) -> RandomSkipMLP:
    """The same with ReLU, and neurons that are on or off for all inputs that are positive.

    Args:
        share: Whether it writes each output once.
        width: Neurons per layer.
        tc: The most long-range links that a layer takes.
    """
    network = RandomSkipMLP(6, width, tc, num_classes=5, in_features=12, activation="relu", share_outputs=share, seed=1)
    with torch.no_grad():
        for layer in network.layers:
            linear: nn.Linear = layer.linear  # type: ignore[assignment]
            signs = torch.tensor([-1.0 if row % 4 == 1 else 1.0 for row in range(len(linear.weight))])
            linear.weight.abs_().mul_(signs[:, None])
            linear.bias.copy_(signs)
    return network
