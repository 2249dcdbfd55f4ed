"""Networks whose accuracy somebody has published, and how each is built."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from torch import nn

__all__ = ["KnownNetwork", "one_of_each_family"]


@dataclass(frozen=True)
class KnownNetwork:
    """A network, and the accuracy that it reaches once it is trained.

    Attributes:
        benchmark: Where the accuracy is from: what stands in one table, trained on one data set.
        name: In the benchmark.
        family: Networks of one construction, which are compared with each other too.
        accuracy: In percent.
        input_size: Shape of one image, (channels, height, width) in px.
        num_classes: Classes.
        build: Builds the network with the initial weights of a seed, for images of a shape; processes pass it on.
    """

    benchmark: str
    name: str
    family: str
    accuracy: float
    input_size: tuple[int, ...]
    num_classes: int
    build: Callable[[int, tuple[int, ...]], nn.Module]


def one_of_each_family(networks: Iterable[KnownNetwork], seed: int) -> Iterator[KnownNetwork]:
    """Yield networks in random order, one of each family in turn, so that the first hundred are of many families.

    Args:
        networks: All of them.
        seed: Decides the order.
    """
    draw = random.Random(seed)
    families: dict[str, list[KnownNetwork]] = defaultdict(list)
    for network in networks:
        families[network.family].append(network)
    shuffled: list[Sequence[KnownNetwork]] = [draw.sample(members, len(members)) for members in families.values()]
    draw.shuffle(shuffled)
    yield from (network for network in chain.from_iterable(zip_longest(*shuffled)) if network is not None)
