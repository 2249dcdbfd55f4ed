"""TopologyRecorder through a real Trainer: written everywhere once, nothing disturbed."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnmass.callbacks import MetricsTable, TopologyRecorder
from nnmass.datamodules import Digits
from nnmass.zoo import Classifier, RandomSkipDenseNet, topology


class Snapshot(Callback):
    """Everything that a measurement could disturb, before and after the recorder's hook."""

    def __init__(self, states: list) -> None:
        self.states = states

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append(
            {
                "tensors": {name: value.clone() for name, value in pl_module.state_dict().items()},
                "modes": [module.training for module in pl_module.modules()],
                "gradients": [parameter.grad for parameter in pl_module.parameters()],
                "hooks": [len(module._forward_hooks) for module in pl_module.modules()],
                "torch": torch.get_rng_state().tolist(),
                "python": random.getstate(),
                "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index]
            }
        )


def test_written_everywhere_once_and_nothing_disturbed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    network = RandomSkipDenseNet(4, 1, [8, 16, 32], in_chans=1)
    network.cells[1].eval()
    loggers = [
        MetricsTable(tmp_path),
        CSVLogger(tmp_path, name="csv", version=""),
        TensorBoardLogger(tmp_path, name="tensorboard", version=""),
    ]
    states: list = []
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_steps=2,
        limit_val_batches=0,
        logger=loggers,
        callbacks=[Snapshot(states), TopologyRecorder(), Snapshot(states)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        accelerator="cpu",
    )
    trainer.fit(Classifier(network, schedule="constant"), datamodule=Digits())
    before, after = states
    for name, value in before.pop("tensors").items():
        assert torch.equal(value, after["tensors"][name])
    after.pop("tensors")
    assert before == after

    expected = topology(network, (1, 8, 8)).as_dict()
    assert json.loads((tmp_path / "run.json").read_text())["topology"] == expected
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (mass,) = events.Scalars("topology/nn_mass")
    assert mass.value == pytest.approx(expected["nn_mass"])
    for table in (tmp_path / "csv" / "metrics.csv", tmp_path / "metrics.csv"):
        assert table.read_text().count(str(expected["average_degree"])) == 1
    assert "149.333" in capsys.readouterr().out
