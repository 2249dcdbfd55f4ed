"""MobileNetV2 of any width and any number of repeats per stage, built by timm."""

from collections.abc import Sequence
from functools import partial
from math import inf

from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn

from nnmass.zoo.checks import require, require_integer, require_memory
from nnmass.zoo.mass import MOST_LAYERS
from nnmass.zoo.networks.hub import HubNetwork
from nnmass.zoo.seeding import seeded
from nnmass.zoo.size import MOBILENET_STAGES, mobilenet_size

__all__ = ["MobileNetV2"]


class MobileNetV2(HubNetwork, EfficientNet):
    """Inverted residual blocks with linear bottlenecks, of any width and depth.

    Args:
        width_multiplier: All channels times this, rounded to multiples of 8; the last layer has at least 1280.
        repeats: Blocks in each of the seven stages; together N_c.
        num_classes: Outputs of the classifier; 0 leaves it out.
        in_chans: Channels of the images.
        small_images: For images of 32 px: the stem has stride 1.
        seed: Decides the initial weights; the global random state is neither read nor changed.

    Raises:
        ValueError: If the repeats are not seven whole numbers of at least 1, or the width is not positive.

    Source:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018); more repeats: CVPR 2021
        (NN-Mass), table 2.

    Example:
        >>> sum(p.numel() for p in MobileNetV2(width_multiplier=0.75).parameters())
        2636424
    """

    def __init__(
        self,
        width_multiplier: float = 1.0,
        repeats: Sequence[int] = (1, 2, 3, 4, 3, 3, 1),
        num_classes: int = 1000,
        in_chans: int = 3,
        small_images: bool = False,
        seed: int = 0,
    ) -> None:
        stages = len(MOBILENET_STAGES)
        require(len(repeats) == stages, "repeats", f"hold {stages} numbers, one per stage", list(repeats))
        repeats = [require_integer("repeats", number, 1, MOST_LAYERS) for number in repeats]
        require(0 < width_multiplier < inf, "width_multiplier", "be positive and finite", width_multiplier)
        num_classes = require_integer("num_classes", num_classes, 0)
        in_chans = require_integer("in_chans", in_chans, 1)
        require_memory(mobilenet_size(width_multiplier, repeats, num_classes, in_chans)[0].num_params)
        round_channels_by_width = partial(round_channels, multiplier=width_multiplier)
        blocks = [
            # In timm's notation: without an expansion a depthwise-separable block, else an inverted residual one.
            [f"{'ds' if expansion == 1 else 'ir'}_r{number}_k3_s{stride}_e{expansion}_c{channels}"]
            for (stride, expansion, channels), number in zip(MOBILENET_STAGES, repeats, strict=True)
        ]
        with seeded(seed):
            super().__init__(
                block_args=decode_arch_def(blocks),
                num_classes=num_classes,
                num_features=max(1280, round_channels_by_width(1280)),
                in_chans=in_chans,
                round_chs_fn=round_channels_by_width,
                act_layer=nn.ReLU6,
            )
        if small_images:
            self.conv_stem.stride = (1, 1)
        side = 32 if small_images else 224
        self.default_cfg = {
            "input_size": (in_chans, side, side),
            "num_classes": num_classes,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        }
