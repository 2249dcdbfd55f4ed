"""Size of ResNets in closed form; it needs neither torch nor timm."""

from typing import NamedTuple

from nnmass.zoo.checks import require_choice, require_integer, require_multiple
from nnmass.zoo.size import Size

__all__ = ["RESNET_BLOCKS", "ResNetSize", "resnet_channels", "resnet_size"]

RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ResNetSize(NamedTuple):
    """Size and structure of a :class:`zoo.ResNet`.

    Attributes:
        size: Parameters and MACs.
        blocks: Input channels of each layer on the main branch, W_j, block by block.
        num_layers: Convolutions and linear layers.
    """

    size: Size
    blocks: list[list[int]]
    num_layers: int


def resnet_channels(depth: int, width_factor: float, cardinality: int, base_width: int) -> list[int]:
    """Channels of the four stages.

    Raises:
        ValueError: If an argument is none that :class:`zoo.ResNet` takes.

    Example:
        >>> resnet_channels(18, 1.5, 1, 64)
        [96, 192, 384, 768]
    """
    require_choice("depth", depth, RESNET_BLOCKS)
    require_integer("cardinality", cardinality, 1)
    require_integer("base_width", base_width, 1)
    if depth < 50 and (cardinality, base_width) != (1, 64):
        raise ValueError(
            f"Expected cardinality 1 and base_width 64 for the basic blocks of depth {depth}, "
            f"but got {cardinality} and {base_width}."
        )
    narrowest = require_multiple("width_factor times 64", 64 * width_factor)
    return [narrowest * 2**stage for stage in range(4)]


def resnet_size(
    depth: int,
    width_factor: float = 1,
    cardinality: int = 1,
    base_width: int = 64,
    num_classes: int = 1000,
    in_chans: int = 3,
    side: int = 224,
    small_images: bool = False,
) -> ResNetSize:
    """Size of a :class:`zoo.ResNet`.

    Args:
        depth: Layers, as the papers count them.
        width_factor: That of the stages' channels.
        cardinality: Groups of the 3x3 convolutions in bottlenecks.
        base_width: Channels per group in the first stage's bottlenecks.
        num_classes: Outputs of the classifier; 0 for none.
        in_chans: Channels of the images.
        side: Height and width of the images, in px.
        small_images: Whether the stem is one 3x3 convolution of stride 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> resnet_size(50).size
        Size(num_params=25557032, macs=4089184256)
    """
    stages = resnet_channels(depth, width_factor, cardinality, base_width)
    expansion = 1 if depth < 50 else 4
    side = side if small_images else (side - 1) // 2 + 1
    convolutions = [_convolution(in_chans, 64, 3 if small_images else 7, side)]
    side = side if small_images else (side - 1) // 2 + 1  # the pool
    blocks: list[list[int]] = []
    channels = 64
    for stage, (planes, number) in enumerate(zip(stages, RESNET_BLOCKS[depth], strict=True)):
        for block in range(number):
            out, stride = planes * expansion, 2 if stage and not block else 1
            after = (side - 1) // stride + 1
            if expansion == 1:
                blocks.append([channels, planes])
                main = [_convolution(channels, planes, 3, after), _convolution(planes, planes, 3, after)]
            else:
                inner = int(planes * (base_width / 64)) * cardinality
                blocks.append([channels, inner, inner])
                main = [_convolution(channels, inner, 1, side), _convolution(inner, inner, 3, after, cardinality)]
                main.append(_convolution(inner, out, 1, after))
            if stride > 1 or channels != out:
                main.append(_convolution(channels, out, 1, after))
            convolutions += main
            side, channels = after, out
    total = Size(channels * num_classes + num_classes, channels * num_classes)
    for one in convolutions:
        total = total.plus(one)
    return ResNetSize(total, blocks, len(convolutions) + (num_classes > 0))


def _convolution(channels: int, out: int, kernel: int, side: int, groups: int = 1) -> Size:
    """A convolution without bias, and its batch norm."""
    weights = kernel**2 * channels * out // groups
    return Size(weights + 2 * out, weights * side**2)
