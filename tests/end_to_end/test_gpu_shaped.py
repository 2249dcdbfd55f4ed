"""Trainings on a device without values: tensors of two devices never meet, and no step waits for the device."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gpu_shaped import GPU, STAND_IN, TRAININGS, OneDevice, StandIn, Waits, network, put, shaped, trainer_of
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nnmass import callbacks
from nnmass.datamodules import Digits
from nnmass.datamodules.augment import adjust_colours
from nnmass.studies.ensemble import batched as ensemble_torch
from nnmass.studies.ensemble.arrays import Samples
from nnmass.studies.ensemble.batched import train_batched
from nnmass.studies.ensemble.trainer import sample_order
from nnmass.zoo import Classifier, RandomSkipMLP, create_model, layer_spectra, topology
from nnmass.zoo.jacobian.estimates import estimate_spectrum
from nnmass.zoo.weights.preprocessing import normalise

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and make test-gpu for it")


class Known(Digits):
    """The digits, whose values are looked at before they have none."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.splits = {split: super(Known, self).load_checked(split) for split in ("train", "test")}  # type: ignore[arg-type]
        self.chosen = super().split(self.splits["train"][1])

    def load_checked(self, split: str) -> tuple[Tensor, Tensor]:
        return self.splits[split]

    def split(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.chosen


class Watch(Callback):
    """Keeps what was waited for from the first batch of each stage to the last one; the last of the callbacks.

    Args:
        waits: What is waited for at all.
    """

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self.found: dict[str, list[str]] = {}

    def _after(self, stage: str, batch_idx: int) -> None:
        if batch_idx == 0:
            self.waits.found.clear()
        self.found[stage] = [*self.waits.found]

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._after("training", batch_idx)

    def on_validation_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._after("validation", batch_idx)

    def on_test_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._after("test", batch_idx)


@pytest.mark.parametrize("name", TRAININGS)
def test_no_batch_waits_for_the_device(name: str, tmp_path: Path) -> None:
    """Loader, augmentation, steps and every callback, from the second batch on; ends of epochs may wait."""
    build, augmentation = TRAININGS[name]
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True)
    model = Classifier(build(), optimizer, interval="step", label_smoothing=0.1, channels_last=True)
    data = Known(batch_size=64, augmentation=augmentation)
    with shaped(STAND_IN) as waits:
        watch = Watch(waits)
        recording = [callbacks.FiniteLoss(), callbacks.DataWait(), callbacks.EpochLines(), callbacks.MetricsHistory()]
        recording += [callbacks.GradientBuckets(), callbacks.RandomState(), counting := callbacks.ConfusionMatrix()]
        options = {"strategy": OneDevice(STAND_IN), "limit_train_batches": 3}
        options["inference_mode"] = False  # in which composite operations are not told apart
        trainer = trainer_of([*recording, watch], tmp_path, logger=callbacks.MetricsTable(tmp_path), **options)
        trainer.fit(model, datamodule=data)
        assert (tmp_path / "metrics.csv").read_text().count("\n") == 2
        for parameter in model.parameters():
            assert parameter.device == STAND_IN
            assert parameter.grad is None or parameter.grad.device == STAND_IN
        trainer.validate(model, datamodule=data, verbose=False)
        trainer.test(model, datamodule=data, verbose=False)
        trainer.predict(model, datamodule=data)  # Lightning brings each batch's answers to the host
    assert watch.found == {"training": [], "validation": [], "test": []}
    assert counting._failure is None


@pytest.mark.parametrize("device", [GPU, STAND_IN])
def test_what_waits_is_found(device: torch.device) -> None:
    """The oracle of the test above."""
    cases: dict[str, Callable[[Tensor], Any]] = {
        "item": lambda x: x.sum().item(),
        "a truth": lambda x: bool((x > 0).all()),
        "a number made there": lambda x: torch.tensor([1.0, 2.0], device=x.device),
        "a copy": lambda x: x.cpu(),
        "a large copy": lambda x: torch.zeros(99_999).to(x.device, non_blocking=True),
        "a choice by mask": lambda x: x.__setitem__(x > 0, x[:2]),
        "a copy into": lambda x: x[:2].copy_(torch.ones(2)),
    }
    quiet: dict[str, Callable[[Tensor], Any]] = {
        "a small copy": lambda x: torch.zeros(9).to(x.device, non_blocking=True),
        "a fill by mask": lambda x: x.__setitem__(x > 0, 0.0),
        "a choice by index": lambda x: x[torch.zeros(2, dtype=torch.int64, device=x.device)],
        "made there": lambda x: torch.zeros(3, device=x.device) + 1,
        "the host's own": lambda x: torch.ones(2).sum().item(),
    }
    with shaped(device) as waits:
        for name, case in (cases | quiet).items():
            waits.found.clear()
            case(torch.zeros(3, device=device))
            assert bool(waits.found) == (name in cases), name
            assert all("test_gpu_shaped.py" in line for line in waits.found), waits.found
        with pytest.raises(RuntimeError, match="same device"):
            torch.zeros(3, device=device) + torch.zeros(3)


@pytest.mark.parametrize("name", ["dense_31_w2_10_35_50", "dsconv_31_w2_e1_30_50_100", "wrn18_2", "mobilenetv2_a"])
def test_forward_and_backward_of_the_zoo(name: str) -> None:
    model: Any = create_model(name)
    with shaped(STAND_IN) as waits:
        output = put(model, STAND_IN)(torch.zeros(2, *model.default_cfg["input_size"], device=STAND_IN))
        output.square().mean().backward()
    assert not waits.found
    assert all(parameter.grad.device == STAND_IN for parameter in model.parameters())


def test_bytes_are_divided_by_numbers_on_the_device() -> None:
    """By one of the host a GPU multiplies with the reciprocal, which is another number for half of the bytes."""
    divisors: list[Any] = []

    class Divisors(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function.overloadpacket in (torch.ops.aten.div, torch.ops.aten.div_):
                divisors.append(args[1])
            return function(*args, **(kwargs or {}))

    with shaped(STAND_IN), Divisors():
        images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8, device=STAND_IN)
        normalise(images, *torch.zeros(2, 3, device=STAND_IN))
    assert [getattr(divisor, "device", None) for divisor in divisors] == [STAND_IN, STAND_IN]


def test_colours_are_changed_on_the_device() -> None:
    with shaped(STAND_IN) as waits:
        images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8, device=STAND_IN)
        factors = torch.rand(3, 4, device=STAND_IN, generator=StandIn())
        assert adjust_colours(images, *factors).device == STAND_IN
    assert not waits.found


def test_the_members_of_an_ensemble_train_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    digits, seeds, epochs = Digits(), [0, 1], 2
    inputs, labels = digits.load_checked("test")
    networks = [RandomSkipMLP(depth, 8, 3, in_features=64, activation="relu") for depth in (6, 3)]
    samples = Samples.of(digits.prepare_eval(inputs), labels)
    orders = {(seed, epoch): sample_order(len(labels), 64, seed, epoch) for seed in seeds for epoch in range(epochs)}
    monkeypatch.setattr(ensemble_torch, "sample_order", lambda count, size, seed, epoch: orders[seed, epoch])
    with shaped(GPU):
        (first, *others) = train_batched(networks, seeds, samples, {"test": samples}, epochs, device=GPU)
    assert len(others) == 3
    assert first.metrics.keys() == {"train/loss", "train/accuracy", "test/loss", "test/accuracy"}


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (network, (4, 1, 8, 8)),
    "MLP": (lambda: RandomSkipMLP(6, 8, 3, in_features=20), (4, 20)),
    "sequence": (
        lambda: nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 5)),
        (4, 20),
    ),
}


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Record how the states of a GPU's generator are taken and put back."""
    calls: list[tuple[str, Any]] = []

    def take(device: Any = "the current one") -> Tensor:
        calls.append(("taken", device))
        return torch.zeros(16, dtype=torch.uint8)

    def put_back(state: Tensor, device: Any = "the current one") -> None:
        calls.append(("put back", device))

    monkeypatch.setattr(torch.cuda, "get_rng_state", take)
    monkeypatch.setattr(torch.cuda, "set_rng_state", put_back)
    return calls


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bn", ["batch", "eval"])
def test_jacobians_on_a_gpu_come_to_the_host(name: str, bn: Any, states: list[tuple[str, Any]]) -> None:
    build, shape = NETWORKS[name]
    model = build()
    with shaped(GPU):
        put(model, GPU)
        spectra = list(layer_spectra(model, torch.zeros(shape, device=GPU), bn, exact_up_to=9999))
        for found in spectra:
            assert found.spectrum.values.device == found.spectrum.weights.device == torch.device("cpu")
            assert found.spectrum.histogram()[0].shape == (32,)
            assert len(found.as_dict()["histogram"]) == 32
    assert len(spectra) > 2
    assert {device for _, device in states} == {GPU}
    assert len([call for call in states if call[0] == "taken"]) == len(states) / 2


def test_estimates_on_a_gpu_come_to_the_host() -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1)
    with shaped(STAND_IN):
        put(layer, STAND_IN)
        found = estimate_spectrum(layer, torch.zeros(2, 3, 8, 8, device=STAND_IN), torch.Generator(), probes=2, steps=4)
        assert found.values.device == found.weights.device == torch.device("cpu")


def trainer_on(device: torch.device, folder: Path, **entries: Any) -> Any:
    """Build a trainer with the attributes that recorders read at the first batch."""
    facts = {"current_epoch": 0, "global_step": 0, "global_rank": 0, "world_size": 1, "is_global_zero": True}
    strategy = OneDevice(device)
    return SimpleNamespace(
        **facts, strategy=strategy, default_root_dir=folder, fast_dev_run=True, loggers=[], **entries
    )


def test_recorders_of_the_network_record_on_a_gpu(
    tmp_path: Path, states: list[tuple[str, Any]], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Log(SimpleNamespace):
        def log_metrics(self, figures: dict[str, float], step: int) -> None:
            vars(self).update(figures)

    model: LightningModule = Classifier(network())
    log = Log()
    trainer = trainer_on(GPU, tmp_path, datamodule=Digits(), ckpt_path=None)
    trainer.loggers.append(log)
    with shaped(GPU):
        put(model, GPU)
        callbacks.TopologyRecorder().on_fit_start(trainer, model)
        batch = (torch.zeros(8, 1, 8, 8, device=GPU), None)
        callbacks.JacobianRecorder(exact_up_to=9999).on_train_batch_start(trainer, model, batch, 0)
    out = capsys.readouterr().out
    assert "is recorded" not in out
    assert vars(log)["topology/num_params"] == topology(network(), (1, 8, 8)).num_params
    assert "jacobian/mean_singular_value" in vars(log)
    assert {device for _, device in states} == {GPU}


def test_the_generator_of_the_trainings_own_gpu_is_saved_and_restored(
    tmp_path: Path, states: list[tuple[str, Any]]
) -> None:
    recorder, trainer, checkpoint = callbacks.RandomState(), trainer_on(GPU, tmp_path), {}
    module: Any = None
    recorder.on_save_checkpoint(trainer, module, checkpoint)
    recorder.on_load_checkpoint(trainer, module, checkpoint)
    recorder.on_train_start(trainer, module)
    assert states == [("taken", GPU), ("put back", GPU)]
    recorder.on_load_checkpoint(trainer, module, checkpoint)
    recorder.on_train_start(trainer_on(torch.device("cpu"), tmp_path), module)
    assert len(states) == 2
