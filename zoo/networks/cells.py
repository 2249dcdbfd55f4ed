"""Random-skip cells: layers that take their predecessor whole and a random sample of the channels before it."""

from typing import Any

import torch
from torch import Tensor, nn

from nnmass.zoo.checks import require_integer
from nnmass.zoo.fast.choice import forward_by_choice
from nnmass.zoo.fast.link_range import LinkRange
from nnmass.zoo.fast.outputs import can_share, precision_of, read_outputs
from nnmass.zoo.fast.proof import is_proved
from nnmass.zoo.fast.readers import Reader, keeps_size
from nnmass.zoo.mass import MOST_LAYERS
from nnmass.zoo.networks.expansion import ExpansionBlock, is_expansion_block
from nnmass.zoo.networks.links import Links, draw_links
from nnmass.zoo.seeding import seeded

__all__ = ["RandomSkipCell"]


class RandomSkipLayer(nn.Module):
    """ReLU and convolution of the layer's input, then the normalisation that the next layers' rule asks for.

    Layer 0: convolution. Layer 1: ReLU, convolution. Layer i >= 2: concatenate, BN, ReLU, convolution. With an
    expansion, an ExpansionBlock stands for the convolution.
    """

    links: Tensor

    def __init__(
        self, in_channels: int, width: int, position: int, links: Tensor, stride: int, expansion: int | None
    ) -> None:
        super().__init__()
        self.register_buffer("links", links)
        entering = in_channels if position == 0 else width + len(links)
        self.norm_in = nn.BatchNorm2d(entering) if position >= 2 else nn.Identity()
        self.activation = nn.ReLU() if position >= 1 else nn.Identity()
        self.conv: nn.Module = (
            nn.Conv2d(entering, width, 3, stride=stride, padding=1, bias=False)
            if expansion is None
            else ExpansionBlock(entering, width, expansion, stride)
        )
        self.norm_out = nn.BatchNorm2d(width) if position <= 1 else nn.Identity()
        self._link_range = LinkRange()

    def forward(self, previous: Tensor, earlier: Tensor | None) -> Tensor:
        """Map layer i-1's output (N, w_c, H, W) and those of layers 0..i-2 (N, (i-1) w_c, H, W) to (N, w_c, H, W)."""
        if earlier is not None and len(self.links):
            previous = torch.cat([previous, earlier.index_select(1, self.links)], dim=1)
        return self.norm_out(self.conv(self.activation(self.norm_in(previous))))

    def fits(self, position: int, width: int, is_read: bool) -> bool:
        """Test that layer i >= 2 takes channels that exist, and gives what the layers that read it expect.

        Args:
            position: i.
            width: Channels of each layer that is read, w_c.
            is_read: Whether a layer comes after it; the last layer may have any number of channels.
        """
        readers = self.readers
        leaving = [len(reader.convolution.weight) for reader in readers]
        entering = [reader.norm.num_features for reader in readers]
        return (
            entering == [width + len(self.links), *leaving[:-1]]
            and (leaving[-1] == width or not is_read)
            and all(keeps_size(reader.convolution) for reader in readers)
            and self._link_range.is_within(self.links, (position - 1) * width)
        )

    @property
    def readers(self) -> list[Reader]:
        """Convolutions that read the outputs of earlier layers, each with the normalisation before it, for i >= 2."""
        norm_in, conv, links = self.norm_in, self.conv, self.links
        if is_expansion_block(conv):
            return [Reader(norm_in, conv[0], links), *conv.readers]  # type: ignore[arg-type]
        return [Reader(norm_in, conv, links)]  # type: ignore[arg-type]


class RandomSkipCell(nn.Module):
    """A cell of d_c convolution layers with random concatenation-type skip connections (CVPR 2021, section 3).

    The links are drawn once, from ``seed``, and stored as buffers: a checkpoint brings its own links back. ``is_cell``
    tells :func:`zoo.topology` that the first and the last layer belong to the cell.

    Args:
        in_channels: Channels of the cell's input.
        width: Channels per layer, w_c.
        depth: Layers, d_c.
        tc: The most long-range channels a layer may take, t_c; 0 gives a chain, w_c (d_c-2) or more all-to-all links.
        stride: Stride of layer 0.
        expansion: Make every layer an :class:`ExpansionBlock` of this expansion; None makes them 3x3 convolutions.
        expand_first: Whether that goes for layer 0 too.
        share_outputs: Keep each output once, and no copy for each layer that reads it: a fraction of the memory, to
            the same result, which then lies in memory in channels_last order. None does so where it was measured to be
            faster too, which is on processors, and without an expansion on GPUs in a CUDA graph and bfloat16; True
            wherever it can be done; False never. Where hooks, traces or synchronised normalisation are used, or a small
            network shows that it does not work on this machine, the modules run one after the other. Gradients of
            gradients, and many gradients at once, are refused unless it is False.
        links: ``uniform`` draws the links as the papers do; ``newest`` and ``oldest`` take the candidates of the latest
            or of the earliest layers; a list per layer gives the channels one by one. NN-Mass is the same for all.
        seed: Decides the links and the initial weights; the global random state is neither read nor changed.

    Raises:
        ValueError: If a size is below 1, tc or the seed is negative, or the links are not those of such a cell.

    Example:
        >>> cell = RandomSkipCell(in_channels=3, width=4, depth=5, tc=6)
        >>> cell(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 4, 8, 8])
        >>> cell.num_links
        [0, 0, 4, 6, 6]
    """

    is_cell = True

    def __init__(
        self,
        in_channels: int,
        width: int,
        depth: int,
        tc: int,
        *,
        stride: int = 1,
        expansion: int | None = None,
        expand_first: bool = True,
        share_outputs: bool | None = None,
        links: Links = "uniform",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.share_outputs = share_outputs
        self.ran_on_shared_outputs = False
        in_channels, stride = require_integer("in_channels", in_channels, 1), require_integer("stride", stride, 1)
        width, depth = require_integer("width", width, 1), require_integer("depth", depth, 1, MOST_LAYERS)
        tc = require_integer("tc", tc, 0)
        self.width, self.depth, self.tc = width, depth, tc
        with seeded(seed) as generator:
            taken = draw_links(depth, width, tc, generator, links)
            self.layers = nn.ModuleList(
                RandomSkipLayer(
                    in_channels, width, i, taken[i], stride if i == 0 else 1, expansion if i or expand_first else None
                )
                for i in range(depth)
            )

    @property
    def num_links(self) -> list[int]:
        """Long-range channels that each layer takes, counted on the built cell."""
        return [len(layer.links) for layer in self.layers]  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, w_c, H / stride, W / stride), the output of the last layer."""
        return forward_by_choice(self, x, self._is_faster_in_a_graph, self._can_share)

    def forward_on_modules(self, x: Tensor) -> Tensor:
        """Run the modules one after the other."""
        outputs: list[Tensor] = []
        earlier: Tensor | None = None
        for position, layer in enumerate(self.layers):
            if position >= 2:
                newest = outputs[position - 2]
                earlier = newest if earlier is None else torch.cat([earlier, newest], dim=1)
            outputs.append(layer(outputs[-1] if outputs else x, earlier))
        return outputs[-1]

    def _is_faster_in_a_graph(self, x: Tensor) -> bool:
        """Measured of layers of one convolution, in bfloat16 (docs/results/gpu.md)."""
        return type(self.layers[0].conv) is nn.Conv2d and precision_of(x) == torch.bfloat16

    def _can_share(self, x: Tensor) -> bool:
        layers: list[Any] = list(self.layers)
        readers = [reader for layer in layers[2:] for reader in layer.readers]
        activations = [layer.activation for layer in layers[1:]]
        for block in (layer.conv for layer in layers if is_expansion_block(layer.conv)):
            readers += block.readers
            activations += [block[2], block[5]]
        return (
            self.depth > 2  # in fewer layers, none reads an output a second time
            and all(type(layer) is RandomSkipLayer for layer in layers)
            and all(type(layer.norm_out) is nn.Identity for layer in layers[2:])
            and can_share(self, readers, activations, x)
            and all(layer.fits(i, self.width, is_read=i < self.depth - 1) for i, layer in enumerate(layers[2:], 2))
            # Under autocast what enters may be of another precision than the weights.
            and is_proved(_random_skip_cell, (2, 3, 5, 5), x.device, readers[0].norm.weight.dtype, precision_of(x))
        )

    def forward_on_shared_outputs(self, x: Tensor) -> Tensor:
        """Compute the same with each output kept once, where :func:`zoo.fast.outputs.can_share` allows it."""
        layers: list[Any] = list(self.layers)
        first: list[Tensor] = []
        for layer in layers[:2]:
            entering = layer.activation(layer.norm_in(first[-1] if first else x))
            is_block = is_expansion_block(layer.conv)
            output = layer.conv.forward_on_shared_outputs(entering) if is_block else layer.conv(entering)
            first.append(layer.norm_out(output))
        return read_outputs(first, [layer.readers for layer in layers[2:]])


def _random_skip_cell() -> RandomSkipCell:
    """The network on which the pass on shared outputs is proved, with all kinds of layers in a few channels."""
    return RandomSkipCell(in_channels=3, width=5, depth=5, tc=6)
