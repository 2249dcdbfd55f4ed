"""Ways to run a step of a network: forward and backward as a training does it, or what may stand around that."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Way", "autocast", "captured", "evaluate", "parallel", "scaled", "train", "unsynchronised"]

Step = Callable[[], Tensor]

Way = Callable[[nn.Module, Tensor, torch.dtype], AbstractContextManager[Step]]
"""Of a network, its input and a precision: a step, which leaves gradients behind and returns the output."""


@contextmanager
def train(network: nn.Module, x: Tensor, precision: torch.dtype) -> Iterator[Step]:
    """Forward and backward."""

    def step() -> Tensor:
        return _step(network, network, x, precision)

    yield step


@contextmanager
def evaluate(network: nn.Module, x: Tensor, precision: torch.dtype) -> Iterator[Step]:
    """Forward in evaluation mode, without gradients."""
    network.eval()

    @torch.no_grad()
    def step() -> Tensor:
        output: Tensor = network(x)
        return output

    yield step


@contextmanager
def autocast(network: nn.Module, x: Tensor, precision: torch.dtype) -> Iterator[Step]:
    """Weights in single precision, and automatic precision around the forward pass."""

    def step() -> Tensor:
        return _step(network, _Autocast(network, precision), x, precision)

    yield step


@contextmanager
def scaled(network: nn.Module, x: Tensor, precision: torch.dtype) -> Iterator[Step]:
    """The same, with the loss scaled, the gradients scaled back, and a step of the optimizer of length 0."""
    scaler = torch.amp.GradScaler(x.device.type, init_scale=2.0**10)
    optimizer = torch.optim.SGD([*network.parameters(), x], lr=0.0)

    def step() -> Tensor:
        optimizer.zero_grad()
        output: Tensor = _Autocast(network, precision)(x)
        scaler.scale((output.float() * slopes(output, precision)).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        return output

    yield step


@contextmanager
def parallel(network: nn.Module, x: Tensor, precision: torch.dtype) -> Iterator[Step]:
    """DistributedDataParallel in a group of one process, as Lightning builds it.

    Raises:
        RuntimeError: If torch has no such groups here, or this process belongs to one already.
    """
    if not dist.is_available() or dist.is_initialized():
        raise RuntimeError("Expected a torch and a process in which a process group can be made, but there is none.")
    on_gpu = x.device.type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        several = DistributedDataParallel(network, device_ids=[x.device.index] if on_gpu else None)
        yield lambda: _step(network, several, x, precision)
    finally:
        dist.destroy_process_group()


@contextmanager
def captured(network: nn.Module, x: Tensor, precision: torch.dtype) -> Iterator[Step]:
    """A CUDA graph of forward and backward, replayed."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            _step(network, network, x, precision)
    torch.cuda.current_stream().wait_stream(side)
    _forget(network, x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output: Tensor = network(x)
        output.backward(slopes(output, precision))
    network.load_state_dict(state)

    def step() -> Tensor:
        graph.replay()
        return output

    yield step


@contextmanager
def unsynchronised(network: nn.Module, x: Tensor, precision: torch.dtype) -> Iterator[Step]:
    """Steps after the first one, in which any wait for the device is an error."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    _step(network, network, x, precision)
    network.load_state_dict(state)

    def step() -> Tensor:
        with ExitStack() as stack:
            stack.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
            torch.cuda.set_sync_debug_mode("error")
            return _step(network, network, x, precision)

    yield step


def slopes(output: Tensor, precision: torch.dtype) -> Tensor:
    """Gradient of a loss that weighs every entry of the output otherwise, rounded to a precision."""
    numbers = torch.arange(output.numel(), dtype=torch.float32, device=output.device)
    return numbers.mul_(1.7).sin_().view(output.shape).to(precision).to(output.dtype)


def _step(network: nn.Module, wrapped: Callable[[Tensor], Tensor], x: Tensor, precision: torch.dtype) -> Tensor:
    _forget(network, x)
    output = wrapped(x)
    output.backward(slopes(output, precision))
    return output


def _forget(network: nn.Module, x: Tensor) -> None:
    network.zero_grad()
    x.grad = None


class _Autocast:
    def __init__(self, network: nn.Module, precision: torch.dtype) -> None:
        self.network, self.precision = network, precision

    def __call__(self, x: Tensor) -> Any:
        with torch.autocast(x.device.type, self.precision):
            return self.network(x)
