"""Recorders that fail: the training goes on as if there were none, one line says so, and no process waits for ever."""

import os
import random
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.multiprocessing import spawn

from nnmass import callbacks
from nnmass.callbacks.recorder import NetworkRecorder
from nnmass.datamodules import Digits
from nnmass.zoo import Classifier, hidden_mean, layer_spectra, topology


class Difficult(nn.Sequential):
    """Draws in every step; where somebody else than the training calls it, it may draw, change itself and raise."""

    error: Exception | None = None
    num_classes = 10

    def __init__(self) -> None:
        hidden = (nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 24), nn.ReLU())
        super().__init__(nn.Flatten(), *hidden, nn.Linear(24, 10))

    def forward(self, x: Tensor) -> Tensor:
        if self.error is not None and not self.training:
            draws = (random.random(), np.random.random(), torch.rand(1))
            self.train(draws is not None)
            raise self.error
        return super().forward(x)


def failing(place: str, error: Exception) -> tuple[str, Any]:
    """Name an attribute, and a function in its place that raises."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    return place, fail


FULL = OSError(28, "No space left on device", "file")
JACOBIAN, TOPOLOGY = "No Jacobian is recorded: ", "No topology is recorded: "
CURVES, MATRIX = "No learning curves are drawn: ", "No confusion matrix is recorded: "
UNTRACEABLE = "Expected a network that torch"
# What fails, and how the lines begin that say so.
FAILURES: dict[str, tuple[tuple[str, Any], list[str]]] = {
    "forward": (
        ("test_recorder.Difficult.error", RuntimeError("odd")),
        [TOPOLOGY + UNTRACEABLE, JACOBIAN + UNTRACEABLE],
    ),
    "memory": (
        failing("nnmass.callbacks.jacobian_recorder.layer_spectra", torch.OutOfMemoryError("CUDA out of memory")),
        [JACOBIAN + "CUDA out of memory"],
    ),
    "decomposition": (
        failing("nnmass.zoo.jacobian.spectra._spectrum", torch.linalg.LinAlgError("no convergence")),
        [JACOBIAN + "no convergence"],
    ),
    "spectra": (
        failing("nnmass.callbacks.jacobian_recorder.draw_spectra", RuntimeError("in a font")),
        [JACOBIAN + "in a font"],
    ),
    "table": (
        failing("nnmass.callbacks.jacobian_recorder.write_table", FULL),
        [JACOBIAN + "file: No space left on device"],
    ),
    "curve": (failing("nnmass.callbacks.curves.draw_curve", KeyError("epoch")), [CURVES + "KeyError: 'epoch'"]),
    "curves": (failing("nnmass.callbacks.curves.write_figure", FULL), [CURVES + "file: No space left on device"]),
    "counts": (("nnmass.zoo.Classifier.test_step", lambda *_: None), [MATRIX + "'NoneType' object has no attribute"]),
    "matrix": (failing("nnmass.callbacks.confusion_matrix.write_atomically", FULL), [MATRIX + "file: No space left"]),
}


class States(Callback):
    """All that a recorder could disturb, after it at each batch."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, ...]] = []

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        tensors = [value.sum().item() for value in module.state_dict().values()]
        modes = [part.training for part in module.modules()]
        hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()]
        gradients = [value.grad is None for value in module.parameters()]
        numpy_state: Any = np.random.get_state()
        generators = (torch.get_rng_state().tolist(), random.getstate(), numpy_state[1].tolist(), numpy_state[2])
        self.found.append((tensors, modes, hooks, gradients, generators))


def train(folder: Path, recorders: list[Callback]) -> tuple[list[tuple[Any, ...]], dict[str, Tensor]]:
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(0)
    model = Classifier(Difficult(), partial(torch.optim.SGD, lr=0.1))
    states = States()
    trainer = Trainer(
        max_epochs=3,
        limit_train_batches=2,
        accelerator="cpu",
        logger=callbacks.MetricsTable(folder),
        callbacks=[*recorders, states],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    data = Digits()
    trainer.fit(model, datamodule=data)
    Difficult.error = None
    trainer.test(model, datamodule=data, verbose=False)
    return states.found, model.state_dict()


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_said_once_and_the_training_is_the_one_without(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, weights = train(tmp_path / "without", [])
    replacement, said = FAILURES[name]
    monkeypatch.setattr(*replacement)
    recorders = [callbacks.TopologyRecorder(), callbacks.JacobianRecorder(every_k_epochs=1)]
    recorders += [callbacks.LearningCurves(), callbacks.ConfusionMatrix()]
    capsys.readouterr()
    found, same = train(tmp_path / "with", recorders)
    assert found == expected
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("No ")]
    assert len(lines) == len(said), lines
    assert all(line.startswith(beginning) for line, beginning in zip(lines, said, strict=True)), lines


def test_an_interrupted_training_whose_curves_cannot_be_drawn_ends_with_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class Broken(Callback):
        def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
            if trainer.current_epoch == 1:
                raise ArithmeticError("the training's own")

    monkeypatch.setattr(*FAILURES["curve"][0])
    with pytest.raises(ArithmeticError, match="own"):
        train(tmp_path, [callbacks.LearningCurves(), Broken()])
    assert capsys.readouterr().out.count("No learning curves are drawn") == 1


@pytest.mark.parametrize("kind", [FSDPStrategy, ModelParallelStrategy, DeepSpeedStrategy])
def test_of_a_network_that_is_spread_over_the_processes_nothing_is_measured(
    kind: type, capsys: pytest.CaptureFixture
) -> None:
    """The console says so before the training; no process measures, and none waits."""
    strategy = object.__new__(kind)  # of which there can be none on a processor
    module: Any = None
    for rank in (1, 0):
        trainer: Any = SimpleNamespace(world_size=2, is_global_zero=rank == 0, strategy=strategy)
        trainer.current_epoch = trainer.global_step = 0
        for recorder in (callbacks.JacobianRecorder(), callbacks.TopologyRecorder()):
            recorder.setup(trainer, module, "fit")
            recorder.setup(trainer, module, "test")
            out = capsys.readouterr().out
            said = f"{recorder.missed}: {kind.__name__} does not keep the whole network in one process.\n"
            assert out == (said if rank == 0 else "")
            recorder.on_fit_start(trainer, module)
            recorder.on_train_batch_start(trainer, module, (torch.zeros(1),), 0)
            assert capsys.readouterr().out == ""


def test_synchronised_normalisation_is_measured_by_one_process_alone() -> None:
    """Its exchange takes place in training only, and a measurement is made of a copy that does not train."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    plain = nn.Sequential(plain, nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten()).train()
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(plain)
    batch = torch.randn(3, 3, 9, 9)
    found, expected = (hidden_mean(layer_spectra(network, batch)) for network in (synchronised, plain))
    assert found == expected
    assert topology(synchronised, (3, 9, 9)).macs == topology(plain, (3, 9, 9)).macs


class InOneOfTwo(DDPStrategy):
    """A strategy as it is in one of two processes."""

    @property
    def root_device(self) -> torch.device:
        return torch.device("cpu")


class Rank:
    """A trainer in one of two processes, with the attributes that recorders read."""

    world_size, fast_dev_run, ckpt_path, datamodule, checkpoint_callback = 2, False, None, None, None

    def __init__(self, rank: int, folder: str) -> None:
        self.is_global_zero, self.default_root_dir = rank == 0, folder
        self.strategy, self.loggers = InOneOfTwo(), []


class Measuring(NetworkRecorder):
    missed = "Nothing is recorded"


def exchange() -> None:
    dist.all_reduce(torch.ones(1))


def slow() -> None:
    time.sleep(5)


def broken() -> None:
    raise OSError("no disk")


def in_one_of_two(rank: int, folder: str) -> None:
    """Each thing that may happen to the first process while the second one waits."""
    group = f"file://{folder}/group"
    (Path(folder) / f"here.{rank}").touch()
    while not (Path(folder) / f"here.{1 - rank}").exists():  # else one waits for the other's imports
        time.sleep(0.01)
    dist.init_process_group("gloo", init_method=group, rank=rank, world_size=2, timeout=timedelta(seconds=3))
    trainer: Any = Rank(rank, folder)
    for record in (broken, exchange, slow):
        Measuring().measure(trainer, record)
        total = torch.ones(1)
        dist.all_reduce(total)  # both are there, and at one
        assert total == 2
    model: Any = SimpleNamespace(num_classes=3, device="cpu")
    labels = torch.tensor([0, 1, 2, rank])
    for outputs in (nn.functional.one_hot(labels, 3), torch.zeros(4, 2) if rank else torch.zeros(4, 3)):
        matrix = callbacks.ConfusionMatrix()
        matrix.on_test_start(trainer, model)
        matrix.on_test_batch_end(trainer, model, outputs, (None, labels), 0)
        matrix.on_test_end(trainer, model)
    print(f"rank {rank} is at its end", flush=True)
    if rank == 0:
        Measuring().measure(trainer, lambda: os._exit(0))  # killed, as it were
    began = time.monotonic()
    with pytest.raises(RuntimeError):
        Measuring().measure(trainer, slow)
    assert time.monotonic() - began < 60


def test_two_processes_wait_as_long_as_it_takes_and_no_longer(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    spawn(in_one_of_two, (str(tmp_path),), nprocs=2)
    out = capfd.readouterr().out
    assert out.count("Nothing is recorded: ") == 2
    assert "Nothing is recorded: no disk\n" in out
    assert "Nothing is recorded: Expected a network that one process can run alone, but it calls c10d." in out
    assert out.count("No confusion matrix is recorded: shape '[4, 3]' is invalid") == 1
    assert sorted(line for line in out.splitlines() if "end" in line) == [
        f"rank {rank} is at its end" for rank in (0, 1)
    ]
    rows = (tmp_path / "confusion_matrix.csv").read_text().splitlines()
    assert rows == ["true class,0,1,2", "0,3,0,0", "1,0,3,0", "2,0,0,2"]
