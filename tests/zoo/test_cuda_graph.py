"""Steps that are replayed as CUDA graphs: where they may be. The graphs themselves need a GPU (test_gpu.py)."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_shaped import trainer_of
from torch import nn

from nnmass.datamodules import Digits
from nnmass.zoo import Classifier
from nnmass.zoo.training.cuda_graph import TrainingGraph, can_replay


@pytest.mark.parametrize(
    ("options", "possible"),
    [
        ({}, True),
        ({"accumulate_grad_batches": 2}, False),
        ({"strategy": "ddp"}, False),
        ({"devices": 2, "strategy": "ddp"}, False),
    ],
)
def test_a_replay_needs_one_device_and_a_step_for_every_batch(
    options: dict[str, Any], possible: bool, tmp_path: Path
) -> None:
    assert can_replay(trainer_of([], tmp_path, **{"accelerator": "cpu", **options})) is possible


def test_without_a_trainer_nothing_is_replayed() -> None:
    assert not can_replay(None)


def test_a_processor_runs_the_network_as_it_is(tmp_path: Path) -> None:
    weights = []
    for graphed in (False, True):
        torch.manual_seed(0)
        model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), num_classes=10, cuda_graph=graphed)
        trainer_of([], tmp_path, accelerator="cpu").fit(model, datamodule=Digits())
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_copies_have_captured_nothing_and_checkpoints_do_not_hold_it() -> None:
    model = Classifier(nn.Linear(3, 2), num_classes=2, cuda_graph=True)
    plain = Classifier(nn.Linear(3, 2), num_classes=2)
    assert model.state_dict().keys() == plain.state_dict().keys()
    graph = TrainingGraph()
    graph.replays = 3
    assert [copy.deepcopy(graph).replays, pickle.loads(pickle.dumps(graph)).replays] == [0, 0]
