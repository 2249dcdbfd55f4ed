"""Trainings, recorders and fast passes on real GPUs, on all that this machine has. ``make test-gpu`` runs them."""

import copy
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, SUPPORT
from gpu_shaped import TRAININGS, trainer_of
from pytorch_lightning import Callback, Trainer
from test_processes import config
from test_shared_outputs import SHAPES, assert_close, pair, step
from torch import Tensor, nn

from nnmass import callbacks
from nnmass.commands.main import main
from nnmass.datamodules import Digits
from nnmass.zoo import (
    Classifier,
    RandomSkipDenseNet,
    RandomSkipMLP,
    create_model,
    hidden_mean,
    layer_spectra,
    pass_in_use,
    topology,
)
from nnmass.zoo.fast import proof
from nnmass.zoo.jacobian.estimates import estimate_spectrum
from nnmass.zoo.precision import tf32
from nnmass.zoo.training.cuda_graph import TrainingGraph

pytestmark = pytest.mark.gpu

SEARCHED = [str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(SEARCHED)}
DIGITS = ["--config", "digits_dense.yaml", "--trainer.accelerator", "gpu", "--trainer.max_epochs", 2]
GRAPH_AND_PASS = "--model.cuda_graph true --model.network.share_outputs true"
RECORDER = ["--trainer.callbacks+=nnmass.callbacks.JacobianRecorder", "--trainer.callbacks.every_k_epochs=1"]


class Strict(Callback):
    """Lets an operation that waits for the device raise, from the second batch of each stage to its last one."""

    def _after(self, batch_idx: int, batches: Any) -> None:
        last = batch_idx + 1 >= (sum(batches) if isinstance(batches, list) else batches)
        torch.cuda.set_sync_debug_mode("default" if last else "error")

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._after(batch_idx, trainer.num_training_batches)

    def on_validation_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._after(batch_idx, trainer.num_val_batches)

    def on_test_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._after(batch_idx, trainer.num_test_batches)

    def on_exception(self, trainer: Trainer, module: Any, exception: BaseException) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", TRAININGS)
def test_no_batch_waits_for_the_device(name: str, precision: Any, gpu: torch.device, tmp_path: Path) -> None:
    build, augmentation = TRAININGS[name]
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    model = Classifier(build(), optimizer, interval="step", label_smoothing=0.1, channels_last=True)
    data = Digits(batch_size=64, augmentation=augmentation)
    recorders = [callbacks.FiniteLoss(), callbacks.DataWait(), callbacks.ConfusionMatrix(), callbacks.RandomState()]
    options = {"accelerator": "gpu", "devices": [gpu.index], "precision": precision, "num_sanity_val_steps": 0}
    trainer = trainer_of([*recorders, Strict()], tmp_path, limit_train_batches=8, **options)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    assert torch.cuda.get_sync_debug_mode() == 0
    assert pd.read_csv(tmp_path / "confusion_matrix.csv", index_col=0).to_numpy().sum() == 360


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ["MLP", "dense"])
def test_a_training_is_the_processors(name: str, shared: bool, gpu: torch.device, tmp_path: Path) -> None:
    """In double precision, over a whole epoch, as is the test."""
    found = []
    for options in ({"accelerator": "cpu"}, {"accelerator": "gpu", "devices": [gpu.index]}):
        network: nn.Module = RandomSkipMLP(5, 8, 3, in_features=64, share_outputs=shared)
        if name == "dense":
            network = RandomSkipDenseNet(4, 1, 8, in_chans=1, share_outputs=shared)
        model = Classifier(network, partial(torch.optim.SGD, lr=0.05, momentum=0.9))
        trainer = trainer_of([callbacks.ConfusionMatrix()], tmp_path, precision="64-true", **options)  # type: ignore[arg-type]
        trainer.fit(model, datamodule=Digits(batch_size=100))
        (figures,) = trainer.test(model, datamodule=Digits(), verbose=False)
        table = (tmp_path / "confusion_matrix.csv").read_text()
        found.append((model.state_dict(), figures, table))
    (weights, figures, table), (others, other_figures, other_table) = found
    for key, value in weights.items():
        torch.testing.assert_close(others[key].cpu(), value, rtol=1e-7, atol=1e-8)
    assert other_figures == pytest.approx(figures, abs=1e-5)  # the metrics sum up in single precision
    assert other_table == table


@pytest.mark.parametrize("arguments", SHAPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_pass_on_shared_outputs_is_the_plain_one(
    arguments: dict[str, Any], memory_format: torch.memory_format, gpu: torch.device
) -> None:
    cell, plain = (network.to(gpu) for network in pair(share_outputs=True, **arguments))
    plain.share_outputs = False
    x = torch.randn(5, arguments["in_channels"], 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(2):  # the second step begins with the statistics of the first
        found, expected = (step(network, x.to(gpu, memory_format=memory_format)) for network in (cell, plain))
        assert_close(found, expected, 1e-10)
    assert cell.ran_on_shared_outputs
    assert not plain.ran_on_shared_outputs


@pytest.mark.parametrize("enabled", [True, False])
def test_the_fast_pass_stands_its_proof_whether_tf32_is_on_or_off(
    enabled: bool, gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `fit` has it on: convolutions of another memory format are rounded otherwise then."""
    monkeypatch.setattr(proof, "_proved", {})
    network = RandomSkipDenseNet(4, 1, 8, in_chans=1, share_outputs=True).to(gpu)
    with tf32(enabled):
        network(torch.randn(2, 1, 8, 8, device=gpu)).sum().backward()
    assert pass_in_use(network) == "shared outputs"


SPECTRA: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (partial(RandomSkipDenseNet, 3, 1, 8, in_chans=1), (4, 1, 8, 8)),
    "MLP": (partial(RandomSkipMLP, 6, 8, 3, in_features=20), (4, 20)),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("exact_up_to", [9999, 0])
def test_jacobians_are_the_processors(name: str, exact_up_to: int, gpu: torch.device) -> None:
    build, shape = SPECTRA[name]
    network = build().double()
    batch = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.cuda.device(gpu):
        torch.cuda.manual_seed(1)
        state = torch.cuda.get_rng_state()
        spectra = list(layer_spectra(copy.deepcopy(network).to(gpu), batch.to(gpu), exact_up_to=exact_up_to))
        assert torch.equal(state, torch.cuda.get_rng_state())
    expected = list(layer_spectra(network, batch, exact_up_to=exact_up_to))
    close = 1e-9 if exact_up_to else 1e-4  # Lanczos' recurrence makes much of rounding
    for one, other in zip(spectra, expected, strict=True):
        assert one.spectrum.values.device.type == "cpu"
        assert sum(one.as_dict()["histogram"]) == pytest.approx(1)
        assert one.spectrum.mean.value == pytest.approx(other.spectrum.mean.value, rel=close)
        assert one.spectrum.largest.value == pytest.approx(other.spectrum.largest.value, rel=close)


def test_an_estimate_comes_to_the_host(gpu: torch.device) -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1).to(gpu)
    found = estimate_spectrum(layer, torch.randn(2, 3, 8, 8, device=gpu), torch.Generator().manual_seed(0))
    assert found.values.device == found.weights.device == torch.device("cpu")
    assert found.mean.value > 0


def test_a_recorder_that_runs_out_of_memory_lets_the_training_go_on(
    gpu: torch.device, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    probes = 10**9  # of which a terabyte is asked of the GPU, before anything is drawn on the host
    recorder = callbacks.JacobianRecorder(every_k_epochs=1, exact_up_to=0, probes=probes)
    trainer = trainer_of([recorder], tmp_path, accelerator="gpu", devices=[gpu.index], max_epochs=2)
    trainer.fit(Classifier(RandomSkipDenseNet(3, 1, 8, in_chans=1)), datamodule=Digits())
    assert trainer.current_epoch == 2
    assert capsys.readouterr().out.count("No Jacobian is recorded: CUDA out of memory") == 1


def test_the_generator_of_the_gpu_goes_on_where_it_was(gpu: torch.device, tmp_path: Path) -> None:
    trainer = trainer_of([], tmp_path, accelerator="gpu", devices=[gpu.index])
    model, recorder, checkpoint = Classifier(nn.Linear(64, 10), num_classes=10), callbacks.RandomState(), {}
    recorder.on_save_checkpoint(trainer, model, checkpoint)
    drawn = torch.rand(3, device=gpu)
    recorder.on_load_checkpoint(trainer, model, checkpoint)
    recorder.on_train_start(trainer, model)
    assert torch.equal(torch.rand(3, device=gpu), drawn)


def test_the_topology_is_that_of_the_processor(gpu: torch.device) -> None:
    network = RandomSkipDenseNet(4, 1, 8, in_chans=1)
    expected = topology(network, (1, 8, 8)).as_dict()
    assert topology(network.to(gpu), (1, 8, 8)).as_dict() == expected


GRAPHED: dict[str, Callable[[], nn.Module]] = {
    "dense": partial(RandomSkipDenseNet, 4, 1, 8, in_chans=1),
    "dense, plain": partial(RandomSkipDenseNet, 4, 1, 8, in_chans=1, share_outputs=False),
    "depthwise-separable": partial(RandomSkipDenseNet, 4, 1, 8, in_chans=1, expansion=1, share_outputs=True),
    "MLP": partial(RandomSkipMLP, 5, 8, 3, in_features=64),
}


@pytest.mark.parametrize("name", GRAPHED)
@pytest.mark.parametrize(("accumulated", "precision"), [(1, "64-true"), (2, "64-true"), (1, "bf16-mixed")])
def test_a_training_that_is_replayed_is_the_same(
    name: str, accumulated: int, precision: Any, gpu: torch.device, tmp_path: Path
) -> None:
    """Over two epochs, each with a smaller batch at its end, and an evaluation after each."""
    found = []
    for graphed in (False, True):
        optimizer = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
        model = Classifier(GRAPHED[name](), optimizer, channels_last=True, cuda_graph=graphed)
        options = {"accelerator": "gpu", "devices": [gpu.index], "precision": precision, "max_epochs": 2}
        trainer = trainer_of([], tmp_path, accumulate_grad_batches=accumulated, **options)
        trainer.fit(model, datamodule=Digits(batch_size=100))
        if graphed and accumulated == 1:
            assert model._training_graph.replays > 20  # type: ignore[union-attr]
        found.append((model.state_dict(), float(trainer.callback_metrics["val/loss"])))
    (weights, loss), (others, other_loss) = found
    close = {"rtol": 1e-7, "atol": 1e-8} if precision == "64-true" else {"rtol": 0.1, "atol": 0.05}
    for key, value in weights.items():
        torch.testing.assert_close(others[key], value, **close)
    assert other_loss == pytest.approx(loss, rel=1e-5 if precision == "64-true" else 0.1)


def test_a_network_that_looks_at_values_is_refused_with_the_switch_that_helps(gpu: torch.device) -> None:
    class Looking(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float(x.sum())

    with pytest.raises(RuntimeError, match="to run as a CUDA graph, but .*; --model.cuda_graph false runs it"):
        TrainingGraph()(Looking(3, 2).to(gpu), torch.ones(4, 3, device=gpu))


def test_what_was_moved_is_captured_again(gpu: torch.device, request: pytest.FixtureRequest) -> None:
    graph, network = TrainingGraph(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(gpu)
    x = torch.randn(8, 3, device=gpu)
    graph(network, x).sum().backward()
    before = gc.get_threshold()
    request.addfinalizer(lambda: gc.set_threshold(*before))
    gc.set_threshold(1, 1, 1)  # what was captured is in a cycle, and must not be freed during the next capture
    network.cpu()
    network.to(gpu)
    network[0].weight.data.mul_(2)
    with torch.no_grad():
        expected = copy.deepcopy(network)(x)
    torch.testing.assert_close(graph(network, x).detach(), expected)
    assert int(network[1].num_batches_tracked) == 2
    assert graph.replays == 2


def only_run(output_dir: Path) -> Path:
    (folder,) = (path for path in output_dir.iterdir() if path.is_dir() and not path.is_symlink())
    return folder


def finished(folder: Path, processes: int) -> dict[str, Any]:
    run = json.loads((folder / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["world_size"] == processes
    assert torch.cuda.get_device_name() == run["device"]
    assert pd.read_csv(folder / "confusion_matrix.csv", index_col=0).to_numpy().sum() == 360
    assert pd.read_csv(folder / "jacobian.csv")["epoch"].unique().tolist() == [0, 1]
    return run


@pytest.mark.parametrize("options", ["", "--trainer.precision bf16-mixed", GRAPH_AND_PASS])
def test_fit_on_one_gpu_and_what_follows_it(options: str, gpu: torch.device, tmp_path: Path, nnmass: Callable) -> None:
    one = ["--trainer.devices", f"[{gpu.index}]", *options.split()]
    done = nnmass("fit", *DIGITS, *one, *RECORDER, "--output_dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "is recorded" not in done.stdout
    assert "prototype feature" not in done.stderr  # which torch says of its own debugging
    run = finished(only_run(tmp_path), 1)
    assert (run["forward_pass"] == "shared outputs") is (options == GRAPH_AND_PASS)
    for command in ("test", "validate"):
        done = nnmass(command, *DIGITS, *one, *RECORDER, "--output_dir", tmp_path, "--ckpt_path", "best")
        assert done.returncode == 0, done.stderr
        if command == "test":
            assert f"{run['test']['test/accuracy']:.4f}" in done.stdout


@pytest.mark.parametrize("sync", ["false", "true"])
def test_fit_on_all_gpus(sync: str, tmp_path: Path, nnmass: Callable) -> None:
    """Over NCCL, with every callback, and the first process measuring while the others wait."""
    count = torch.cuda.device_count()
    words = ["--trainer.devices", count, "--trainer.strategy", "ddp", "--trainer.sync_batchnorm", sync]
    done = nnmass("fit", *DIGITS, *words, *RECORDER, "--output_dir", tmp_path, **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "is recorded" not in done.stdout
    finished(only_run(tmp_path), count)


def test_torchrun_on_all_gpus(tmp_path: Path) -> None:
    """The processes agree over gloo before they train over NCCL."""
    count = torch.cuda.device_count()
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    words = ["fit", *DIGITS, "--trainer.devices", count, "--trainer.strategy", "ddp", *RECORDER]
    done = subprocess.run(
        [*launcher, str(ROOT / "cli.py"), *map(str, [*words, "--output_dir", tmp_path])],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    finished(only_run(tmp_path), count)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_gradients_of_two_gpus_are_those_of_one_with_the_whole_batch(tmp_path: Path, nnmass: Callable) -> None:
    """In double precision, through two epochs that each end with batches of unlike sizes."""
    weights = []
    for devices, batch_size, lr in ((1, 64, 0.02), (2, 32, 0.01)):
        file = config(tmp_path, batch_size, lr)
        content = yaml.safe_load(file.read_text())
        content["trainer"]["accelerator"] = "gpu"
        file.write_text(yaml.safe_dump(content))
        done = nnmass("fit", "--config", file, "--trainer.devices", devices, "--output_dir", tmp_path / str(devices))
        assert done.returncode == 0, done.stderr
        checkpoint = only_run(tmp_path / str(devices)) / "checkpoints" / "last.ckpt"
        weights.append(torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"])
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-9, atol=1e-11)


def test_a_run_that_is_stopped_goes_on_to_the_same_weights(gpu: torch.device, tmp_path: Path, nnmass: Callable) -> None:
    """With dropout, whose masks the GPU's generator draws."""
    network = {"class_path": "interruptions.DropoutNetwork", "init_args": {"features": 64, "num_classes": 10}}
    data = {"class_path": "nnmass.datamodules.Digits", "init_args": {"batch_size": 64}}
    trainer = {"max_epochs": 2, "accelerator": "gpu", "devices": [gpu.index], "deterministic": "warn"}
    file = tmp_path / "dropout.yaml"
    file.write_text(yaml.safe_dump({"model": {"network": network}, "data": data, "trainer": trainer}))
    environment = {**ENVIRONMENT, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    stop = [
        "--trainer.callbacks+=interruptions.Signal",
        "--trainer.callbacks.stage=train",
        "--trainer.callbacks.count=25",
    ]
    weights = []
    for name, parts in (("whole", [[]]), ("parts", [stop, ["--ckpt_path", "last"]])):
        for words, status in zip(parts, [75, 0] if len(parts) == 2 else [0], strict=True):
            done = nnmass("fit", "--config", file, "--output_dir", tmp_path / name, *words, **environment)
            assert done.returncode == status, done.stderr
        checkpoint = only_run(tmp_path / name) / "checkpoints" / "last.ckpt"
        weights.append(torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_inspect_computes_jacobians_there(gpu: torch.device, capsys: pytest.CaptureFixture) -> None:
    assert main(["inspect", "mlp_d16_w8_t2", "--ldi", "--device", f"cuda:{gpu.index}"]) == 0
    inputs = torch.randn(4, 784, generator=torch.Generator().manual_seed(0))
    expected = hidden_mean(layer_spectra(create_model("mlp_d16_w8_t2"), inputs))
    line = next(line for line in capsys.readouterr().out.splitlines() if "of the hidden layers" in line)
    assert float(line.split()[-1]) == pytest.approx(expected, abs=2e-4)
