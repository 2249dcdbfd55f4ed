"""MeasureRecorder through a real Trainer: written beside the topology, and training none the wiser."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch.multiprocessing import spawn
from torch.utils.data import DataLoader, TensorDataset

from nnmass.callbacks import MeasureRecorder, TopologyRecorder, measure_recorder
from nnmass.datamodules import Digits
from nnmass.runtime.files import read_run, update_run
from nnmass.runtime.tables import results_table, terminal
from nnmass.zoo import Classifier, RandomSkipDenseNet
from nnmass.zoo.measures import Batch, measure_network

MEASURES = ["params", "grad_norm", "synflow"]


def trained(
    folder: Path, *recorders: Any, steps: int = 2, ckpt_path: str | None = None, devices: int = 1
) -> Classifier:
    torch.manual_seed(7)
    model = Classifier(RandomSkipDenseNet(4, 1, [8, 16, 32], in_chans=1, seed=1), schedule="constant")
    trainer = Trainer(
        default_root_dir=folder,
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        callbacks=list(recorders),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
    )
    trainer.fit(model, datamodule=Digits(), ckpt_path=ckpt_path)
    if ckpt_path is None:
        trainer.save_checkpoint(folder / "last.ckpt")
    return model


def test_the_values_are_the_networks_and_the_weights_those_of_a_training_without(tmp_path: Path) -> None:
    with_it = trained(tmp_path / "with", MeasureRecorder(MEASURES, images=16, seed=3), TopologyRecorder())
    without = trained(tmp_path / "without")
    for name, value in without.state_dict().items():
        assert torch.equal(value, with_it.state_dict()[name]), name
    data = Digits()
    network = RandomSkipDenseNet(4, 1, [8, 16, 32], in_chans=1, seed=1)
    expected = measure_network(network, Batch(*data.first_samples(16, 3)), MEASURES, 3)
    run = read_run(tmp_path / "with")
    assert run["measures"]["values"] == {name: pytest.approx(one.value) for name, one in expected.items()}
    assert (run["measures"]["images"], run["measures"]["seed"]) == (16, 3)
    assert "topology" in run


def in_one_of_two(rank: int, folder: str, port: str) -> None:
    """Train with the recorder and without, as a launcher's process."""
    environment = {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    os.environ.update({name: str(number) for name, number in environment.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, TORCHELASTIC_RUN_ID="two")
    torch.set_num_threads(1)

    def measured(*given: Any) -> Any:
        print(f"rank {rank} measures", flush=True)
        return measure_network(*given)

    measure_recorder.measure_network = measured
    trained(Path(folder) / "with", MeasureRecorder(MEASURES, images=16, seed=3), devices=2)
    trained(Path(folder) / "without", devices=2)


@pytest.mark.slow
def test_of_two_processes_the_first_measures_what_one_alone_does(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    spawn(in_one_of_two, (str(tmp_path), port), nprocs=2)
    out = capfd.readouterr().out
    assert out.count("rank 0 measures") == out.count("Measures, 16 images") == 1
    assert "rank 1 measures" not in out
    trained(tmp_path / "alone", MeasureRecorder(MEASURES, images=16, seed=3))
    alone, found = (read_run(tmp_path / name)["measures"]["values"] for name in ("alone", "with"))
    assert found == {name: pytest.approx(value) for name, value in alone.items()}
    weights = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"] for name in ("with", "without")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_resumed_run_does_not_measure_again(tmp_path: Path) -> None:
    trained(tmp_path, MeasureRecorder(MEASURES, images=4))
    update_run(tmp_path, measures={"values": {"params": -1.0}})
    trained(tmp_path, MeasureRecorder(MEASURES, images=4), steps=3, ckpt_path=str(tmp_path / "last.ckpt"))
    assert read_run(tmp_path)["measures"] == {"values": {"params": -1.0}}


def test_the_results_table_has_the_measures_and_says_which_are_unknown(capsys: pytest.CaptureFixture) -> None:
    measures = {"values": {"synflow": 12.5}, "not_measured": {"zen": "Expected normalisation, but got none."}}
    terminal().print(results_table({"data": "Digits", "measures": measures}, {}))
    lines = capsys.readouterr().out.splitlines()
    assert any("synflow" in line and "12.5" in line for line in lines)
    assert any("zen" in line and "not measured" in line for line in lines)


def test_a_data_module_of_ones_own_is_trained_on_without_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recorder = MeasureRecorder(["params"])
    model = Classifier(RandomSkipDenseNet(4, 1, [8, 16, 32], in_chans=1), schedule="constant")
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_steps=1,
        limit_val_batches=0,
        logger=False,
        callbacks=[recorder],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    batches: Any = DataLoader(TensorDataset(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])), batch_size=2)
    trainer.fit(model, batches)
    assert "No measures are recorded: Expected a data module of nnmass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"measures": ["nonsense"]}, "Expected the name of a measure, but got 'nonsense'"),
        ({"measures": []}, "Expected measures to name at least one measure, or all, but got"),
        ({"images": 0}, "Expected images to be"),
        ({"seed": -1}, "Expected seed to be"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MeasureRecorder(**arguments)
