"""Layers are found whatever container holds a network's outputs; where they are not, that is said."""

from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnmass.zoo import topology
from nnmass.zoo.reader.outputs import tensors_in

SIZE = (8, 6, 6)


class Residual(nn.Module):
    """Two convolutions of eight channels and a skip: mass 16; ``wrap`` decides what the forward makes of the value."""

    def __init__(self, wrap: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self, x + self.second(torch.relu(self.first(x))))


@dataclass
class Record:
    logits: Any
    loss: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Slotted:
    logits: Tensor


class Output(OrderedDict):
    """A mapping whose entries are attributes too, as common model libraries have it."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Holder:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


Pair = namedtuple("Pair", ["logits", "rest"])


def keep(module: nn.Module, y: Tensor) -> None:
    module.result = SimpleNamespace(logits=[y])  # type: ignore[assignment]


def yielded(module: nn.Module, y: Tensor) -> Iterator[Tensor]:
    yield y


WRAPS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "tensor": lambda module, y: y,
    "tuple": lambda module, y: (None, y),
    "dataclass": lambda module, y: Record(y),
    "dataclass with slots": lambda module, y: Slotted(y),
    "nested": lambda module, y: {"out": [Record(Pair((Holder(y),), 3))]},
    "subclass of dict": lambda module, y: Output(logits=y),
    "dict-like": lambda module, y: UserDict(logits=y),
    "named tuple": lambda module, y: Pair(y, "rest"),
    "object": lambda module, y: SimpleNamespace(logits=y),
    "object with slots": lambda module, y: Holder(y),
    "set": lambda module, y: {y},
    "deque": lambda module, y: deque([y]),
    "generator": yielded,
    "kept on the module": keep,
}


@pytest.mark.parametrize("way", WRAPS)
def test_outputs_are_found_in_any_container(way: str) -> None:
    record = topology(Residual(WRAPS[way]), SIZE)
    assert (record.nn_mass, record.num_layers, record.macs) == (16.0, 2, 2 * 8 * 8 * 9 * 36)


def test_outputs_in_containers_are_found_by_export_too() -> None:
    network = Residual(WRAPS["nested"])
    network.second = torch.compile(network.second)  # type: ignore[assignment]  # so it is torch.export that reads it
    assert topology(network, SIZE).nn_mass == 16.0


def test_layers_of_which_the_graph_shows_none_are_refused() -> None:
    for hidden in (lambda module, y: lambda: y, lambda module, y: y.shape):
        with pytest.raises(ValueError, match="returns or keeps, but got 41,472 MACs and not one"):
            topology(Residual(hidden), SIZE)


def test_containers_that_hold_themselves_or_never_end_are_no_trap() -> None:
    ring: list[Any] = [torch.zeros(1)]
    ring.append(ring)

    def endless() -> Iterator[int]:
        while True:
            yield 1

    assert [len(tensors_in(value)) for value in (ring, endless(), [ring, ring], None, "text")] == [1, 0, 1, 0, 0]


def test_a_refusal_is_the_sentence_alone(capfd: pytest.CaptureFixture) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))

        def forward(self, x: Tensor) -> Tensor:
            y = self.layers(x)
            return y if y.sum() > 0 else -y

    with pytest.raises(ValueError, match="torch can trace") as refused:
        topology(Branching(), 4)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")
