"""Every shipped configuration runs through the real command line."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from nnmass.commands.main import main
from nnmass.runtime.class_paths import whole_class_path
from nnmass.runtime.config_names import CONFIG_FOLDER, find_config, list_configs

# Where the tests keep a data set, by the fixture that knows the folder.
REAL_DATA = {
    "CIFAR10": "cifar10_images",
    "CIFAR100": "cifar100_files",
    "MNIST": "mnist_files",
    "ImageNet": "photographs",
}
# A photograph a class leaves nothing to split off, and 64 px show as much of the code as 224.
SMALL = {
    "ImageNet": ["--data.val_on_test", "true", "--data.resolution", "64", "--data.num_workers", "0"],
    "CIFAR100": ["--data.val_size", "100"],
}

# Seconds each, and like another one.
SLOW = {"cifar10_dense_fast", "cifar10_wrn", "imagenet_dense", "imagenet_dsconv", "imagenet_resnet50_a3"}
SLOW |= {"imagenet_wrn18_2"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.removesuffix(".yaml") in SLOW else [])
        for name in list_configs()
    ],
)
def test_a_configuration_trains_and_tests_on_real_data(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = yaml.safe_load((CONFIG_FOLDER / name).read_text())["data"]["class_path"]
    arguments = ["fit", "--config", name, "--trainer.fast_dev_run", "1", "--trainer.accelerator", "cpu"]
    if data in REAL_DATA:
        arguments += ["--data.data_dir", str(request.getfixturevalue(REAL_DATA[data]))]
    arguments += ["--data.batch_size", "4", "--output_dir", str(tmp_path / "runs"), *SMALL.get(data, [])]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "NN-Mass" in out
    assert "test accuracy" in out
    assert not (tmp_path / "runs").exists()


def default_of(cls: type, key: str) -> object:
    """The default of an argument, wherever along the base classes it is declared."""
    for base in cls.__mro__:
        parameter = inspect.signature(base.__init__).parameters.get(key) if "__init__" in vars(base) else None
        if parameter is not None:
            return parameter.default
    raise AssertionError(f"{cls.__name__} has no argument {key}")


@pytest.mark.parametrize("name", list_configs())
def test_no_key_repeats_a_default(name: str) -> None:
    """A configuration says what differs, and nothing else: every key is needed."""
    content = yaml.safe_load((CONFIG_FOLDER / name).read_text())
    parts = [content["model"]["network"], content["data"], content["model"].get("optimizer", "the default")]
    for part in parts:
        if isinstance(part, str):  # a class and none of its arguments
            continue
        module, _, class_name = whole_class_path(part["class_path"]).rpartition(".")
        cls = getattr(import_module(module), class_name)
        for key, value in part.get("init_args", {}).items():
            default = default_of(cls, key)
            if isinstance(value, dict):
                assert all(getattr(default, inner) != wanted for inner, wanted in value.items()), key
            else:
                assert default != value, f"{key} repeats its default"


def test_names_are_found_and_paths_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("digits_dense.yaml") == find_config("digits_dense") == CONFIG_FOLDER / "digits_dense.yaml"
    (tmp_path / "mine.yaml").write_text("seed_everything: 3\n")
    assert find_config("mine.yaml") == Path("mine.yaml")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_config("configs/digits_dense.yaml")
    with pytest.raises(FileNotFoundError, match="did you mean digits_dense.yaml"):
        find_config("digit_dense")
