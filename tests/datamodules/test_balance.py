"""The balanced sampler: all classes equally often, and all samples of a class; processes and resumes."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interruptions import ThreeClasses, write_photographs
from torch import Generator, Tensor

from nnmass.datamodules import Digits
from nnmass.datamodules.loader import MemoryLoader, ShardedBatches
from nnmass.datamodules.sample import balanced_order


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(0, 100))
def test_classes_and_the_samples_of_a_class_come_equally_often(labels: list[int], seed: int) -> None:
    classes, number = torch.tensor(labels), len(labels)
    order = balanced_order(classes, Generator().manual_seed(seed))
    assert len(order) == len(set(order.tolist())) == number
    times = classes[order % number].bincount()
    times = times[times > 0]
    assert int(times.max() - times.min()) <= 1 or len(times) < len(set(labels))
    of_each = (order % number).bincount(minlength=number)
    for label in set(labels):
        counts = of_each[classes == label]
        assert int(counts.max() - counts.min()) <= 1


def batches_of(rank: int, world_size: int, first: int = 0, epoch: int = 2) -> list[Tensor]:
    sampler = ShardedBatches(50, 4, shuffle=True, seed=3, rank=rank, world_size=world_size)
    sampler.classes = torch.tensor([0] * 45 + [1] * 5)
    sampler.set_epoch(epoch)
    return list(sampler.batches_from(first))


def test_the_order_is_one_whatever_the_processes_and_after_a_resume() -> None:
    alone = torch.cat(batches_of(0, 1))
    shards = [batches_of(rank, 2) for rank in range(2)]
    assert len(shards[0]) == len(shards[1])
    assert sorted(alone.tolist()) == sorted(torch.cat([part for shard in shards for part in shard]).tolist())
    assert torch.equal(torch.cat(batches_of(1, 2, first=3)), torch.cat(shards[1][3:]))
    assert not torch.equal(alone, torch.cat(batches_of(0, 1, epoch=3)))


def test_a_repeated_photograph_gets_a_crop_of_its_own(tmp_path: Path) -> None:
    write_photographs(tmp_path, train=4, val=1)
    for name in ("n1_1", "n1_2", "n1_3", "n2_1", "n2_2", "n2_3"):  # one photograph is left of two classes
        (tmp_path / "imagenet" / "train" / name[:2] / f"{name}.JPEG").unlink()
    data = ThreeClasses(data_dir=str(tmp_path), resolution=8, num_workers=0, val_on_test=True, balance="sampler")
    images, labels = next(iter(data.train_dataloader()))
    assert labels.bincount().tolist() == [2, 2, 2]
    first, second = images[labels == 1]
    assert not torch.equal(first, second)


def test_samples_in_memory_are_balanced_in_training_alone() -> None:
    class Uneven(Digits):
        """Of the digits above 0, every tenth."""

        def load(self, split: str) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            images, labels = super().load(split)  # type: ignore[arg-type]
            kept = (labels == 0) | (torch.arange(len(labels)) % 10 == 0)
            return images[kept], labels[kept]

    data = Uneven(balance="sampler", val_size=20)
    loader = data.train_dataloader()
    assert isinstance(loader, MemoryLoader)
    times = torch.cat([labels for _, labels in loader]).bincount(minlength=10)
    assert int(times.max() - times.min()) <= 1
    assert int(times.sum()) == len(data.training_labels())
    seen = torch.cat([labels for _, labels in data.test_dataloader()]).bincount(minlength=10)
    assert int(seen[0]) > 3 * int(seen[1:].max())


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected data.balance to be none, sampler or loss, but got 'weights'"):
        Digits(balance="weights")  # type: ignore[arg-type]
