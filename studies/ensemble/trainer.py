"""Train many small MLPs at once: each exactly the network that it would be alone, one to a core, in a compiled loop.

The members may differ in depth, links and seed. A member sees the samples in the order in which ``nnmass fit`` would
show them to it, and its weights agree with those of a Trainer to the rounding of single precision.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnmass.datamodules.loader import ShardedBatches
from nnmass.studies.cores import available_cores
from nnmass.studies.ensemble.arrays import AdamState, Samples, Wiring
from nnmass.studies.ensemble.kernel import compiled
from nnmass.zoo.networks.mlp import RandomSkipMLP

__all__ = ["EpochResult", "check_members", "sample_order", "train_together"]


class EpochResult(NamedTuple):
    """Loss and accuracy of one member after one epoch.

    Attributes:
        member: Its index among the networks.
        epoch: From 0.
        metrics: By the names that ``nnmass fit`` logs: ``train/loss`` and ``train/accuracy``, means over the epoch's
            samples, each at the weights of its step; loss and accuracy of each held-out set after the epoch.
        seconds: Time that the epoch took.
    """

    member: int
    epoch: int
    metrics: dict[str, float]
    seconds: float


def train_together(
    networks: Sequence[RandomSkipMLP],
    seeds: Sequence[int],
    train: Samples,
    held_out: Mapping[str, Samples],
    epochs: int,
    batch_size: int = 64,
    rate: float = 1e-3,
    workers: int | None = None,
) -> Iterator[EpochResult]:
    """Train every network with Adam at a constant rate, the authors' protocol for the MLPs.

    Args:
        networks: Members; their weights are the trained ones in the end.
        seeds: Of each member, the seed that decides the order of its samples.
        train: Samples to train on.
        held_out: Samples to evaluate on after each epoch, by a name such as ``val`` or ``test``.
        epochs: How often each sample is seen.
        batch_size: Samples per step.
        rate: Adam's learning rate.
        workers: Members trained at once, one per core by default.

    Yields:
        Results as they come in, those of one member in the order of its epochs.

    Raises:
        ValueError: If there are not as many seeds as networks, or the samples do not fit a network.
    """
    check_members(networks, seeds, [train, *held_out.values()])
    order = lru_cache(maxsize=4 * len(set(seeds)))(
        lambda seed, epoch: sample_order(len(train.labels), batch_size, seed, epoch)
    )
    with ThreadPoolExecutor(workers := workers or available_cores()) as pool:
        waiting: dict[Future, tuple[_Member, int]] = {}
        rest = [
            (_Member(number, network), seed) for number, (network, seed) in enumerate(zip(networks, seeds, strict=True))
        ]
        rest.reverse()

        def start(member: _Member, seed: int) -> None:
            work = (train, held_out, order(seed, member.epoch), batch_size, rate)
            waiting[pool.submit(member.run_epoch, *work)] = (member, seed)

        try:
            for member, seed in [rest.pop() for _ in range(min(len(rest), workers))] if epochs else []:
                start(member, seed)
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    member, seed = waiting.pop(future)
                    result = future.result()
                    if member.epoch < epochs:
                        start(member, seed)
                    else:
                        member.write_back()
                        if rest:
                            start(*rest.pop())
                    yield result
        finally:
            pool.shutdown(cancel_futures=True)


def check_members(networks: Sequence[RandomSkipMLP], seeds: Sequence[int], samples: Sequence[Samples]) -> None:
    """Refuse members that cannot be trained on these samples.

    Raises:
        ValueError: If there are not as many seeds as networks, or the samples do not fit a network.
    """
    if len(networks) != len(seeds):
        raise ValueError(f"Expected one seed per network ({len(networks)}), but got {len(seeds)}.")
    for part in samples:
        columns, classes = part.pixels.max(initial=-1) + 1, part.labels.max(initial=-1) + 1
        for network in networks:
            if columns > network.in_chans or classes > network.num_classes or part.labels.min(initial=0) < 0:
                raise ValueError(
                    f"Expected samples of at most {network.in_chans} numbers and {network.num_classes} classes, as the "
                    f"networks take them, but got {columns} and {classes}."
                )


class _Member:
    """One network as flat arrays."""

    def __init__(self, number: int, network: RandomSkipMLP) -> None:
        self.number, self.network, self.epoch, self.step = number, network, 0, 0
        layers: list[Any] = list(network.layers)
        width = network.width
        self.train, self.evaluate = compiled(width, isinstance(network.activation, nn.ELU))
        first = layers[0].linear
        weights = np.concatenate(
            [_numbers(first.weight).T.ravel(), _numbers(first.bias)]
            + [_numbers(layer.linear.bias) for layer in layers[1:]]
            + [_numbers(layer.linear.weight).ravel() for layer in layers[1:]]
        )
        self.state = AdamState(weights, np.zeros_like(weights), np.zeros_like(weights))
        sources = [
            [*range(position * width, (position + 1) * width), *layer.links.tolist()]
            for position, layer in enumerate(layers[1:])
        ]
        self.wiring = Wiring(
            network.in_chans,
            width,
            sum(len(layer.linear.bias) for layer in layers[1:]),
            np.array(list(chain.from_iterable(sources)), dtype=np.int64),
            np.array([len(row) for row in sources], dtype=np.int64),
        )

    def run_epoch(
        self, train: Samples, held_out: Mapping[str, Samples], order: NDArray, batch_size: int, rate: float
    ) -> EpochResult:
        """Train on every sample once, then evaluate."""
        start = time.perf_counter()
        loss, right = self.train(order, batch_size, self.step, rate, train, self.state, self.wiring)
        metrics = {"train/loss": loss, "train/accuracy": right / len(order)}
        self.step += -(-len(order) // batch_size)
        for name, samples in held_out.items():
            everything = np.arange(len(samples.labels))
            loss, right = self.evaluate(everything, batch_size, samples, self.state.weights, self.wiring)
            metrics |= {f"{name}/loss": loss, f"{name}/accuracy": right / len(everything)}
        self.epoch += 1
        return EpochResult(self.number, self.epoch - 1, metrics, time.perf_counter() - start)

    @torch.no_grad()
    def write_back(self) -> None:
        """Give the network its trained weights."""
        layers: list[Any] = list(self.network.layers)
        first = layers[0].linear
        targets = [
            first.bias,
            *(layer.linear.bias for layer in layers[1:]),
            *(layer.linear.weight for layer in layers[1:]),
        ]
        begin = first.weight.numel()
        first.weight.copy_(torch.from_numpy(self.state.weights[:begin]).view(first.weight.shape[1], -1).T)
        for target in targets:
            target.copy_(torch.from_numpy(self.state.weights[begin : begin + target.numel()]).view_as(target))
            begin += target.numel()


def _numbers(parameter: Tensor) -> NDArray[np.float32]:
    return parameter.detach().float().numpy()


def sample_order(count: int, batch_size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the epoch's samples in the order in which the loaders of ``datamodules`` hand them out."""
    sampler = ShardedBatches(count, batch_size, shuffle=True, seed=seed)
    sampler.set_epoch(epoch)
    return torch.cat(list(sampler)).numpy()
