"""Base of all data modules: the facts of a data set, its split and its batches."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Generator, Tensor

from nnmass.datamodules.division import in_proportion
from nnmass.datamodules.drawn import first_samples
from nnmass.datamodules.loader import MemoryLoader, ResumableLoader, ShardedBatches, mixed_seed
from nnmass.datamodules.sample import Stage, limit_of, mixed_order
from nnmass.zoo.weights.preprocessing import Preprocessing

__all__ = ["DataModule", "InMemoryDataModule", "Split"]

Split = Literal["train", "test"]


class DataModule(LightningDataModule, ABC):
    """A labelled data set. Its facts are attributes, so that no configuration repeats them.

    A validation set is split off the training set, stratified by class; the test set serves only for testing.

    Args:
        batch_size: Samples per batch and process.
        val_size: Samples of the training set that are kept for validation; by default a tenth.
        val_on_test: Train on the whole training set and validate on the test set, as the papers do. The best
            checkpoint is then chosen on the test set; ``run.json`` says so.
        split_seed: Decides which samples are kept for validation, and which are taken where Lightning takes a part.
        seed: Decides the order and the augmentation of the training samples.
        balance: What is done where classes differ in size: ``sampler`` draws all classes equally often, ``loss`` weighs
            a training sample by the inverse frequency of its class.

    Attributes:
        num_classes: Classes.
        in_chans: Channels of an image; features of a vector.
        input_size: Shape of one sample as the network sees it, such as (channels, height, width) in px.

    Raises:
        ValueError: If an argument is out of range.
    """

    num_classes: int
    in_chans: int

    def __init__(
        self,
        batch_size: int = 128,
        val_size: int | None = None,
        val_on_test: bool = False,
        split_seed: int = 0,
        seed: int = 0,
        balance: Literal["none", "sampler", "loss"] = "none",
    ) -> None:
        super().__init__()
        require_at_least(1, batch_size=batch_size)
        if balance not in ("none", "sampler", "loss"):
            raise ValueError(f"Expected data.balance to be none, sampler or loss, but got {balance!r}.")
        require_at_least(0, split_seed=split_seed, seed=seed)
        if val_size is not None:
            require_at_least(self.num_classes, val_size=val_size)
        self.batch_size, self.seed, self.balance = batch_size, seed, balance
        self.val_size, self.val_on_test, self.split_seed = val_size, val_on_test, split_seed
        self._training: ResumableLoader | None = None
        self._position: dict[str, int] | None = None

    @property
    @abstractmethod
    def input_size(self) -> tuple[int, ...]:
        """Shape of one sample as the network sees it."""

    @property
    def train_input_size(self) -> tuple[int, ...]:
        """Shape of one training sample, where it is another than that of the test."""
        return self.input_size

    @property
    def device(self) -> torch.device:
        """Device of the network; without a trainer, the processor."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def class_names(self) -> list[str]:
        """Name of each class, in the order of the labels; their numbers, where a data set has no names."""
        return [str(label) for label in range(self.num_classes)]

    @property
    def preprocessing(self) -> Preprocessing | None:
        """All that turns an image file into the network's input; None where samples are no images."""
        return None

    @property
    def class_weights(self) -> list[float] | None:
        """N / (classes N_c) of each class, of mean 1 over the training samples; None unless ``balance`` asks for it."""
        if self.balance != "loss":
            return None
        counts = self.training_labels().bincount(minlength=self.num_classes)
        return (counts.sum() / (self.num_classes * counts.clamp(min=1))).tolist()

    def training_labels(self) -> Tensor:
        """Labels (N,) of the samples that are trained on.

        Raises:
            ValueError: If the data set does not give them before its batches.
        """
        raise ValueError(f"Expected data.balance to be none or sampler for {type(self).__name__}, but got loss.")

    @abstractmethod
    def training_batches(self) -> ResumableLoader:
        """Shuffled, augmented batches of the training set."""

    def train_dataloader(self) -> ResumableLoader:
        """The training batches, from where an interrupted epoch left off."""
        self._training = self.training_batches()
        if self._position is not None:
            self._training.go_to(self._position)
            self._position = None
        return self._training

    def first_samples(self, count: int, seed: int, or_all: bool = False) -> tuple[Tensor, Tensor]:
        """Inputs (N, ...) and labels (N,) that a seed would train on first: see :mod:`datamodules.drawn`."""
        return first_samples(self, count, seed, or_all)

    def decode(self, path: Path) -> Tensor:
        """One image file as bytes (C, H, W) of the size that the network takes.

        Raises:
            ValueError: If the file cannot be decoded, or the samples of this data set are no images.
        """
        if self.preprocessing is None:
            raise ValueError(f"Expected data of images for prediction from files, but got {type(self).__name__}.")
        return self.preprocessing.decode(path)

    def predict_dataloader(self) -> Any:
        """The test set in order."""
        return self.test_dataloader()

    # Lightning's protocol for stateful loaders does not serve: it restores a loader when it sets the loader up. Where a
    # schedule asks for trainer.estimated_stepping_batches, that is too early, and the epoch starts over without a word.
    def state_dict(self) -> dict[str, int]:
        """Epoch and position of the next training batch; Lightning keeps them in every checkpoint."""
        return {} if self._training is None else self._training.position

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on there; Lightning calls it before it asks for the batches."""
        self._position = state_dict or None

    def split(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the training and of the validation samples among the training set's ``labels`` (N,).

        Raises:
            ValueError: If the validation set would hold, or leave, no sample of some class.
        """
        val_size = len(labels) // 10 if self.val_size is None else self.val_size
        rarest = int(labels.bincount(minlength=self.num_classes).min())
        if rarest < 2 or not self.num_classes <= val_size <= len(labels) - self.num_classes:
            raise ValueError(
                f"Expected data.val_size to take and to leave samples of every class ({len(labels)} in all, {rarest} "
                f"of the rarest of {self.num_classes} classes), but got {val_size}; data.val_on_test needs no split."
            )
        return in_proportion(labels, val_size, self.split_seed)

    def batches(self, labels: Tensor, chosen: Tensor, stage: Stage) -> ShardedBatches:
        """Return this process's batches of some samples, as positions among them.

        Where Lightning evaluates on part of them only, or overfits to a part, they come in one order of mixed classes,
        the same in all epochs and processes; else an evaluation goes through them as they are.

        Args:
            labels: (N,) of all samples.
            chosen: (M,), indices of those that serve for this.
            stage: What for.
        """
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if len(chosen) < world_size:
            raise ValueError(f"Expected at most as many processes as samples ({len(chosen)}), but got {world_size}.")
        training = stage == "train"
        batches = ShardedBatches(len(chosen), self.batch_size, training, self.seed, rank, world_size)
        if training and self.balance == "sampler":
            batches.classes = labels.cpu()[chosen]
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        if overfit if training else batches.seen(limit_of(self.trainer, stage)) < len(chosen):
            batches.order = mixed_order(labels.cpu()[chosen], mixed_seed(self.split_seed))
        return batches


class InMemoryDataModule(DataModule, ABC):
    """A data set that fits into memory: it lives on the training device, and batches are made there by indexing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._loaded: dict[Split, tuple[Tensor, Tensor]] = {}
        self._samples: dict[tuple[Split, torch.device], tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Samples (N, ...) and labels (N,) as int64 of one split."""

    def prepare_data(self) -> None:
        """Load both splits once, in one process of each machine: what is wrong shows before anything else runs."""
        self._loaded_once("train")
        self._loaded_once("test")

    def _loaded_once(self, split: Split) -> tuple[Tensor, Tensor]:
        """A split as it was when it was first asked for: Lightning prepares before each fit, validation and test."""
        if split not in self._loaded:
            self._loaded[split] = self.load_checked(split)
        return self._loaded[split]

    def load_checked(self, split: Split) -> tuple[Tensor, Tensor]:
        """Load a split, and refuse what is not as the data set says."""
        return self.load(split)

    def prepare_train(self, samples: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Turn a training batch into the network's input; ``generator`` decides all that is random."""
        return self.prepare_eval(samples), labels

    def prepare_eval(self, samples: Tensor) -> Tensor:
        """Turn any other batch into the network's input."""
        return samples

    def training_labels(self) -> Tensor:
        """Labels (N,) of the samples that are trained on."""
        labels = self._loaded_once("train")[1]
        return labels if self.val_on_test else labels[self.split(labels)[0]]

    def training_batches(self) -> MemoryLoader:
        """Shuffled, augmented batches of the training set."""
        samples, labels = self._on_device("train")
        train = torch.arange(len(labels)) if self.val_on_test else self.split(labels)[0]
        return MemoryLoader(samples, labels, train, self.batches(labels, train, "train"), self.prepare_train)

    def val_dataloader(self) -> MemoryLoader:
        """The validation set, each sample once."""
        if self.val_on_test:
            return self._in_order("test", "val")
        return self._in_order("train", "val", self.split(self._on_device("train")[1])[1])

    def test_dataloader(self) -> MemoryLoader:
        """The test set, each sample once."""
        return self._in_order("test", "test")

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> object:
        """Leave the batch as it is: the loader makes it on the training device."""
        return batch

    def _in_order(self, split: Split, stage: Stage, chosen: Tensor | None = None) -> MemoryLoader:
        samples, labels = self._on_device(split)
        chosen = torch.arange(len(labels)) if chosen is None else chosen

        def prepare(batch: Tensor, targets: Tensor, _: Generator) -> tuple[Tensor, Tensor]:
            return self.prepare_eval(batch), targets

        return MemoryLoader(samples, labels, chosen, self.batches(labels, chosen, stage), prepare)

    def _on_device(self, split: Split) -> tuple[Tensor, Tensor]:
        """A split's samples and labels; on a processor they stay memory-mapped, shared by all local processes."""
        device = self.device
        if (split, device) not in self._samples:
            samples, labels = self._loaded_once(split)
            self._samples[split, device] = samples.to(device), labels.to(device)
        return self._samples[split, device]


def require_at_least(least: int, **arguments: int) -> None:
    """Refuse a data module's argument below ``least``.

    Raises:
        ValueError: It names the argument and the value.
    """
    for name, value in arguments.items():
        if value < least:
            raise ValueError(f"Expected data.{name} to be at least {least}, but got {value}.")
