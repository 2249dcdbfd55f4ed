"""Transfers to the device: once, and without a wait."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gpu_shaped import device_waits
from torch import Generator, Tensor

from nnmass.datamodules import CIFAR10, Augmentation, ImageNet, loader
from nnmass.datamodules.transfer import Constants, host_generator, to_device


def test_the_generator_of_the_host_is_a_function_of_the_state_which_moves_on() -> None:
    def draws(generator: Generator) -> list[int]:
        return host_generator(generator).integers(2**60, size=3).tolist()

    first, again, other = (Generator().manual_seed(seed) for seed in (4, 4, 5))
    rows = [draws(first), draws(first), draws(other)]
    assert len({tuple(row) for row in rows}) == 3
    assert [draws(again), draws(again)] == rows[:2]
    torch.rand(1, generator=first)
    assert draws(first) != draws(again)


def test_what_is_on_the_device_is_not_copied() -> None:
    there = torch.arange(3)
    assert to_device(there, torch.device("cpu")) is there
    assert to_device([1.5, 2.0], torch.device("cpu")).tolist() == [1.5, 2.0]


def test_what_comes_to_the_host_is_there_before_it_is_read() -> None:
    with device_waits() as waits:
        to_device(torch.zeros(3, device="cuda"), torch.device("cpu"))
        assert len(waits) == 1


def test_constants_are_put_on_a_device_once() -> None:
    constants = Constants([[0.5, 0.25], [1.0, 2.0]])
    assert constants.on(torch.device("cpu")).dtype == torch.float32
    with device_waits() as waits:
        first = constants.on(torch.device("cuda"))
        assert first.shape == (2, 2)
        assert constants.on(torch.device("cuda")) is first
        assert waits == []
    assert constants.on(torch.device("cpu")).tolist() == [[0.5, 0.25], [1.0, 2.0]]


class Anything(CIFAR10):
    """CIFAR-10 without files and without values."""

    def load_checked(self, split: str) -> tuple[Tensor, Tensor]:
        labels = torch.zeros(300, dtype=torch.long, device="cuda")
        return torch.zeros(300, 3, 32, 32, dtype=torch.uint8, device="cuda"), labels


def gpu_trainer() -> Any:
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    return SimpleNamespace(strategy=strategy, global_rank=0, world_size=1, overfit_batches=0)


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
@pytest.mark.parametrize("policy", ["none", "trivial", "rand"])
def test_no_batch_of_small_images_waits_for_a_gpu(
    policy: Any, mixed: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without CUDA there is no generator for it; values without numbers can be drawn from any.
    monkeypatch.setattr(loader, "Generator", lambda *_: Generator())
    augmentation = Augmentation(4, True, policy, colour_jitter=0.4, cutout=16, **mixed)
    data = Anything(augmentation=augmentation, val_on_test=True, batch_size=64)
    data.trainer = gpu_trainer()
    with device_waits() as waits:
        for loaded in (data.train_dataloader(), data.val_dataloader()):
            for images, labels in loaded:
                assert images.device.type == labels.device.type == "cuda"
        assert waits == []


def test_no_batch_of_photographs_and_of_files_waits_for_a_gpu() -> None:
    photographs, small = ImageNet(), CIFAR10()
    with device_waits() as waits:
        for data in (photographs, small):
            batch = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, dtype=torch.long)
            for _ in range(2):
                images, _ = data.transfer_batch_to_device(batch, torch.device("cuda"), 0)
                assert images.device.type == "cuda"
                assert images.dtype == torch.float32
        assert waits == []
