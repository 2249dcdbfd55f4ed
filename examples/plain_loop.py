"""A zoo network in a plain PyTorch loop: two networks of nearly one size and unlike NN-Mass.

Run: python plain_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from nnmass import zoo


def main(epochs: int = 10) -> dict[str, float]:
    """Train both networks, print and return their test accuracies."""
    images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    images = images.float() / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[:1400], order[1400:]
    accuracies = {}
    for name, depth, tc in (("sparse", 20, 1), ("dense", 12, 8)):
        network = zoo.RandomSkipMLP(depth=depth, width=8, tc=tc, in_features=64, seed=1)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(1)
        for _ in range(epochs):
            for batch in train[torch.randperm(len(train), generator=generator)].split(32):
                loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            accuracy = (network(images[test]).argmax(dim=1) == labels[test]).float().mean().item()
        record = zoo.topology(network)
        print(f"{name}: NN-Mass {record.nn_mass:.2f}, {record.num_params:,} parameters, accuracy {accuracy:.3f}")
        accuracies[name] = accuracy
    return accuracies


if __name__ == "__main__":
    main()
