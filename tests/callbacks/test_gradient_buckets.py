"""The pass of zeros before a training of several processes, shaped as on processors and as on GPUs."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from conftest import SUPPORT
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nnmass.callbacks import GradientBuckets

DIGITS = ["--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Network(nn.Module):
    """One of its layers may be left unused."""

    def __init__(self, unused: bool) -> None:
        super().__init__()
        self.first, self.norm, self.last, self.other = (
            nn.Linear(3, 4),
            nn.BatchNorm1d(4),
            nn.Linear(4, 2),
            nn.Linear(4, 2),
        )
        self.unused = unused

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.first(x))
        return self.last(hidden) if self.unused else self.last(hidden) + self.other(hidden)


OPTIONS: list[tuple[dict[str, bool], bool]] = [
    ({}, False),
    ({"gradient_as_bucket_view": True}, False),
    ({"find_unused_parameters": True}, True),
    ({"static_graph": True}, False),
    ({"static_graph": True}, True),
]


@pytest.mark.parametrize("device_ids", [None, [0]])
@pytest.mark.parametrize(("options", "unused"), OPTIONS)
@pytest.mark.usefixtures("alone")
def test_training_afterwards_is_the_training_without(
    options: dict[str, bool], unused: bool, device_ids: list[int] | None
) -> None:
    torch.manual_seed(0)
    networks = [Network(unused)]
    networks.append(copy.deepcopy(networks[0]))
    for network in networks:
        parallel: Any = DistributedDataParallel(network, **options)
        parallel.device_ids = device_ids  # as on GPUs
        if network is networks[1]:
            before = copy.deepcopy(network.state_dict())
            state = torch.get_rng_state()
            module: Any = network
            trainer: Any = SimpleNamespace(strategy=SimpleNamespace(model=parallel))
            GradientBuckets().on_train_start(trainer, module)
            assert torch.equal(state, torch.get_rng_state())
            assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
            assert all(parameter.grad is None for parameter in network.parameters())
        optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            optimizer.zero_grad()
            parallel(torch.randn(5, 3, generator=generator)).square().mean().backward()
            optimizer.step()
    assert all(torch.equal(value, networks[1].state_dict()[name]) for name, value in networks[0].state_dict().items())


@pytest.mark.usefixtures("alone")
def test_a_network_that_is_wrapped_anew_gets_its_pass_before_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when frozen parameters are set free."""
    network: Any = Network(unused=False)
    passes: list[DistributedDataParallel] = []
    forward = DistributedDataParallel.forward
    monkeypatch.setattr(
        DistributedDataParallel, "forward", lambda self, *inputs: passes.append(self) or forward(self, *inputs)
    )
    wrapped = [DistributedDataParallel(network) for _ in range(2)]
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(model=wrapped[0]))
    callback = GradientBuckets()
    callback.on_train_start(trainer, network)
    callback.on_train_batch_start(trainer, network, None, 0)
    assert passes == [wrapped[0]]
    trainer.strategy.model = wrapped[1]
    for batch in range(2):
        callback.on_train_batch_start(trainer, network, None, batch)
    assert passes == wrapped


@pytest.mark.slow
def test_two_processes_shaped_like_gpus_train_the_network_of_two_processors(tmp_path: Path, nnmass: Callable) -> None:
    """With every callback of a run, and the recorder of Jacobians."""
    recorder = ["--trainer.callbacks+=nnmass.callbacks.JacobianRecorder", "--trainer.callbacks.exact_up_to=100"]
    words = ["fit", *DIGITS, "--trainer.devices", 2, *recorder, "--trainer.callbacks.steps=3", "--output_dir"]
    weights = []
    for strategy in ("ddp", '{"class_path": "gpu_shaped.LikeGPUs"}'):
        folder = tmp_path / str(len(weights))
        environment = {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
        done = nnmass(*words, folder, "--trainer.strategy", strategy, **environment)
        assert done.returncode == 0, done.stderr
        (run,) = folder.glob("2*")
        assert (run / "jacobian.csv").is_file()
        weights.append(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
