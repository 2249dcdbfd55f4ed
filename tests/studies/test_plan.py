"""Plans of studies: what is told without building or loading anything is what building and loading tell."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import ROOT

from nnmass import datamodules
from nnmass.commands.main import main
from nnmass.datamodules.facts import FACTS
from nnmass.studies import outline, plan
from nnmass.studies.definition import Row, Study, planned_rows
from nnmass.zoo.training.classifier import Classifier

CIFAR10 = yaml.safe_load((ROOT / "configs" / "cifar10_dense.yaml").read_text())
DIGITS: dict[str, Any] = {"class_path": "nnmass.datamodules.Digits", "init_args": {"batch_size": 64, "val_size": 250}}
MLP: dict[str, Any] = {"class_path": "nnmass.zoo.RandomSkipMLP", "init_args": {"depth": 5, "width": 8, "tc": 2}}


def never_built(row: Row) -> Any:
    pytest.fail(f"{row.id} was built")


def changed(path: str, value: Any) -> dict[str, Any]:
    """A plain configuration in which one key has another value."""
    configuration: Any = {"model": {"network": {**MLP, "init_args": dict(MLP["init_args"])}, "schedule": "constant"}}
    configuration |= {"data": {**DIGITS, "init_args": dict(DIGITS["init_args"])}, "trainer": {"max_epochs": 2}}
    *parents, key = path.split(".")
    inner = configuration
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[key] = value
    return configuration


@pytest.mark.parametrize("name", FACTS)
def test_facts_of_a_data_set_are_those_of_its_class(name: str) -> None:
    module, facts = getattr(datamodules, name)(), FACTS[name]
    assert (module.num_classes, module.in_chans, module.input_size) == facts[:3]
    taken = {key for one in type(module).__mro__[:-1] for key in inspect.signature(one).parameters}
    assert set(facts.arguments) <= taken
    assert set(facts.arguments) <= set(outline._DATA)


@pytest.mark.parametrize("name", ["Digits", "Seg", "Circle"])
@pytest.mark.parametrize("val_size", [None, 100])
@pytest.mark.parametrize("val_on_test", [False, True])
def test_as_many_samples_are_trained_on_as_the_facts_say(name: str, val_size: int | None, val_on_test: bool) -> None:
    module = getattr(datamodules, name)(val_size=val_size, val_on_test=val_on_test)
    assert FACTS[name].trained_on(val_size, val_on_test) == module.training_batches().sampler.num_samples


def test_mnist_has_as_many_samples_as_the_facts_say(mnist_files: Path) -> None:
    mnist = datamodules.MNIST(data_dir=str(mnist_files))
    assert mnist.training_batches().sampler.num_samples == FACTS["MNIST"].trained_on()


def test_the_rules_know_only_what_classifier_and_optimizers_take() -> None:
    assert set(outline._MODEL) <= set(inspect.signature(Classifier).parameters)
    for name, rules in outline._OPTIMIZERS.items():
        assert set(rules) <= set(inspect.signature(getattr(torch.optim, name)).parameters)


@pytest.mark.parametrize("engine", ["fit", "ensemble"])
def test_a_plan_without_the_data_is_the_plan_with_them(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study("s", engine, ["a"], [{"depth": [4, 6], "tc": [1, 3]}, "mlp_d16_w8_t2"], seeds=2)
    rows = planned_rows(study, {"a": changed("model.warmup_epochs", 1)})
    with monkeypatch.context() as patch:
        patch.setattr(Row, "build", never_built)
        told = list(plan.planned(study, rows))
    assert {one.pop("published") for one in told} == {("Digits", 1187)}
    monkeypatch.setattr(plan, "outline", lambda _: None)
    assert told == list(plan.planned(study, rows))
    assert [one["seeds"] for one in told] == [2] * 5


def test_images_and_all_data_are_planned_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    content = changed("data.init_args.val_on_test", True)
    content["model"]["network"] = {
        "class_path": "nnmass.zoo.RandomSkipDenseNet",
        "init_args": {"cell_depth": 3, "width_multiplier": 1, "tc": 4, "expansion": 2},
    }
    study = Study("s", configs=["a"])
    rows = planned_rows(study, {"a": content})
    with monkeypatch.context() as patch:
        patch.setattr(Row, "build", never_built)
        (told,) = plan.planned(study, rows)
    assert told.pop("published") == ("Digits", 1437)
    monkeypatch.setattr(plan, "outline", lambda _: None)
    assert [told] == list(plan.planned(study, rows))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.schedul", "cosine"),
        ("model.schedule", "cosin"),
        ("model.schedule", None),
        ("model.warmup_epochs", -1),
        ("model.warmup_epochs", True),
        ("model.label_smoothing", 1),
        ("model.label_smoothing", "much"),
        ("model.channels_last", "perhaps"),
        ("model.optimizer", {"class_path": "torch.optim.SDG"}),
        ("model.optimizer", {"class_path": "torch.optim.SGD", "init_args": {"rate": 1}}),
        ("model.optimizer", {"class_path": "torch.optim.SGD", "init_args": {"lr": "fast"}}),
        ("model.network.init_args.depth", "five"),
        ("model.network.init_args.tc", -1),
        ("model.network.init_args.tc", 1.5),
        ("model.network.init_args.activation", "elo"),
        ("model.network.init_args.layers", 3),
        ("model.network.init", {}),
        ("data.class_path", "nnmass.datamodules.Digit"),
        ("data.init_args.batch_size", 0),
        ("data.init_args.batch_size", 2.5),
        ("data.init_args.batchsize", 8),
        ("data.init_args.val_size", 9),
        ("data.init_args.download", True),
        ("data.init_args.split_seed", -1),
        ("data.init_args.val_on_test", "maybe"),
        ("data.init_arg", {}),
        ("data", 3),
    ],
)
def test_a_mistake_is_refused_by_the_plan_as_by_the_training(
    path: str, value: Any, tmp_path: Path, capsys: Any
) -> None:
    content = changed(path, value)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"configs": ["own.yaml"]}))
    assert main(["study", "plan", str(tmp_path / "s.yaml")]) == 2
    assert "Expected" in capsys.readouterr().err


def test_what_is_not_known_beforehand_is_built(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    content = changed("data.init_args.augmentation", {"flip": True})
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"configs": ["own.yaml"]}))
    assert main(["study", "plan", str(tmp_path / "s.yaml")]) == 0
    assert "as it is published" not in capsys.readouterr().out


def test_a_training_without_a_number_of_epochs_has_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    content = changed("trainer.max_epochs", None)
    study = Study("s", configs=["a"])
    (told,) = plan.planned(study, planned_rows(study, {"a": content}))
    assert "training_macs" not in told
    (timed,) = plan.planned(study, planned_rows(study, {"a": content}), timed=True)
    assert not {"training_macs", "seconds"} & set(timed)


def test_plans_and_inspections_of_closed_forms_load_no_torch() -> None:
    code = (
        "import sys, cli\nfor name in ('cifar10_dense', 'digits_mlp'): cli.main(['study', 'plan', name])\n"
        "cli.main(['study', 'status', 'digits_mlp'])\n"
        "cli.main(['inspect', 'resnet50', 'mlp_d24_w8_t2'])\n"
        "sys.exit(str({'torch', 'pytorch_lightning', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"
    assert "CIFAR10 is taken as it is published: 45,000 samples" in done.stdout
