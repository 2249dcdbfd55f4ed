"""The LightningModule: schedule against its closed form, metrics, arguments."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from gpu_shaped import device_waits
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import SGD
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from nnmass.zoo import Classifier


def loader(samples: int = 40, batch: int = 4) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.rand(samples, 6, generator=generator), torch.arange(samples) % 3)
    return DataLoader(data, batch_size=batch)


class Rates(Callback):
    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def train(model: Classifier, epochs: int, **options: Any) -> Rates:
    rates = Rates()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=epochs, callbacks=[rates], accelerator="cpu", **quiet, **options)  # type: ignore[arg-type]
    trainer.fit(model, loader(), loader())
    return rates


def network() -> nn.Module:
    return nn.Linear(6, 3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_cosine_per_step_with_warm_up_is_the_closed_form(accumulate: int) -> None:
    model = Classifier(
        network(), partial(SGD, lr=0.4), interval="step", warmup_epochs=1, num_classes=3, label_smoothing=0.1
    )
    rates = train(model, 4, accumulate_grad_batches=accumulate).rates[::accumulate]
    steps, warmup = 40 // accumulate, 10 // accumulate
    assert len(rates) == steps
    for step, rate in enumerate(rates):
        if step < warmup:
            expected = 0.4 * (0.01 + 0.99 * step / warmup)
        else:
            expected = 0.2 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        assert rate == pytest.approx(expected, abs=1e-9)


def test_cosine_per_epoch_is_the_papers() -> None:
    rates = train(Classifier(network(), partial(SGD, lr=0.05), num_classes=3), 5).rates
    for step, rate in enumerate(rates):
        assert rate == pytest.approx(0.025 * (1 + math.cos(math.pi * (step // 10) / 5)), abs=1e-9)


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_the_rate_is_scaled_by_the_batches_of_a_step(scaling: Any, factor: int) -> None:
    model = Classifier(network(), partial(SGD, lr=0.05), schedule="constant", num_classes=3, lr_scaling=scaling)
    rates = train(model, 1, accumulate_grad_batches=4).rates
    assert rates == [pytest.approx(0.05 * factor)] * 10


def test_constant_stays() -> None:
    rates = train(Classifier(network(), partial(SGD, lr=0.05), schedule="constant", num_classes=3), 2).rates
    assert set(rates) == {0.05}


@pytest.mark.parametrize("end", [{"max_steps": 13}, {"max_time": "00:00:00:01"}])
def test_a_training_that_epochs_do_not_end_warms_up_by_the_epoch(end: dict[str, Any]) -> None:
    model = Classifier(
        network(), partial(SGD, lr=0.05), schedule="constant", interval="step", warmup_epochs=1, num_classes=3
    )
    rates = train(model, -1, **end).rates
    assert rates[:12] == pytest.approx([0.05 * (0.01 + 0.99 * min(step / 10, 1)) for step in range(12)])


@pytest.mark.parametrize("precision", [torch.uint8, torch.int16, torch.int32])
def test_labels_may_be_integers_of_any_width(precision: torch.dtype) -> None:
    inputs, labels = torch.rand(12, 6), torch.arange(12) % 3
    found = []
    for given in (labels, labels.to(precision)):
        torch.manual_seed(0)
        model = Classifier(nn.Linear(6, 3), num_classes=3)
        trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
        data = DataLoader(TensorDataset(inputs, given), batch_size=4)
        trainer.fit(model, data, data)
        found.append({name: float(value) for name, value in trainer.callback_metrics.items()})
    assert found[0] == found[1]


def test_accuracy_is_the_share_of_right_answers_not_the_mean_over_classes() -> None:
    model = Classifier(nn.Identity(), num_classes=3)
    labels = torch.tensor([0, 0, 0, 0, 1, 2])
    answers = torch.tensor([0, 0, 0, 0, 2, 2])
    model.test_metrics.update(nn.functional.one_hot(answers, 3).float(), labels)
    assert model.test_metrics.compute()["test/accuracy"] == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "linear"}, "schedule to be one of cosine, constant, but got 'linear'"),
        ({"interval": "day"}, "interval to be one of epoch, step"),
        ({"warmup_epochs": -1}, "warmup_epochs to be at least 0, but got -1"),
        ({"label_smoothing": 1.0}, "label_smoothing to lie in"),
        ({"num_classes": None}, "num_classes, or network.num_classes, of at least 2, but got None"),
        ({"num_classes": 1}, "of at least 2, but got 1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier(network(), **{"num_classes": 3, **arguments})


def test_a_warm_up_as_long_as_the_training_is_refused() -> None:
    with pytest.raises(ValueError, match="warmup_epochs to be shorter than the training, but got 2"):
        train(Classifier(network(), warmup_epochs=2, num_classes=3), 2)


def test_another_architecture_is_refused_by_name() -> None:
    model = Classifier(network(), num_classes=3)
    with pytest.raises(ValueError, match=r"network.weight is \(4, 6\) in the checkpoint and \(3, 6\) in the network"):
        model.on_load_checkpoint({"state_dict": Classifier(nn.Linear(6, 4), num_classes=4).state_dict()})


def test_a_training_step_reads_nothing_back_from_the_device() -> None:
    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert function is not torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    class Looking(Classifier):
        def training_step(self, *arguments: Any) -> torch.Tensor:
            with Reads():
                return super().training_step(*arguments)

    train(Looking(network(), partial(SGD, lr=0.05), num_classes=3), 1)
    with pytest.raises(AssertionError), Reads():
        torch.zeros(1).item()


def test_the_weight_of_a_last_batch_is_not_read_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Classifier(nn.Linear(2, 3), num_classes=3)
    monkeypatch.setattr(model, "_of_all", lambda size: torch.stack([size, torch.full_like(size, 3)]))
    assert model._share_of_mean(5) == 5 * 2 / (5 + 3)
    monkeypatch.setattr(Classifier, "device", torch.device("cuda"))
    with device_waits() as waits:
        assert model._share_of_mean(5).device.type == "cuda"
        assert waits == []
