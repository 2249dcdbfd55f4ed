"""ResNet: the residual networks of the papers' ImageNet study, built by timm, wide ones and small stems included."""

from typing import Any, Literal

import timm.models.resnet
from torch import nn

from nnmass.zoo.checks import require_integer, require_memory
from nnmass.zoo.networks.hub import HubNetwork
from nnmass.zoo.resnet_size import RESNET_BLOCKS, resnet_channels, resnet_size
from nnmass.zoo.seeding import seeded

__all__ = ["ResNet"]

Depth = Literal[18, 34, 50, 101, 152]


class ResNet(HubNetwork, timm.models.resnet.ResNet):
    """timm's ResNet by depth and width: ResNet, ResNeXt (cardinality) and Wide ResNet (width factor, base width).

    Args:
        depth: Layers, as the papers count them; 18 and 34 have basic blocks, the others bottlenecks.
        width_factor: k of WRN-n-k: every stage has k times the channels; the stem keeps its 64.
        cardinality: Groups of the 3x3 convolutions in bottlenecks; 32 makes a ResNeXt.
        base_width: Channels per group in the first stage's bottlenecks; 128 with one group makes a Wide ResNet-n-2.
        num_classes: Outputs of the classifier; 0 leaves it out.
        in_chans: Channels of the images.
        small_images: For images of 32 px: the stem is one 3x3 convolution of stride 1, without pooling.
        seed: Decides the initial weights; the global random state is neither read nor changed.

    Raises:
        ValueError: If the depth is none of the five, a size is out of range, or a basic block is to have groups.

    Source:
        He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016); Xie et al., "Aggregated Residual
        Transformations" (CVPR 2017); Zagoruyko and Komodakis, "Wide Residual Networks" (BMVC 2016).

    Example:
        >>> network = ResNet(18, width_factor=2)
        >>> round(sum(p.numel() for p in network.parameters()) / 1e6, 1)
        45.6
    """

    def __init__(
        self,
        depth: Depth,
        width_factor: float = 1,
        cardinality: int = 1,
        base_width: int = 64,
        num_classes: int = 1000,
        in_chans: int = 3,
        small_images: bool = False,
        seed: int = 0,
    ) -> None:
        channels = resnet_channels(depth, width_factor, cardinality, base_width)
        num_classes = require_integer("num_classes", num_classes, 0)
        in_chans = require_integer("in_chans", in_chans, 1)
        cost = resnet_size(depth, width_factor, cardinality, base_width, num_classes, in_chans).size
        require_memory(cost.num_params)
        block: Any = timm.models.resnet.BasicBlock if depth < 50 else timm.models.resnet.Bottleneck
        with seeded(seed):
            super().__init__(
                block=block,
                layers=RESNET_BLOCKS[depth],
                num_classes=num_classes,
                in_chans=in_chans,
                channels=tuple(channels),
                cardinality=cardinality,
                base_width=base_width,
            )
            if small_images:
                stem: Any = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
                nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
                pool: Any = nn.Identity()
                self.conv1, self.maxpool = stem, pool
        side = 32 if small_images else 224
        self.in_chans = in_chans
        self.default_cfg = {
            "input_size": (in_chans, side, side),
            "num_classes": num_classes,
            "first_conv": "conv1",
            "classifier": "fc",
        }
