"""Copies of networks: without the hooks that observe, or refused in one sentence."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nnmass.zoo import count_macs, layer_spectra, measure_network, topology
from nnmass.zoo.measures import Batch
from nnmass.zoo.wrappers import replica


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def test_hooks_that_hold_what_cannot_be_copied_do_not_stand_in_the_way(tmp_path: Path) -> None:
    watched = network()
    with (tmp_path / "log.txt").open("w") as log:

        def note(module: nn.Module, *others: Any) -> None:
            log.write(type(module).__name__)

        class Logger:
            def __init__(self) -> None:
                self.file = log

            def note(self, *arguments: Any) -> None:
                note(*arguments)

        watched[0].register_forward_hook(Logger().note)
        watched[1].register_forward_hook(Logger().note, always_call=True)
        watched[3].register_full_backward_hook(Logger().note)
        batch = Batch(torch.randn(2, 3, 4, 4), torch.tensor([0, 1]))
        assert topology(watched, (3, 4, 4)).macs == count_macs(watched, (3, 4, 4)) == 4 * 27 * 4 + 32
        assert len(list(layer_spectra(watched, batch.images))) == 2
        assert measure_network(watched, batch, ["grad_norm"])["grad_norm"].value is not None
    assert (tmp_path / "log.txt").read_text() == ""
    assert [len(part._forward_hooks) + len(part._backward_hooks) for part in watched] == [1, 1, 0, 1]


def test_what_cannot_be_copied_is_refused_in_one_sentence() -> None:
    locked = network()
    locked.lock = threading.Lock()
    with pytest.raises(ValueError, match="Expected a network that can be copied, but copying Sequential gave 'cannot"):
        replica(locked)
