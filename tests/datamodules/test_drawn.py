"""A few samples: the same for every batch size and process, and nothing else disturbed."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnmass.datamodules import Augmentation, Digits, Seg


def test_the_samples_depend_on_the_seed_alone() -> None:
    data, other = Digits(batch_size=7, seed=5), Digits(batch_size=128)
    trainer: Any = SimpleNamespace(
        global_rank=1, world_size=2, strategy=SimpleNamespace(root_device=torch.device("cpu"))
    )
    other.trainer = trainer
    random = torch.get_rng_state()
    images, labels = data.first_samples(16, 3)
    assert images.shape == (16, 1, 8, 8)
    assert labels.shape == (16,)
    again, labels_again = other.first_samples(16, 3)
    assert torch.equal(images, again)
    assert torch.equal(labels, labels_again)
    assert not torch.equal(images, data.first_samples(16, 4)[0])
    assert torch.equal(random, torch.get_rng_state())
    assert (data.seed, data.batch_size, other.trainer) == (5, 7, trainer)


def test_they_are_those_that_a_training_with_the_seed_begins_with() -> None:
    first, _ = next(iter(Digits(batch_size=32, seed=4).training_batches()))
    assert torch.equal(first, Digits().first_samples(32, 4)[0])


def test_labels_stay_classes_where_a_training_mixes_images() -> None:
    data = Digits(augmentation=Augmentation(mixup=0.8, cutmix=1.0))
    _, labels = data.first_samples(8, 0)
    assert labels.dtype == torch.int64
    assert data.augmentation.mixup == 0.8


def test_vectors_have_samples_too_and_too_many_are_refused() -> None:
    assert Seg(20).first_samples(5, 0)[0].shape == (5, 2)
    with pytest.raises(ValueError, match=r"Expected images to be at most the training samples of Digits \(1,29\d\)"):
        Digits().first_samples(5000, 0)
