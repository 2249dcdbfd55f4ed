"""Averages of the weights that the planned steps leave near the beginning are said before the training."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from nnmass.callbacks import AverageNotes
from nnmass.callbacks.averages import fitting_decay, share_of_start
from nnmass.zoo import Classifier, RandomSkipDenseNet, RandomSkipMLP

STEPS = 12


def said(average: object, capsys: pytest.CaptureFixture, normalised: bool = False, **options: object) -> str:
    """Return what is printed before three epochs of four steps."""
    network = RandomSkipDenseNet(3, 1, 4) if normalised else RandomSkipMLP(3, 2, 1, num_classes=2, in_features=3)
    images = torch.zeros(8, 3, 32, 32) if normalised else torch.rand(8, 3)
    data = DataLoader(TensorDataset(images, torch.arange(8) % 2), batch_size=2)
    plain = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(callbacks=[average, AverageNotes()], **{"max_epochs": 3, **plain, **options})  # type: ignore[arg-type]
    trainer.fit(Classifier(network), data)
    return str(capsys.readouterr().out)


@given(st.floats(0.5, 0.9999), st.integers(1, 60))
def test_the_share_is_what_averaging_leaves_of_the_first_weights(decay: float, updates: int) -> None:
    function, average = get_ema_avg_fn(decay), torch.ones((), dtype=torch.float64)
    for number in range(1, updates):  # the first copies the weights, here 1; the later ones are 0
        average = function(average, torch.zeros((), dtype=torch.float64), torch.tensor(number))
    assert math.isclose(share_of_start(function, updates), float(average), rel_tol=1e-4)


@given(st.integers(2, 10**7))
def test_the_proposed_decay_leaves_about_a_hundredth(updates: int) -> None:
    assert 0.005 < fitting_decay(updates) ** (updates - 1) < 0.015


def test_an_average_near_its_beginning_is_said_with_a_decay_that_fits(capsys: pytest.CaptureFixture) -> None:
    text = said(EMAWeightAveraging(decay=0.999), capsys)
    assert "keeps 99% of the weights of its beginning after the 12 updates" in text
    assert f"--trainer.callbacks.decay {fitting_decay(STEPS)} keeps 1%" in text
    assert "keeps" not in said(EMAWeightAveraging(decay=fitting_decay(STEPS)), capsys)


def test_only_the_steps_that_are_averaged_count(capsys: pytest.CaptureFixture) -> None:
    decay = fitting_decay(STEPS)
    assert "after the 4 updates" in said(EMAWeightAveraging(decay=decay, update_every_n_steps=3), capsys)
    assert "after the 2 updates" in said(EMAWeightAveraging(decay=decay, update_starting_at_step=10), capsys)
    assert "after the 5 updates" in said(EMAWeightAveraging(decay=0.9), capsys, max_steps=5)
    assert "after the 6 updates" in said(EMAWeightAveraging(decay=0.9), capsys, accumulate_grad_batches=2)


def test_an_average_that_begins_after_the_end_is_said(capsys: pytest.CaptureFixture) -> None:
    text = said(EMAWeightAveraging(update_starting_at_step=STEPS), capsys)
    assert "EMAWeightAveraging begins after the 12 steps of this training" in text
    text = said(StochasticWeightAveraging(0.1, swa_epoch_start=4), capsys)
    assert "StochasticWeightAveraging begins in epoch 4, after the 3 of this training" in text


def test_an_equal_mean_of_all_steps_and_a_stochastic_average_in_time_need_no_word(
    capsys: pytest.CaptureFixture,
) -> None:
    for average in (WeightAveraging(), StochasticWeightAveraging(0.1, swa_epoch_start=3)):
        assert "Averaging" not in said(average, capsys)


def test_the_epoch_that_stochastic_averaging_adds_is_said(capsys: pytest.CaptureFixture) -> None:
    text = said(StochasticWeightAveraging(0.1, swa_epoch_start=1), capsys, normalised=True, max_epochs=2)
    assert "adds an epoch to the 2, in which no weight is trained" in text
