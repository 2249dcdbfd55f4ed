"""Batches: nothing lost, nothing twice, on any number of processes, the same after a resume."""

import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Generator, Tensor
from torch.utils.data import DataLoader, TensorDataset

from nnmass.callbacks import DataWait
from nnmass.datamodules import Augmentation, Digits
from nnmass.datamodules.loader import MemoryLoader, ShardedBatches, mixed_seed
from nnmass.zoo import Classifier, RandomSkipDenseNet


def epoch(samples: int, batch_size: int, world_size: int, shuffle: bool, number: int = 0) -> list[list[Tensor]]:
    ranks = []
    for rank in range(world_size):
        sampler = ShardedBatches(samples, batch_size, shuffle, seed=3, rank=rank, world_size=world_size)
        sampler.set_epoch(number)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert all(0 < len(batch) <= batch_size + shuffle for batch in batches)
        ranks.append(batches)
    return ranks


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_evaluation_sees_each_sample_once(samples: int, batch_size: int, world_size: int) -> None:
    ranks = epoch(samples, batch_size, world_size, shuffle=False)
    seen = torch.cat([batch for batches in ranks for batch in batches])
    assert sorted(seen.tolist()) == list(range(samples))


@given(st.integers(4, 60), st.integers(1, 9), st.integers(1, 4))
def test_training_processes_take_equal_steps_on_disjoint_shards(samples: int, batch_size: int, world_size: int) -> None:
    ranks = epoch(samples, batch_size, world_size, shuffle=True)
    assert len({len(batches) for batches in ranks}) == 1
    seen = [index for batches in ranks for batch in batches for index in batch.tolist()]
    assert sorted(seen) == list(range(samples))


def test_each_epoch_has_its_own_order() -> None:
    first, again, second = (torch.cat(epoch(50, 8, 1, True, number)[0]).tolist() for number in (0, 0, 1))
    assert first == again != second


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_repeated_samples_come_in_succession_under_names_of_their_own(
    samples: int, repeats: int, number: int, balanced: bool
) -> None:
    classes = torch.arange(samples) // 7
    batches = ShardedBatches(samples, 8, shuffle=True, seed=3)
    batches.classes = classes if balanced else None
    batches.set_epoch(number)
    plain = torch.cat(list(batches))
    batches.repeats = repeats
    repeated = torch.cat(list(batches))
    assert len(repeated) == samples
    assert len(set(repeated.tolist())) == samples
    assert torch.equal(repeated % samples, (plain % samples).repeat_interleave(repeats)[:samples])


def test_the_repetitions_of_a_sample_are_spread_over_the_processes() -> None:
    ranks = []
    for rank in range(3):
        batches = ShardedBatches(24, 4, shuffle=True, rank=rank, world_size=3)
        batches.repeats = 3
        ranks.append(torch.cat(list(batches)))
    assert torch.equal(ranks[0] % 24, ranks[1] % 24)
    assert torch.equal(ranks[0] % 24, ranks[2] % 24)


def test_an_order_can_stay_as_it_is() -> None:
    batches = ShardedBatches(50, 8, shuffle=True)
    batches.order = torch.arange(50).flip(0)
    for number in (0, 3):
        batches.set_epoch(number)
        assert torch.equal(torch.cat(list(batches)), batches.order)


def test_augmentation_depends_on_seed_epoch_rank_and_step_alone(device: torch.device) -> None:
    images, labels = torch.zeros(20, 1, 2, 2, dtype=torch.uint8), torch.zeros(20, dtype=torch.long)
    images, labels = images.to(device), labels.to(device)

    def draw(batch: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        return torch.rand(1, generator=generator, device=device), targets

    def draws(seed: int, number: int, rank: int) -> list[float]:
        sampler = ShardedBatches(20, 5, shuffle=True, seed=seed, rank=rank, world_size=2)
        sampler.set_epoch(number)
        loader = MemoryLoader(images, labels, torch.arange(20), sampler, draw)
        return [float(batch) for batch, _ in loader]

    def by_rank_and_epoch() -> list[float]:
        return [draw for rank in (0, 1) for number in (0, 1) for draw in draws(1, number, rank)]

    torch.manual_seed(0)
    first = by_rank_and_epoch()
    torch.manual_seed(5)
    assert first == by_rank_and_epoch()
    assert len(set(first)) == 8
    assert draws(1, 0, 0) != draws(2, 0, 0)


def keep(batch: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    return batch, labels


def test_a_loader_reads_the_chosen_samples(device: torch.device) -> None:
    samples = torch.arange(10, dtype=torch.uint8, device=device).view(10, 1, 1, 1)
    chosen = torch.tensor([1, 3, 4, 8])
    labels = torch.arange(10, device=device) * 3
    loader = MemoryLoader(samples, labels, chosen, ShardedBatches(4, 3, shuffle=True), keep)
    seen = torch.cat([batch.flatten() for batch, _ in loader])
    assert sorted(seen.tolist()) == chosen.tolist()
    assert all(torch.equal(batch.flatten().long() * 3, labels) for batch, labels in loader)


def test_seeds_of_different_rows_differ() -> None:
    rows = [(1, 2), (1, 2, 0), (1, 2, 0, 0), (2, 1), (0, 1), (1,), (2**32 + 1,), (1, 1), (12,), (1, 2, 3)]
    assert len({mixed_seed(*row) for row in rows}) == len(rows)


def test_an_epoch_cut_short_leaves_nothing_to_the_next() -> None:
    def loader() -> MemoryLoader:
        return MemoryLoader(torch.zeros(20, 1), torch.arange(20), torch.arange(20), ShardedBatches(20, 4, True), keep)

    short = loader()
    batches = iter(short)
    for _ in range(3):
        next(batches)
    resumed = loader()
    resumed.go_to(short.position)
    resumed.sampler.set_epoch(1)
    assert len(list(resumed)) == 5


@pytest.mark.parametrize("interrupted_after", [0, 1, 3, 4])
def test_an_epoch_goes_on_where_it_was(interrupted_after: int, device: torch.device) -> None:
    def loader() -> MemoryLoader:
        def draw(batch: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
            return torch.rand(2, generator=generator, device=device), labels

        samples, labels = torch.zeros(18, 1, device=device), torch.arange(18, device=device)
        return MemoryLoader(samples, labels, torch.arange(18), ShardedBatches(18, 4, True, seed=2), draw)

    whole = loader()
    whole.sampler.set_epoch(7)
    expected = [(*draws.tolist(), *labels.tolist()) for draws, labels in whole]
    broken = loader()
    broken.sampler.set_epoch(7)
    batches = iter(broken)
    seen = [next(batches) for _ in range(interrupted_after)]
    state = broken.position
    resumed = loader()
    resumed.go_to(state)
    resumed.sampler.set_epoch(7)
    seen += list(resumed)
    assert [(*draws.tolist(), *labels.tolist()) for draws, labels in seen] == expected
    assert len(list(resumed)) == len(expected) == len(resumed)


def test_a_training_interrupted_within_an_epoch_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Through Lightning's own checkpoint, cut-out and crops on."""
    data = {"batch_size": 100, "augmentation": Augmentation(crop_padding=1, cutout=3), "seed": 4}

    def train(checkpoint: Path | None) -> dict[str, Tensor]:
        model = Classifier(RandomSkipDenseNet(3, 1, 4, in_chans=1), interval="step")
        trainer = Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            callbacks=ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=7, save_top_k=-1),
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(model, datamodule=Digits(**data), ckpt_path=checkpoint, weights_only=True)  # type: ignore[arg-type]
        assert trainer.global_step == 26
        return model.state_dict()

    whole = train(None)
    for step in (7, 21):
        resumed = train(tmp_path / f"step={step}.ckpt")
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items()), step


def test_only_what_the_loader_takes_is_a_wait_for_data(tmp_path: Path) -> None:
    class Slow(Digits):
        def prepare_train(self, samples: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
            time.sleep(0.02)
            return super().prepare_train(samples, labels, generator)

    class Busy(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            time.sleep(0.1)

        def on_train_batch_end(self, *_: object) -> None:
            time.sleep(0.1)

        def on_validation_end(self, *_: object) -> None:
            time.sleep(0.1)

    trainer = Trainer(
        max_epochs=2,
        limit_train_batches=4,
        val_check_interval=2,
        accelerator="cpu",
        logger=False,
        callbacks=[Busy(), DataWait(), Busy()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    model = Classifier(RandomSkipDenseNet(3, 1, 4, in_chans=1))
    trainer.fit(model, datamodule=Slow(batch_size=16))
    # Of one epoch: four batches of 0.02 s, whatever else happens in the 1.6 s between them.
    assert 0.08 <= trainer.callback_metrics["train/data_wait_s"] < 0.6


def test_nothing_is_said_of_a_loader_that_does_not_count(tmp_path: Path) -> None:
    data = DataLoader(TensorDataset(torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.long)), batch_size=4)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=DataWait(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Classifier(RandomSkipDenseNet(3, 1, 4, in_chans=1)), data)
    assert "train/loss" in trainer.callback_metrics
    assert "train/data_wait_s" not in trainer.callback_metrics
