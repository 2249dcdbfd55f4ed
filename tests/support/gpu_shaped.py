"""A processor in the shape of a GPU: tensors that claim to lie on a device, and have no values.

Operations on tensors of several devices raise, as on a GPU, and what would wait for the device is listed.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import Metric

from nnmass.datamodules import Augmentation
from nnmass.zoo import RandomSkipDenseNet, RandomSkipMLP

GPU = torch.device("cuda", 1)
# Without a driver torch refuses to go backward on a GPU; to the devices of its lazy tensors it is indifferent.
STAND_IN = torch.device("lazy", 1)

aten = torch.ops.aten

# Of what these give, the host must know the size or the value.
_READING = (aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten.bincount)
_READING += (aten._unique2, aten.unique_dim, aten.repeat_interleave)
_MADE_UP = {torch.bool: True, torch.int64: -1}  # numbers of steps that were bad, for one
_AT_ONCE = 64 * 1024  # bytes that CUDA takes over without waiting for the device
_TORCH = Path(torch.__file__).parent


class Waits(TorchDispatchMode):
    """Lists the operations for which a program would wait for the device. What it reads from there is made up.

    Args:
        device: The device.

    Attributes:
        found: Each with the line from which it was called.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, operation = kwargs or {}, function.overloadpacket
        if args and isinstance(args[0], Tensor) and self._waits(operation, args, kwargs):
            self.found.append(f"{function} at {_line()}")
        if operation is aten._local_scalar_dense:
            return _MADE_UP.get(args[0].dtype, 1.0)
        if operation is aten.index and _by_mask(args[1]):
            return args[0].flatten()
        if operation is aten._to_copy and self._is_there(kwargs.get("device")) and args[0].device.type == "cpu":
            # A constant would be given to the device that there is not.
            return torch.empty(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=kwargs["device"])
        return function(*args, **kwargs)

    def _waits(self, operation: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        first = args[0]
        if operation is aten._to_copy:
            target = torch.device(kwargs.get("device") or first.device)
            uploads = self._is_there(target) and first.dtype.itemsize * prod(first.shape) > _AT_ONCE
            return self._crosses(first, target) and (uploads or not kwargs.get("non_blocking"))
        if operation is aten.copy_:
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            return blocking and args[1].ndim > 0 and self._crosses(args[1], first.device)
        if not self._is_there(first.device):
            return False
        if operation in (aten.index, aten.index_put, aten.index_put_):
            fills = len(args) > 2 and args[2].ndim == 0 and args[2].device.type in ("cpu", STAND_IN.type)
            return _by_mask(args[1]) and not fills
        return operation in _READING

    def _is_there(self, device: torch.device | None) -> bool:
        return device is not None and device.type == self.device.type

    def _crosses(self, source: Tensor, target: torch.device) -> bool:
        return {source.device.type, target.type} == {"cpu", self.device.type}


def _by_mask(indices: list[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _line() -> str:
    """The innermost line that is neither torch's nor of this file."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename != __file__ and not Path(frame.filename).is_relative_to(_TORCH):
            return f"{Path(frame.filename).parent.name}/{Path(frame.filename).name}:{frame.lineno}"
    return "torch"


class StandIn(torch.Generator):
    """Stands for a generator of a device.

    Args:
        device: The device.
    """

    def __new__(cls, device: torch.device = STAND_IN) -> "StandIn":
        return super().__new__(cls)

    def __init__(self, device: torch.device = STAND_IN) -> None:
        self._place = device

    @property
    def device(self) -> torch.device:
        return self._place


def _copied(tensor: Tensor, memo: Any) -> Tensor:
    """A copy also of what has values, for which torch looks for their memory."""
    copied = tensor.detach().clone()
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


@contextmanager
def shaped(device: torch.device) -> Iterator[Waits]:
    """Within this context there are tensors on the device."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with (
        patch.object(FakeTensor, "__deepcopy__", _copied, create=True),
        patch("nnmass.zoo.reader.tracing.FakeTensorMode", lambda **_: mode),  # there can be one only
        patch("nnmass.datamodules.loader.Generator", StandIn),
        mode,
        Waits(device) as waits,
    ):
        yield waits


@contextmanager
def device_waits() -> Iterator[list[str]]:
    """The same for tensors on ``cuda``; yields the list of waits, which grows."""
    with shaped(torch.device("cuda", 0)) as waits:
        yield waits.found


def put(module: nn.Module, device: torch.device) -> nn.Module:
    """Put a module's tensors on the device, in place."""
    for part in module.modules():
        for name, value in [*part.named_parameters(recurse=False)]:
            empty = torch.empty(value.shape, dtype=value.dtype, device=device)
            setattr(part, name, nn.Parameter(empty, value.requires_grad))
        for name, value in [*part.named_buffers(recurse=False)]:
            setattr(part, name, torch.empty(value.shape, dtype=value.dtype, device=device))
        if isinstance(part, Metric):
            part.to(device)
    return module


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        """Nothing: there is none."""


class OneDevice(SingleDeviceStrategy):
    """A training on the device.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device, _Accelerator())

    def model_to_device(self) -> None:
        assert self.model is not None
        put(self.model, self.root_device)

    def teardown(self) -> None:
        """Leave the module there: it has no values to be brought back."""


class LikeGPUs(DDPStrategy):
    """Processes that each know their device, as Lightning builds them on GPUs."""

    def _setup_model(self, model: nn.Module) -> DistributedDataParallel:
        parallel = super()._setup_model(model)
        parallel.device_ids = [0]
        return parallel


def network(**arguments: Any) -> nn.Module:
    return RandomSkipDenseNet(3, 1, 8, in_chans=1, **arguments)


TRAININGS: dict[str, tuple[Callable[[], nn.Module], Augmentation]] = {
    "plain": (lambda: RandomSkipMLP(4, 8, 3, in_features=64), Augmentation()),
    "all": (network, Augmentation(1, True, "trivial", colour_jitter=0.4, cutout=3, mixup=0.2, cutmix=1.0)),
    "rand": (lambda: RandomSkipMLP(4, 8, 3, in_features=64), Augmentation(policy="rand", mixup=0.2)),
    "cutmix": (partial(network, expansion=1), Augmentation(cutmix=1.0)),
}


def trainer_of(recorders: list[Callback], folder: Path, **options: Any) -> Trainer:
    """A quiet trainer of one epoch."""
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    facts: dict[str, Any] = {"max_epochs": 1, "logger": False, "use_distributed_sampler": False, **quiet}
    return Trainer(callbacks=recorders, default_root_dir=folder, **facts | options)
