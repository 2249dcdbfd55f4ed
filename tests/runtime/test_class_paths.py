"""Class paths: short where people write them, whole where runs keep them; a project gets a class that is its own."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nnmass.commands.main import main
from nnmass.commands.options.named_networks import network_of_config
from nnmass.commands.training.lightning_cli import TrainingCLI, parsed_fit
from nnmass.runtime.class_paths import as_recorded, whole_arguments, whole_class_path, whole_class_paths
from nnmass.runtime.config_names import CONFIG_FOLDER, list_configs
from nnmass.runtime.identity import configuration_id, deciding_keys
from nnmass.studies.definition import Study, planned_rows
from nnmass.studies.outline import outline

DIGITS = ["--config", "configs/digits_dense.yaml"]
NETWORK = {"depth": 5, "width": 4, "tc": 1}
OWN_DIGITS = """
from nnmass import datamodules


class Digits(datamodules.Digits):
    '''A project's own.'''
"""


def configuration(network: str, data: str, callback: str) -> dict[str, Any]:
    return {
        "model": {"network": {"class_path": network, "init_args": dict(NETWORK)}},
        "data": {"class_path": data, "init_args": {"batch_size": 64}},
        "trainer": {"max_epochs": 1, "callbacks": [{"class_path": callback}]},
    }


SPELLINGS = [
    configuration("RandomSkipMLP", "Digits", "JacobianRecorder"),
    configuration("zoo.RandomSkipMLP", "datamodules.Digits", "callbacks.JacobianRecorder"),
    configuration("nnmass.zoo.RandomSkipMLP", "nnmass.datamodules.Digits", "nnmass.callbacks.JacobianRecorder"),
]
SHORT, OLD, WHOLE = SPELLINGS


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project that has a package ``datamodules`` with a class Digits, before everything else on the path."""
    (tmp_path / "datamodules").mkdir()
    (tmp_path / "datamodules" / "__init__.py").write_text(OWN_DIGITS)
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "datamodules"}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "datamodules"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["torch.optim.SGD", "mine.Mine", "SGD", "EarlyStopping", "", ".", "timm.create_model"])
def test_what_is_not_of_this_package_stays(name: str) -> None:
    assert whole_class_path(name) == name


def test_a_public_name_is_that_of_one_folder_alone_and_of_no_class_of_lightnings() -> None:
    names = [
        name for folder in ("zoo", "datamodules", "callbacks") for name in import_module(f"nnmass.{folder}").__all__
    ]
    assert len(set(names)) == len(names)
    for module in ("pytorch_lightning.callbacks", "pytorch_lightning.loggers", "torch.optim"):
        assert not set(names) & set(dir(import_module(module)))


@pytest.mark.parametrize("content", SPELLINGS, ids=["short", "old", "whole"])
def test_every_spelling_is_one_configuration(content: dict[str, Any]) -> None:
    assert whole_class_paths(content) == WHOLE
    assert as_recorded(whole_class_paths(content)) == OLD
    assert configuration_id(whole_class_paths(content)) == configuration_id(OLD)
    assert outline(content) == outline(WHOLE) is not None


def test_the_rows_of_a_study_are_whole_and_their_ids_those_of_the_first_runs() -> None:
    study = Study("s", changes={"data": {"class_path": "MNIST"}}, configs=["c.yaml"])
    rows = [planned_rows(study, {"c": content})[0] for content in SPELLINGS]
    assert len({row.id for row in rows}) == 1
    assert all(row.configuration["data"]["class_path"] == "nnmass.datamodules.MNIST" for row in rows)
    assert all(row.configuration["model"] == WHOLE["model"] for row in rows)


def test_classes_are_named_without_arguments_too() -> None:
    bare = {"model": {"network": "ResNet"}, "data": "CIFAR10", "trainer": {"callbacks": ["JacobianRecorder", "Timer"]}}
    assert whole_class_paths(bare) == {
        "model": {"network": "nnmass.zoo.ResNet"},
        "data": "nnmass.datamodules.CIFAR10",
        "trainer": {"callbacks": ["nnmass.callbacks.JacobianRecorder", "Timer"]},
    }
    assert whole_class_paths({"trainer": {"default_root_dir": "CIFAR10"}, "note": "ResNet"}) == {
        "trainer": {"default_root_dir": "CIFAR10"},
        "note": "ResNet",
    }


@pytest.mark.parametrize(
    ("words", "key", "path"),
    [
        ("--data CIFAR10", "data", "nnmass.datamodules.CIFAR10"),
        ("--data=datamodules.MNIST", "data", "nnmass.datamodules.MNIST"),
        ("--data.class_path MNIST", "data", "nnmass.datamodules.MNIST"),
        ("--model.network ResNet --model.network.depth 50", "model.network", "nnmass.zoo.ResNet"),
        ('--model.network {"class_path":"ResNet","init_args":{"depth":18}}', "model.network", "nnmass.zoo.ResNet"),
        (
            "--model.network zoo.resnet.ResNet --model.network.depth 50",
            "model.network",
            "nnmass.zoo.ResNet",
        ),
        ("--trainer.callbacks+=JacobianRecorder", "trainer.callbacks", "nnmass.callbacks.JacobianRecorder"),
        ("--trainer.callbacks callbacks.JacobianRecorder", "trainer.callbacks", "nnmass.callbacks.JacobianRecorder"),
    ],
)
def test_the_command_line_takes_them(words: str, key: str, path: str) -> None:
    value = parsed_fit([*DIGITS, *words.split()])[key]
    assert (value[0] if isinstance(value, list) else value).class_path.startswith(path)


def test_values_of_other_options_stay() -> None:
    words = ["--output_dir", "CIFAR10", "--data.data_dir=zoo.CIFAR10", "--data", "--model.network.help", "ResNet"]
    assert whole_arguments(words) == [*words[:-1], "nnmass.zoo.ResNet"]


def test_a_project_gets_its_own_class_and_ours_where_it_has_none(own_package: Path) -> None:
    assert whole_class_path("datamodules.Digits") == "datamodules.Digits"
    assert whole_class_path("datamodules.own.Anything") == "datamodules.own.Anything"
    assert whole_class_path("datamodules.MNIST") == "nnmass.datamodules.MNIST"
    assert whole_class_path("Digits") == "nnmass.datamodules.Digits"
    own, ours = (configuration_id({"data": name}) for name in ("datamodules.Digits", "nnmass.datamodules.Digits"))
    assert own != ours


def test_a_projects_package_that_cannot_be_loaded_is_its_own_affair(own_package: Path) -> None:
    (own_package / "datamodules" / "__init__.py").write_text("import nothing_of_that_name\n")
    assert whole_class_path("datamodules.Digits") == "datamodules.Digits"


def test_a_projects_data_are_trained_on_through_the_command_line(own_package: Path, nnmass: Callable) -> None:
    (own_package / "c.yaml").write_text(
        yaml.safe_dump(configuration("RandomSkipMLP", "datamodules.Digits", "EpochLines"))
    )
    short = ["--trainer.limit_train_batches", "2", "--trainer.accelerator", "cpu", "--output_dir", "runs"]
    done = nnmass("fit", "--config", "c.yaml", *short, cwd=own_package)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((own_package / "runs" / "latest" / "config.yaml").read_text())
    assert written["data"]["class_path"] == "datamodules.Digits"
    assert written["model"]["network"]["class_path"] == "nnmass.zoo.RandomSkipMLP"
    assert written["trainer"]["callbacks"][0]["class_path"] == "nnmass.callbacks.EpochLines"


@pytest.mark.parametrize("content", SPELLINGS[:2], ids=["short", "old"])
def test_a_run_keeps_them_whole_and_is_found_by_either(
    content: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    del content["trainer"]["callbacks"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    words = [
        "--config",
        str(tmp_path / "c.yaml"),
        "--trainer.accelerator",
        "cpu",
        "--output_dir",
        str(tmp_path / "runs"),
    ]
    assert main(["fit", *words, "--trainer.limit_train_batches", "2"]) == 0
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir() and not path.is_symlink())
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["data"]["class_path"] == "nnmass.datamodules.Digits"
    assert json.loads((run / "run.json").read_text())["configuration"]["data.class_path"] == "datamodules.Digits"
    assert main(["test", "--config", str(run / "config.yaml"), *words[2:], "--ckpt_path", "best"]) == 0


def test_inspect_and_design_take_them(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SHORT))
    assert sum(map(torch.numel, network_of_config(str(tmp_path / "c.yaml")).network.parameters())) > 0
    assert main(["design", "--like", str(tmp_path / "c.yaml"), "--max-params", "5K", "--max-macs", "9K"]) == 0


@pytest.mark.parametrize("name", list_configs())
def test_what_identifies_a_run_names_no_module_that_may_move(name: str) -> None:
    kept = deciding_keys(TrainingCLI(["fit", "--config", str(CONFIG_FOLDER / name)]).configuration())
    paths = [value for value in kept.values() if str(value).partition(".")[0] in ("nnmass", "zoo", "datamodules")]
    assert len(paths) >= 2
    for path in paths:
        folder, _, public = path.partition(".")
        assert path == "zoo.classifier.papers_sgd" or public in import_module(f"nnmass.{folder}").__all__


def test_the_optimizer_of_the_papers_is_found_where_the_first_runs_had_it(tmp_path: Path) -> None:
    model = {**SHORT["model"], "optimizer": "zoo.classifier.papers_sgd"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**SHORT, "model": model}))
    assert network_of_config(str(tmp_path / "c.yaml")).network is not None
    assert whole_class_paths({"model": model})["model"]["optimizer"] == "nnmass.zoo.training.classifier.papers_sgd"


@pytest.mark.parametrize("name", list_configs())
def test_shipped_configurations_are_short(name: str) -> None:
    text = (CONFIG_FOLDER / name).read_text()
    assert not [folder for folder in ("nnmass.", " zoo.", " datamodules.", " callbacks.") if folder in text]


@pytest.mark.parametrize("name", ["resnet18_cifar", "dense_digits", "imagenet_dense_48_w1p5_17_34_68_136"])
def test_a_name_leaves_to_the_data_what_they_decide(name: str) -> None:
    written = whole_class_paths({"model": {"network": name}})
    assert not {"num_classes", "in_chans", "in_features"} & written["model"]["network"]["init_args"].keys()
