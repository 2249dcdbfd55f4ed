"""MLPs trained together against each of them trained alone."""

import copy
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from nnmass.datamodules import Digits, Seg
from nnmass.studies.ensemble.arrays import Samples
from nnmass.studies.ensemble.batched import train_batched
from nnmass.studies.ensemble.kernel import compiled
from nnmass.studies.ensemble.trainer import train_together
from nnmass.zoo import Classifier, RandomSkipMLP


def adam(parameters: Any) -> torch.optim.Adam:
    return torch.optim.Adam(parameters)


def alone(network: RandomSkipMLP, data: Any, epochs: int) -> Any:
    """Through the Trainer, as ``nnmass fit`` does it."""
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    model = Classifier(network, adam, schedule="constant")
    trainer.fit(model, datamodule=data)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
    assert logged
    return trainer.test(model, datamodule=data, verbose=False)[0], logged


def samples(data: Any, split: Any) -> Samples:
    inputs, labels = data.load_checked(split)
    return Samples.of(data.prepare_eval(inputs), labels)


CASES: list[dict[str, Any]] = [
    {"depth": 16, "tc": 8, "seed": 3},
    {"depth": 32, "tc": 0, "seed": 1},
    {"depth": 5, "tc": 99, "seed": 2, "activation": "relu"},
    {"depth": 2, "tc": 0, "seed": 0},
    {"depth": 4, "tc": 2, "seed": 0, "width": 1},
]


def test_each_member_is_the_network_that_it_is_alone() -> None:
    """More than a hundred steps, batches of unlike size, members of unlike depth and width on two threads."""
    built = [RandomSkipMLP(**{"width": 8, "in_features": 64, **case}) for case in CASES]
    together = copy.deepcopy(built)
    data = Digits(batch_size=48, val_on_test=True)
    results = list(
        train_together(
            together,
            [case["seed"] for case in CASES],
            samples(data, "train"),
            {"test": samples(data, "test")},
            epochs=4,
            batch_size=48,
            workers=2,
        )
    )
    assert len(results) == 4 * len(CASES)
    for number, (network, case) in enumerate(zip(built, CASES, strict=True)):
        metrics, logged = alone(network, Digits(batch_size=48, val_on_test=True, seed=case["seed"]), epochs=4)
        for name, value in network.named_parameters():
            assert (value - together[number].get_parameter(name)).abs().max() <= 1e-5, (case, name)
        mine = [result for result in results if result.member == number]
        assert [result.epoch for result in mine] == [0, 1, 2, 3]
        for name, tolerance in (("test/loss", 1e-4), ("test/accuracy", 1e-6)):
            assert mine[-1].metrics[name] == pytest.approx(metrics[name], abs=tolerance)
        for name, value in logged.items():
            assert mine[-1].metrics[name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_members_in_one_batch_of_operations_come_to_the_same(activation: Any, device: torch.device) -> None:
    close = 1e-5 if device.type == "cpu" else 1e-4  # over a hundred steps, whose sums a GPU takes in another order
    cases = [case for case in CASES if "width" not in case]
    compiled_, batched = (
        [RandomSkipMLP(**{"width": 8, "in_features": 64, **case, "activation": activation}) for case in cases]
        for _ in range(2)
    )
    seeds = [case["seed"] for case in cases]
    digits = {split: samples(Digits(), split) for split in ("train", "test")}
    arguments: Any = (seeds, digits["train"], {"test": digits["test"]}, 4, 48)
    ours = sorted(train_together(compiled_, *arguments), key=lambda result: result[:2])
    theirs = sorted(train_batched(batched, *arguments, device=device), key=lambda result: result[:2])
    assert [result[:2] for result in ours] == [result[:2] for result in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.metrics == pytest.approx(other.metrics, abs=close)
    for one, other in zip(compiled_, batched, strict=True):
        for value, expected in zip(one.parameters(), other.parameters(), strict=True):
            assert (value - expected).abs().max() <= close
    assert list(train_batched([], [], *arguments[1:])) == []
    with pytest.raises(ValueError, match="one seed per network"):
        list(train_batched(batched, [0], *arguments[1:]))
    with pytest.raises(ValueError, match="one width, activation, input and output, but got 2 kinds"):
        list(train_batched([batched[0], RandomSkipMLP(3, 4, 1, in_features=64)], [0, 0], *arguments[1:]))


def test_the_papers_synthetic_problem() -> None:
    data = Seg(segments=20, batch_size=100, val_on_test=True)
    train = samples(data, "train")
    few = Samples(train.starts[:2001], train.pixels, train.values, train.labels[:2000])
    network = RandomSkipMLP(depth=6, width=8, tc=5, num_classes=2, in_features=2, activation="relu")
    results = list(train_together([network], [0], few, {"val": few}, epochs=3, batch_size=100))
    assert results[-1].metrics["train/loss"] < results[0].metrics["train/loss"]
    with torch.no_grad():
        inputs, labels = data.load("train")
        right = (network(inputs[:2000]).argmax(1) == labels[:2000]).float().mean()
    assert results[-1].metrics["val/accuracy"] == pytest.approx(right.item(), abs=1e-6)


def test_the_order_of_work_changes_nothing() -> None:
    train, test = (samples(Digits(), split) for split in ("train", "test"))

    def run(workers: int) -> tuple[list[tuple], list[Tensor]]:
        networks = [RandomSkipMLP(6, 8, tc, in_features=64, seed=tc) for tc in range(5)]
        found = list(train_together(networks, range(5), train, {"test": test}, epochs=2, workers=workers))
        return sorted((result[:3] for result in found), key=lambda result: result[:2]), [
            value for network in networks for value in network.parameters()
        ]

    (one, weights), (several, other_weights) = run(1), run(3)
    assert one == several
    assert all(torch.equal(a, b) for a, b in zip(weights, other_weights, strict=True))


def test_no_member_and_no_epoch() -> None:
    digits = samples(Digits(), "test")
    assert list(train_together([], [], digits, {"test": digits}, epochs=3)) == []
    network = RandomSkipMLP(3, 8, 1, in_features=64)
    before = copy.deepcopy(network.state_dict())
    assert list(train_together([network], [0], digits, {"test": digits}, epochs=0)) == []
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(ValueError, match=r"one seed per network \(1\), but got 2"):
        list(train_together([network], [0, 1], digits, {}, epochs=1))
    with pytest.raises(ValueError, match="at most 8 numbers and 10 classes, as the networks take them, but got 6"):
        list(train_together([RandomSkipMLP(3, 8, 1, in_features=8)], [0], digits, {}, epochs=1))
    with pytest.raises(ValueError, match="at most 64 numbers and 3 classes"):
        list(train_together([RandomSkipMLP(3, 8, 1, 3, in_features=64)], [0], digits, {}, epochs=1))


def test_inputs_are_kept_by_what_is_not_zero() -> None:
    inputs = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, -3.0]])
    found = Samples.of(inputs, torch.tensor([0, 1, 2]))
    assert found.starts.tolist() == [0, 1, 1, 3]
    assert found.pixels.tolist() == [1, 0, 2]
    assert found.values.tolist() == [2.0, 1.0, -3.0]


def test_evaluation_counts_what_torch_counts() -> None:
    network = RandomSkipMLP(8, 8, 3, in_features=64, seed=5)
    inputs, labels = Digits().load_checked("test")
    rows = Digits().prepare_eval(inputs)
    found = Samples.of(rows, labels)
    results = list(train_together([network], [0], found, {"test": found}, epochs=1))
    with torch.no_grad():
        logits = network(rows)
    assert results[0].metrics["test/accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert results[0].metrics["test/loss"] == pytest.approx(
        nn.functional.cross_entropy(logits, labels).item(), abs=1e-5
    )


def test_the_compiled_functions_are_made_once() -> None:
    assert compiled(8, True) is compiled(8, True)
