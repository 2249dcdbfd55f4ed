"""Many MLPs in one batch of PyTorch's operations: the form of the ensemble for a GPU.

Members are sorted by depth, the deepest first, so that layer k is one operation on the first members, those that have
it. All members' activations lie in one array (members, rows, samples) whose row s w + k is neuron k of layer s; a last
row of zeros is where the links that a member lacks come from, with weights that stay zero because their gradient does.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnmass.studies.ensemble.arrays import Samples
from nnmass.studies.ensemble.trainer import EpochResult, check_members, sample_order
from nnmass.zoo.networks.mlp import RandomSkipMLP

__all__ = ["train_batched"]


def train_batched(
    networks: Sequence[RandomSkipMLP],
    seeds: Sequence[int],
    train: Samples,
    held_out: Mapping[str, Samples],
    epochs: int,
    batch_size: int = 64,
    rate: float = 1e-3,
    device: str | torch.device = "cpu",
) -> Iterator[EpochResult]:
    """Train as :func:`studies.ensemble.trainer.train_together` does, with all members in step.

    Args:
        networks: Members of one width, activation, number of inputs and of classes.
        seeds: Of each member, the seed that decides the order of its samples.
        train: Samples to train on.
        held_out: Samples to evaluate on after each epoch, by a name such as ``val`` or ``test``.
        epochs: How often each sample is seen.
        batch_size: Samples per step.
        rate: Adam's learning rate.
        device: Where to compute.

    Yields:
        After each epoch the results of all members.

    Raises:
        ValueError: If the members differ in what they must share, or the samples do not fit them.
    """
    check_members(networks, seeds, [train, *held_out.values()])
    if not networks:
        return
    _require_one_kind(networks)
    by_depth = sorted(range(len(networks)), key=lambda member: -networks[member].depth)
    bank = _Bank([networks[member] for member in by_depth], batch_size, torch.device(device))
    optimizer = torch.optim.Adam(bank.parameters, lr=rate)
    features = networks[0].in_chans
    inputs, labels = train.dense(features, device)
    evaluated = {name: samples.dense(features, device) for name, samples in held_out.items()}
    for epoch in range(epochs):
        start = time.perf_counter()
        orders = {seed: torch.from_numpy(sample_order(len(labels), batch_size, seed, epoch)) for seed in set(seeds)}
        order = torch.stack([orders[seeds[member]] for member in by_depth]).to(device)
        metrics = _named("train", *_train_epoch(bank, optimizer, inputs, labels, order.split(batch_size, dim=1)))
        for name, held in evaluated.items():
            metrics |= _named(name, *_evaluate(bank, *held, batch_size))
        if epoch == epochs - 1:
            bank.write_back()
        values = {name: column.tolist() for name, column in metrics.items()}
        seconds = (time.perf_counter() - start) / len(networks)
        for number, member in enumerate(by_depth):
            yield EpochResult(member, epoch, {name: column[number] for name, column in values.items()}, seconds)


def _require_one_kind(networks: Sequence[RandomSkipMLP]) -> None:
    """Refuse members that do not fit into one batch of operations.

    Raises:
        ValueError: If they differ in width, activation, inputs or classes.
    """
    shared = {(n.width, type(n.activation), n.in_chans, n.num_classes) for n in networks}
    if len(shared) > 1:
        raise ValueError(f"Expected networks of one width, activation, input and output, but got {len(shared)} kinds.")


def _named(name: str, loss: Tensor, accuracy: Tensor) -> dict[str, Tensor]:
    return {f"{name}/loss": loss, f"{name}/accuracy": accuracy}


def _train_epoch(
    bank: "_Bank", optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, batches: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Take the steps of an epoch; return mean loss and share of right answers of each member, as it went.

    Args:
        bank: The members.
        optimizer: Of their weights.
        inputs: All samples, (N, features).
        labels: (N,).
        batches: Numbers of each step's samples, (M, B).
    """
    loss, right = torch.zeros(2, len(bank.networks), dtype=torch.float64, device=inputs.device)
    for batch in batches:
        logits = bank.forward(inputs[batch].transpose(1, 2))
        slopes, batch_loss, batch_right = _losses(logits, labels[batch])
        loss += batch_loss
        right += batch_right
        bank.backward(inputs[batch], slopes)
        optimizer.step()
    return loss / len(labels), right / len(labels)


def _evaluate(bank: "_Bank", inputs: Tensor, labels: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return each member's mean loss and share of right answers over samples (N, features) with labels (N,)."""
    members = len(bank.networks)
    loss, right = torch.zeros(2, members, dtype=torch.float64, device=inputs.device)
    for part, wanted in zip(inputs.split(batch_size), labels.split(batch_size), strict=True):
        logits = bank.forward(part.T.expand(members, -1, -1))
        _, batch_loss, batch_right = _losses(logits, wanted.expand(members, -1))
        loss += batch_loss
        right += batch_right
    return loss / len(labels), right / len(labels)


def _losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of each member's mean cross-entropy by its logits (M, classes, B), the sum, and the right answers."""
    shares = logits.softmax(dim=1)
    chosen = labels[:, None, :]
    loss = -logits.log_softmax(dim=1).gather(1, chosen).sum(dim=(1, 2))
    right = (logits.argmax(dim=1) == labels).sum(dim=1)
    slopes = shares.scatter_add(1, chosen, torch.full_like(chosen, -1, dtype=shares.dtype)) / labels.shape[1]
    return slopes, loss, right


class _Bank:
    """Stacked weights of all members, the activations of one batch, and the way forward and back.

    Args:
        networks: Members, the deepest first.
        batch_size: Samples per step at most.
        device: Where to compute.
    """

    def __init__(self, networks: Sequence[RandomSkipMLP], batch_size: int, device: torch.device) -> None:
        self.networks = networks
        width = self.width = networks[0].width
        self.elu = isinstance(networks[0].activation, nn.ELU)
        depth = max(network.depth for network in networks)
        self.rows = (depth - 1) * width
        first: list[Any] = [network.layers[0] for network in networks]
        self.first = torch.stack([layer.linear.weight.detach() for layer in first]).to(device)
        self.first_bias = torch.stack([layer.linear.bias.detach() for layer in first]).to(device)
        # Hidden layer k, 1 to depth - 2, of the members that have it; then the classifier of all.
        self.layers = [
            self._stack(
                [network.layers[k] for network in networks if network.depth - 1 > k], [k] * len(networks), device
            )
            for k in range(1, depth - 1)
        ]
        last = [network.depth - 1 for network in networks]
        self.layers.append(self._stack([n.layers[k] for n, k in zip(networks, last, strict=True)], last, device))
        weights = [tensor for layer in self.layers for tensor in layer[:2]]
        self.parameters = [self.first, self.first_bias, *weights]
        self.values = torch.zeros(len(networks), self.rows + 1, batch_size, device=device)
        self.slopes = torch.zeros_like(self.values)

    def _stack(self, layers: Sequence[Any], positions: Sequence[int], device: torch.device) -> tuple[Tensor, ...]:
        """Weights (M, outputs, fan-in), bias (M, outputs, 1) and source rows (M, fan-in, 1) of the members' layers."""
        fan_in = max(layer.linear.in_features for layer in layers)
        outputs = layers[0].linear.out_features
        weight = torch.zeros(len(layers), outputs, fan_in)
        source = torch.full((len(layers), fan_in, 1), self.rows)
        for member, (layer, position) in enumerate(zip(layers, positions, strict=False)):
            own = [*range((position - 1) * self.width, position * self.width), *layer.links.tolist()]
            weight[member, :, : len(own)] = layer.linear.weight.detach()
            source[member, : len(own), 0] = torch.tensor(own)
        bias = torch.stack([layer.linear.bias.detach()[:, None] for layer in layers])
        return weight.to(device), bias.to(device), source.to(device)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (M, classes, B) of inputs (M, features, B)."""
        count, width = inputs.shape[2], self.width
        self.bank = self.values[:, :, :count]
        self.bank[:, :width] = self._activation(torch.baddbmm(self.first_bias[:, :, None], self.first, inputs))
        for k, layer in enumerate(self.layers[:-1], start=1):
            members = len(layer[0])
            self.bank[:members, k * width : (k + 1) * width] = self._activation(self._linear(layer))
        return self._linear(self.layers[-1])

    def backward(self, inputs: Tensor, slopes: Tensor) -> None:
        """Put the gradients into ``.grad`` of the parameters.

        Args:
            inputs: As in the last way forward, but (M, B, features).
            slopes: Gradient by the logits, (M, classes, B).
        """
        count, width = inputs.shape[1], self.width
        bank = self.slopes[:, :, :count]
        bank.zero_()
        self._linear_back(self.layers[-1], slopes, bank)
        for k in range(len(self.layers) - 1, 0, -1):
            layer = self.layers[k - 1]
            members, rows = len(layer[0]), slice(k * width, (k + 1) * width)
            self._linear_back(layer, self._damped(bank[:members, rows], self.bank[:members, rows]), bank)
        slope = self._damped(bank[:, :width], self.bank[:, :width])
        self.first.grad = slope @ inputs
        self.first_bias.grad = slope.sum(dim=2)

    def _entering(self, layer: tuple[Tensor, ...]) -> Tensor:
        members = len(layer[0])
        return self.bank[:members].gather(1, layer[2].expand(-1, -1, self.bank.shape[2]))

    def _linear(self, layer: tuple[Tensor, ...]) -> Tensor:
        return torch.baddbmm(layer[1], layer[0], self._entering(layer))

    def _linear_back(self, layer: tuple[Tensor, ...], slope: Tensor, bank: Tensor) -> None:
        weight, bias, source = layer
        weight.grad = slope @ self._entering(layer).transpose(1, 2)
        bias.grad = slope.sum(dim=2, keepdim=True)
        bank[: len(weight)].scatter_add_(1, source.expand(-1, -1, bank.shape[2]), weight.transpose(1, 2) @ slope)

    def _activation(self, values: Tensor) -> Tensor:
        positive = values.clamp(min=0)
        return positive + torch.expm1(values.clamp(max=0)) if self.elu else positive

    def _damped(self, slope: Tensor, values: Tensor) -> Tensor:
        """Multiply by the activation's derivative, told from its value."""
        return slope * (values.clamp(max=0) + 1) if self.elu else slope * (values > 0)

    @torch.no_grad()
    def write_back(self) -> None:
        """Give the networks their trained weights."""
        for member, network in enumerate(self.networks):
            layers: list[Any] = list(network.layers)
            layers[0].linear.weight.copy_(self.first[member])
            layers[0].linear.bias.copy_(self.first_bias[member])
            for k, layer in enumerate(layers[1:], start=1):
                weight, bias, _ = self.layers[-1 if k == network.depth - 1 else k - 1]
                layer.linear.weight.copy_(weight[member, :, : layer.linear.in_features])
                layer.linear.bias.copy_(bias[member, :, 0])
