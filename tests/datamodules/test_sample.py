"""Part of a data set stands for all of it: a fixed sample of all classes, on any number of processes."""

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interruptions import ThreeClasses, write_photographs
from pytorch_lightning import Callback, Trainer
from test_data_modules import make_tree
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from nnmass.commands.main import main
from nnmass.datamodules import CIFAR10, Digits
from nnmass.datamodules.base import DataModule, Split
from nnmass.datamodules.loader import ShardedBatches
from nnmass.datamodules.sample import mixed_order
from nnmass.runtime.partial import part_seen
from nnmass.zoo import Classifier, RandomSkipDenseNet


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(0, 5))
def test_every_beginning_holds_the_classes_in_proportion(classes: list[int], seed: int) -> None:
    order = mixed_order(torch.tensor(classes), seed).tolist()
    assert sorted(order) == list(range(len(classes)))
    whole, seen = Counter(classes), Counter[int]()
    for number, index in enumerate(order, start=1):
        seen[classes[index]] += 1
        for label, count in whole.items():
            # Each class lies within half a sample of its share, but for the ties between classes.
            assert abs(seen[label] - count * number / len(classes)) < 0.5 + len(whole) * count / len(classes)


def test_an_order_is_decided_by_the_seed_and_is_exact_for_classes_of_one_size() -> None:
    labels = torch.arange(10).repeat_interleave(100)
    first, again, other = (mixed_order(labels, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for number in (10, 320, 990):
        assert labels[first[:number]].bincount(minlength=10).tolist() == [number // 10] * 10


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4), st.one_of(st.integers(0, 9), st.floats(0.0, 1.0)))
def test_what_a_limited_evaluation_sees_is_counted(
    samples: int, batch_size: int, world_size: int, limit: int | float
) -> None:
    seen = 0
    for rank in range(world_size):
        batches = list(ShardedBatches(samples, batch_size, shuffle=False, rank=rank, world_size=world_size))
        taken = min(limit, len(batches)) if isinstance(limit, int) else int(len(batches) * limit)
        seen += sum(map(len, batches[:taken]))
    assert ShardedBatches(samples, batch_size, shuffle=False, world_size=world_size).seen(limit) == seen


def trainer_of(rank: int = 0, world_size: int = 1, limits: dict[str, Any] | None = None) -> Any:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    facts = {"global_rank": rank, "world_size": world_size, "num_devices": 1, "overfit_batches": 0}
    return SimpleNamespace(strategy=strategy, **facts | (limits or {}))


def first_labels(data: DataModule, stage: str, batches: int) -> Tensor:
    loader = iter(getattr(data, f"{stage}_dataloader")())
    return torch.cat([next(loader)[1] for _ in range(batches)])


def of_digits(_: Path) -> DataModule:
    return Digits(batch_size=10)


def of_tree(folder: Path) -> DataModule:
    make_tree(folder)
    return CIFAR10(data_dir=str(folder), batch_size=10, val_on_test=True)


def of_photographs(folder: Path) -> DataModule:
    write_photographs(folder)
    return ThreeClasses(data_dir=str(folder), batch_size=3, num_workers=0, resolution=16, val_size=12)


@pytest.mark.parametrize("make", [of_digits, of_tree, of_photographs])
def test_a_limited_evaluation_sees_all_classes_and_a_whole_one_keeps_its_order(make: Any, tmp_path: Path) -> None:
    data = make(tmp_path)
    for stage in ("test", "val", "predict"):
        data.trainer = None
        plain = torch.cat([labels for _, labels in getattr(data, f"{stage}_dataloader")()])
        for limit in (2, 0.9):
            data.trainer = trainer_of(limits={f"limit_{stage}_batches": limit, "predicting": stage == "predict"})
            counts = first_labels(data, stage, 1).bincount(minlength=data.num_classes)
            assert set(counts.tolist()) == {1}, stage
        for limit in (10_000, 1.0):
            data.trainer = trainer_of(limits={f"limit_{stage}_batches": limit, "predicting": stage == "predict"})
            loader = getattr(data, f"{stage}_dataloader")()
            assert torch.equal(torch.cat([labels for _, labels in loader]), plain)


def test_the_sample_is_shared_out_among_processes_and_is_that_of_one_of_larger_batches() -> None:
    def seen(world_size: int, batch_size: int) -> list[float]:
        found = []
        for rank in range(world_size):
            data = Digits(batch_size=batch_size)
            data.trainer = trainer_of(rank, world_size, {"limit_test_batches": 3})
            loader = iter(data.test_dataloader())
            found += [float(image.sum()) for _ in range(3) for image in next(loader)[0]]
        return sorted(found)

    assert seen(1, 20) == seen(2, 10)


class Odd(Digits):
    """357 test images: of batches of 89, the first of two processes has three, the other two."""

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        images, labels = super().load(split)
        return (images[:-3], labels[:-3]) if split == "test" else (images, labels)


def test_processes_agree_where_a_limit_cuts_one_of_them_only() -> None:
    loaders = []
    for rank in range(2):
        data = Odd(batch_size=89)
        data.trainer = trainer_of(rank, 2, {"limit_test_batches": 2})
        loaders.append(data.test_dataloader())
    assert [len(loader) for loader in loaders] == [3, 2]
    one, other = (loader.sampler.order for loader in loaders)
    assert one is not None
    assert other is not None
    assert torch.equal(one, other)


class Labels(Callback):
    """Keeps the labels of all batches."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Tensor]] = {"train": [], "val": [], "test": []}

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.seen["train"].append(batch[1])

    def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        if not trainer.sanity_checking:
            self.seen["val"].append(batch[1])

    def on_test_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.seen["test"].append(batch[1])


@pytest.mark.parametrize(
    ("options", "fixed"),
    [
        ({"overfit_batches": 2, "limit_test_batches": 1}, True),
        ({"limit_train_batches": 2, "limit_val_batches": 2, "limit_test_batches": 1}, False),
        ({"fast_dev_run": 2}, False),
    ],
)
def test_lightning_takes_samples_of_all_classes(options: dict[str, int], fixed: bool, tmp_path: Path) -> None:
    labels = Labels()
    trainer = Trainer(
        **{"max_epochs": 2, **options},  # type: ignore[arg-type]
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=labels,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    data, model = Digits(batch_size=20), Classifier(RandomSkipDenseNet(3, 1, 4, in_chans=1))
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    train, val = labels.seen["train"], labels.seen["val"]
    for batch in (*val, *labels.seen["test"], *(train if fixed else ())):
        assert set(batch.tolist()) == set(range(10))
    if "fast_dev_run" not in options:
        assert all(torch.equal(one, other) for one, other in zip(val[:2], val[2:], strict=True))
        assert all(torch.equal(one, other) for one, other in zip(train[:2], train[2:], strict=True)) == fixed


def test_figures_of_a_part_say_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
    words += ["--output_dir", str(tmp_path), "--data.batch_size", "40"]
    limits = ["--trainer.limit_val_batches", "2", "--trainer.limit_test_batches", "3"]
    assert main(["fit", *words, *limits]) == 0
    out = capsys.readouterr().out
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink())
    run = json.loads((folder / "run.json").read_text())
    assert run["val_part"] == "80 of 200 samples"
    assert run["test"]["part"] == run["test_last"]["part"] == "120 of 360 samples"
    counted = pd.read_csv(folder / "class_accuracy.csv")
    assert counted["images"].tolist() == [12] * 10
    assert re.search(r"test figures of\W+120 of 360 samples", out)
    assert re.search(r"best val accuracy of\W+80 of 200 samples", out)
    assert main(["list", "runs", "--output_dir", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"best val accuracy 0\.\d+ \(of 80 of 200 samples\), test accuracy 0\.\d+ \(of 120 of", listed)
    assert main(["test", *words, *limits[:2], "--ckpt_path", "best"]) == 0
    assert "test figures of" not in capsys.readouterr().out
    assert json.loads((folder / "run.json").read_text())["test"]["part"] is None


@pytest.mark.parametrize(("limit", "part"), [(1.0, None), (2, "the first 2 of 3 batches"), (3, None)])
def test_of_another_loader_the_batches_are_given(limit: int | float, part: str | None) -> None:
    loader = DataLoader(TensorDataset(torch.zeros(12, 1)), batch_size=4)
    taken = min(limit, 3) if isinstance(limit, int) else 3
    trainer = SimpleNamespace(test_dataloaders=loader, num_test_batches=[taken], limit_test_batches=limit)
    assert part_seen(trainer, "test") == part  # type: ignore[arg-type]
    without = SimpleNamespace(val_dataloaders=None, num_val_batches=[2], limit_val_batches=2)
    assert part_seen(without, "val") is None  # type: ignore[arg-type]
