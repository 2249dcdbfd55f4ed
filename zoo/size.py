"""Parameters and multiply-adds of the zoo's own networks in closed form, without building them.

Both are linear in the number of long-range links of each cell, as NN-Mass is. Where ``links`` is a NumPy array of whole
numbers, the results are arrays too. MACs count convolutions and linear layers, nothing else, for one input.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from nnmass.zoo.checks import require, require_multiple
from nnmass.zoo.mass import link_counts, residual_mass

__all__ = ["MOBILENET_STAGES", "Size", "cell_size", "cell_widths", "densenet_size", "mlp_size", "mobilenet_size"]


class Size(NamedTuple):
    """Cost of a network, or of a part of it.

    Attributes:
        num_params: Learnable numbers.
        macs: Multiply-adds for one input, in MAC.
    """

    num_params: Any
    macs: Any

    def plus(self, other: "Size") -> "Size":
        """The size of both together."""
        return Size(self.num_params + other.num_params, self.macs + other.macs)


def cell_size(
    in_channels: int,
    width: int,
    depth: int,
    links: Any,
    side: int,
    stride: int = 1,
    expansion: int | None = None,
    expand_first: bool = True,
) -> Size:
    """Size of one random-skip cell of convolutions.

    Args:
        in_channels: Channels of the cell's input.
        width: Channels per layer, w_c.
        depth: Layers, d_c.
        links: Long-range links of all its layers together, the sum of :func:`zoo.link_counts`.
        side: Height and width of the cell's input, in px.
        stride: Stride of layer 0.
        expansion: That of the layers, as in :class:`zoo.RandomSkipCell`.
        expand_first: Whether it goes for layer 0 too.

    Example:
        >>> cell_size(3, 4, depth=5, links=16, side=8)
        Size(num_params=1332, macs=80640)
    """
    out = (side - 1) // stride + 1
    first = _layer(in_channels, width, side, out, expansion if expand_first else None)
    size = Size(first.num_params + 2 * width, first.macs)
    if depth == 1:
        return size
    plain = _layer(width, width, out, out, expansion)
    wider = _layer(width + 1, width, out, out, expansion)
    # Layer 1 has its normalisation behind it; every later layer has it in front, over all channels that enter.
    return Size(
        size.num_params
        + (depth - 1) * (plain.num_params + 2 * width)
        + links * (wider.num_params - plain.num_params + 2),
        size.macs + (depth - 1) * plain.macs + links * (wider.macs - plain.macs),
    )


def densenet_size(
    cell_depth: Sequence[int],
    widths: Sequence[int],
    tc: Sequence[int],
    num_classes: int = 10,
    in_chans: int = 3,
    side: int = 32,
    stem: bool = False,
    expansion: int | None = None,
) -> Size:
    """Size of a :class:`zoo.RandomSkipDenseNet`.

    Args:
        cell_depth: Layers of each cell, d_c.
        widths: Channels per layer of each cell, w_c.
        tc: The most long-range channels that a layer of each cell may take, t_c.
        num_classes: Outputs of the classifier; 0 for none.
        in_chans: Channels of the images.
        side: Height and width of the images, in px.
        stem: Whether the ImageNet stem comes first.
        expansion: That of the layers; None for 3x3 convolutions.

    Example:
        >>> densenet_size([12] * 3, [32, 64, 128], [60, 130, 170])
        Size(num_params=5019894, macs=794346752)
    """
    size, channels = Size(0, 0), in_chans
    if stem:
        side = (side - 1) // 2 + 1
        kernel = 49 * in_chans * widths[0]
        size, channels = Size(kernel + 2 * widths[0], kernel * side**2), widths[0]
        side = (side - 1) // 2 + 1
    for index, (depth, width, t) in enumerate(zip(cell_depth, widths, tc, strict=True)):
        links, stride = sum(link_counts(depth, width, t)), 2 if index else 1
        size = size.plus(cell_size(channels, width, depth, links, side, stride, expansion, index > 0))
        side, channels = (side - 1) // stride + 1, width
    return size.plus(_linear(channels, num_classes))


def cell_widths(base_widths: Sequence[int], width_multiplier: float) -> list[int]:
    """Channels per layer of each cell, w_c: ``base_widths`` times the width multiplier.

    Args:
        base_widths: Widths at multiplier 1, one per cell.
        width_multiplier: w_m.

    Raises:
        ValueError: If there is no cell, or a width does not come out whole.

    Example:
        >>> cell_widths([16, 32, 64], 1.5)
        [24, 48, 96]
    """
    require(len(base_widths) > 0, "base_widths", "hold one width per cell", "none")
    return [
        require_multiple(
            "width_multiplier times every base width",
            base * width_multiplier,
            f"{width_multiplier} x {base} = {base * width_multiplier}",
        )
        for base in base_widths
    ]


def mlp_size(depth: int, width: int, tc: int, num_classes: int = 10, in_features: int = 784) -> Size:
    """Size of a :class:`zoo.RandomSkipMLP`.

    Args:
        depth: Layers, d.
        width: Neurons per layer, w.
        tc: The most long-range links a layer may take, t.
        num_classes: Outputs of the classifier.
        in_features: Numbers in one input.

    Example:
        >>> mlp_size(depth=24, width=8, tc=2)
        Size(num_params=8310, macs=8116)
    """
    *hidden, last = link_counts(depth, width, tc)
    size = _linear(in_features, width)
    for links in hidden[1:]:
        size = size.plus(_linear(width + links, width))
    return size.plus(_linear(width + last, num_classes))


# Stride, expansion and channels at width 1 of each stage (MobileNetV2, table 2).
MOBILENET_STAGES = ((1, 1, 16), (2, 6, 24), (2, 6, 32), (2, 6, 64), (1, 6, 96), (2, 6, 160), (1, 6, 320))


def mobilenet_size(
    width_multiplier: float = 1.0,
    repeats: Sequence[int] = (1, 2, 3, 4, 3, 3, 1),
    num_classes: int = 1000,
    in_chans: int = 3,
    side: int = 224,
    small_images: bool = False,
) -> tuple[Size, float]:
    """Size and NN-Mass of a :class:`zoo.MobileNetV2`.

    Args:
        width_multiplier: All channels times this, rounded to multiples of 8.
        repeats: Blocks in each of the seven stages.
        num_classes: Outputs of the classifier; 0 for none.
        in_chans: Channels of the images.
        side: Height and width of the images, in px.
        small_images: Whether the stem has stride 1.

    Returns:
        The size, and the mass (CVPR's Eq. 3): of each block with a skip, i_c times the share of its possible links.

    Example:
        >>> size, mass = mobilenet_size(width_multiplier=0.75)
        >>> size, round(mass)
        (Size(num_params=2636424, macs=209069792), 975)
    """
    side = side if small_images else (side - 1) // 2 + 1
    channels = _rounded(32 * width_multiplier)
    size, mass = Size(9 * in_chans * channels + 2 * channels, 9 * in_chans * channels * side**2), 0.0
    for (stride, expansion, base), number in zip(MOBILENET_STAGES, repeats, strict=True):
        width = _rounded(base * width_multiplier)
        for block in range(number):
            out = (side - 1) // (stride if block == 0 else 1) + 1
            inner = expansion * channels
            if expansion > 1:
                size = size.plus(Size(channels * inner + 2 * inner, channels * inner * side**2))
            size = size.plus(Size(9 * inner + 2 * inner, 9 * inner * out**2))
            size = size.plus(Size(inner * width + 2 * width, inner * width * out**2))
            if channels == width and out == side:
                mass += residual_mass((channels, inner, inner))
            side, channels = out, width
    head = max(1280, _rounded(1280 * width_multiplier))
    size = size.plus(Size(channels * head + 2 * head, channels * head * side**2))
    return size.plus(_linear(head, num_classes)), mass


def _layer(entering: int, width: int, side: int, out: int, expansion: int | None) -> Size:
    """A 3x3 convolution, or the expanded layer that stands for it, from ``side`` to ``out`` px."""
    if expansion is None:
        return Size(9 * entering * width, 9 * entering * width * out**2)
    inner = expansion * width
    return Size(
        entering * inner + 9 * inner + inner * width + 4 * inner,
        entering * inner * side**2 + (9 * inner + inner * width) * out**2,
    )


def _linear(entering: int, outputs: int) -> Size:
    return Size((entering + 1) * outputs, entering * outputs)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, but none below nine tenths of the number: as MobileNetV2's authors round."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
