"""RandomSkipDenseNet: the CIFAR and ImageNet networks of both NN-Mass papers, plain and depthwise-separable."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nnmass.zoo.checks import require_choice, require_integer, require_memory, require_one_per_cell
from nnmass.zoo.mass import MOST_LAYERS, average_degree, cell_density, nn_mass
from nnmass.zoo.networks.cells import RandomSkipCell
from nnmass.zoo.networks.hub import HubNetwork
from nnmass.zoo.networks.links import Placement
from nnmass.zoo.seeding import seeded
from nnmass.zoo.size import cell_widths, densenet_size

__all__ = ["RandomSkipDenseNet"]

_STEMS = ("none", "imagenet")


class RandomSkipDenseNet(HubNetwork, nn.Module):
    """Random-skip cells at falling resolution, global average pooling and a linear classifier.

    The first layer of every cell but the first halves the resolution. With three cells and no stem (CIFAR) the papers
    call it a network of L = 3 d_c + 4 layers; with four cells and a stem (ImageNet) one of 4 d_c + 4.

    Args:
        cell_depth: Layers per cell, d_c: one number, or one per cell.
        width_multiplier: w_m; the widths are ``base_widths`` times this, and must come out whole.
        tc: The most long-range channels that a layer may take, t_c: one number, or one per cell.
        num_classes: Outputs of the classifier; 0 leaves it out.
        in_chans: Channels of the images.
        base_widths: Widths at multiplier 1, one per cell.
        stem: ``imagenet`` puts a 7x7 convolution of stride 2, BN, ReLU and 3x3 max pooling of stride 2 first.
        expansion: Make every 3x3 convolution of the cells but the very first an :class:`zoo.ExpansionBlock` of this
            expansion (the DSConv networks); None leaves them as they are.
        share_outputs: Keep each output of a cell once: a fraction of the memory, to the same result. None, True and
            False mean what they mean for :class:`zoo.RandomSkipCell`.
        seed: Decides links and initial weights; the global random state is neither read nor changed.
        links: Placement of the links in every cell, or the channels of each layer, one list of lists per cell: see
            :class:`zoo.RandomSkipCell`.

    Attributes:
        nn_mass: NN-Mass of the network (Eq. 2).
        cell_densities: Density of each cell (Eq. 1).
        average_degree: Edges per neuron inside the cells.
        widths: Channels per layer, w_c, one per cell.

    Raises:
        ValueError: If a size is out of range, a length differs from the number of cells, or a width is not whole.

    Source:
        Bhardwaj, Li, Marculescu, CVPR 2021, section 4; the layer order follows from the published parameter counts. The
        stem and what an expanded layer consists of are published nowhere: they are ours.

    Example:
        >>> network = RandomSkipDenseNet(cell_depth=12, width_multiplier=2, tc=[60, 130, 170])
        >>> round(network.nn_mass, 3), sum(p.numel() for p in network.parameters())
        (755.345, 5019894)
    """

    def __init__(
        self,
        cell_depth: int | Sequence[int],
        width_multiplier: float,
        tc: int | Sequence[int],
        num_classes: int = 10,
        in_chans: int = 3,
        base_widths: Sequence[int] = (16, 32, 64),
        stem: Literal["none", "imagenet"] = "none",
        expansion: int | None = None,
        share_outputs: bool | None = None,
        seed: int = 0,
        links: Placement | Sequence[Sequence[Sequence[int]]] = "uniform",
    ) -> None:
        super().__init__()
        require_choice("stem", stem, _STEMS)
        self.in_chans = require_integer("in_chans", in_chans, 1)
        self.widths = cell_widths(base_widths, width_multiplier)
        cells = len(self.widths)
        depths = [
            require_integer("cell_depth", depth, 1, MOST_LAYERS)
            for depth in require_one_per_cell("cell_depth", cell_depth, cells)
        ]
        tcs = [require_integer("tc", number, 0) for number in require_one_per_cell("tc", tc, cells)]
        placed = [links] * cells if isinstance(links, str) else require_one_per_cell("links", links, cells)
        num_classes = require_integer("num_classes", num_classes, 0)
        expansion = None if expansion is None else require_integer("expansion", expansion, 1)
        require_memory(densenet_size(depths, self.widths, tcs, num_classes, in_chans, expansion=expansion).num_params)
        self.nn_mass = nn_mass(depths, self.widths, tcs)
        self.cell_densities = cell_density(depths, self.widths, tcs)
        self.average_degree = average_degree(depths, self.widths, tcs)
        self.num_features = self.widths[-1]
        side = 32 if stem == "none" else 224
        self.default_cfg: dict[str, Any] = {"input_size": (in_chans, side, side), "classifier": "classifier"}
        with seeded(seed) as generator:
            cell_seeds = torch.randint(2**63 - 1, (len(self.widths),), generator=generator, device="cpu").tolist()
            stem_seed = int(torch.randint(2**63 - 1, (), generator=generator, device="cpu"))
            self.stem = nn.Identity() if stem == "none" else _imagenet_stem(in_chans, self.widths[0], stem_seed)
            entering = [in_chans if stem == "none" else self.widths[0], *self.widths]
            self.cells = nn.Sequential(
                *(
                    RandomSkipCell(
                        *channels,
                        depths[index],
                        tcs[index],
                        stride=1 if index == 0 else 2,
                        expansion=expansion,
                        expand_first=index > 0,
                        share_outputs=share_outputs,
                        links=placed[index],
                        seed=cell_seeds[index],
                    )
                    for index, channels in enumerate(pairwise(entering))
                )
            )
            self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.classifier: nn.Module = nn.Identity()
            self.reset_classifier(num_classes, seed)

    def reset_classifier(self, num_classes: int, seed: int = 0) -> None:
        """Put a new classifier of ``num_classes`` outputs, drawn from ``seed``, in place of the old one; 0 for none."""
        self.num_classes = require_integer("num_classes", num_classes, 0)
        self.default_cfg["num_classes"] = self.num_classes
        with seeded(seed):
            self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """The classifier, or an identity where there is none."""
        return self.classifier

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns by which timm numbers the layers, or with ``coarse`` the cells; what matches none comes last."""
        return {"stem": r"^stem", "blocks": r"^cells\.(\d+)" if coarse else r"^cells\.(\d+)\.layers\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (N, in_chans, H, W) to the last cell's output (N, num_features, H / 4, W / 4) for three cells."""
        return self.cells(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map features (N, num_features, h, w) to logits (N, num_classes), or to pooled features (N, num_features)."""
        pooled = self.pool(x)
        return pooled if pre_logits else self.classifier(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_chans, H, W) to logits (N, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _imagenet_stem(in_chans: int, width: int, seed: int) -> nn.Sequential:
    with seeded(seed):
        convolution = nn.Conv2d(in_chans, width, 7, stride=2, padding=3, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
