"""nnmass.zoo.RandomSkipCell inside a network of one's own: its NN-Mass is read like any other's.

Run: python own_network.py
"""

import torch
from torch import Tensor, nn

from nnmass import zoo


class TwoScales(nn.Module):
    """A residual stem, a random-skip cell at full and one at half resolution, and a classifier."""

    def __init__(self, num_classes: int = 10, seed: int = 0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.residual = nn.Sequential(
            nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)
        )
        self.fine = zoo.RandomSkipCell(in_channels=16, width=16, depth=8, tc=20, seed=seed)
        self.coarse = zoo.RandomSkipCell(in_channels=16, width=32, depth=8, tc=40, stride=2, seed=seed + 1)
        self.classifier = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes)."""
        x = self.stem(x)
        x = x + self.residual(x)
        return self.classifier(self.coarse(self.fine(x)).mean(dim=(2, 3)))


def main() -> zoo.Topology:
    """Print what each block holds, and return the record."""
    record = zoo.topology(TwoScales(), input_size=(3, 32, 32))
    for block in record.blocks:
        print(
            f"{block.scope or 'network'}: {block.kind}, {block.links} of {block.possible_links} links, "
            f"NN-Mass {block.nn_mass:.2f}"
        )
    print(f"together {record.nn_mass:.2f}; logits {tuple(TwoScales()(torch.zeros(2, 3, 32, 32)).shape)}")
    return record


if __name__ == "__main__":
    main()
