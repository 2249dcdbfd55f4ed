"""Networks by name on the command line, in configurations and in studies, and what is said of names that are none."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml
from conftest import ROOT

from nnmass.commands.main import main
from nnmass.commands.training.lightning_cli import TrainingCLI
from nnmass.runtime.class_paths import whole_arguments
from nnmass.runtime.config_names import CONFIG_FOLDER
from nnmass.runtime.configuration import instantiate
from nnmass.runtime.identity import configuration_id
from nnmass.studies.definition import Study, planned_rows
from nnmass.zoo import MobileNetV2, ResNet

DIGITS, CIFAR10 = (["--config", str(CONFIG_FOLDER / f"{name}.yaml")] for name in ("digits_dense", "cifar10_dense"))
VIT = ["--model.network", "timm/test_vit", "--model.network.patch_size", "4"]


def configured(*words: str) -> dict[str, Any]:
    return TrainingCLI(["fit", *words]).configuration()


def network_of(configuration: dict[str, Any]) -> Any:
    return instantiate(configuration, "a")[0].network


def test_a_name_is_the_class_and_the_arguments_that_it_stands_for() -> None:
    named = configured(*DIGITS, "--model.network", "resnet18")
    written = configured(*DIGITS, "--model.network", "ResNet", "--model.network.depth", "18")
    assert named == written
    assert configuration_id(named) == configuration_id(written)
    assert isinstance(network_of(named), ResNet)


def test_options_after_a_name_replace_its_arguments() -> None:
    words = ["--model.network=dense_40_w2_60_130_170", "--model.network.tc", "[1, 2, 3]"]
    arguments = configured(*CIFAR10, *words)["model"]["network"]["init_args"]
    assert (arguments["cell_depth"], arguments["tc"]) == (12, [1, 2, 3])
    with pytest.raises(ValueError, match=r"to come before its arguments, but got --model\.network\.tc before it"):
        configured(*CIFAR10, *words[1:], words[0])


@pytest.mark.parametrize("way", ["option", "class_path", "second configuration"])
def test_a_name_is_the_whole_network_whatever_the_configuration_says_of_its_own(way: str, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("model: {network: mobilenetv2_100}\n")
    words = {
        "option": ["--model.network", "mobilenetv2_100"],
        "class_path": ["--model.network.class_path=mobilenetv2_100"],
        "second configuration": ["--config", str(tmp_path / "b.yaml")],
    }[way]
    # Both classes have a width_multiplier, which is 2 in the configuration.
    network = network_of(configured(*CIFAR10, *words))
    assert isinstance(network, MobileNetV2)
    assert network.conv_stem.out_channels == 32


def test_the_data_decide_classes_channels_and_the_size_of_the_images() -> None:
    network = network_of(configured(*DIGITS, *VIT))
    assert type(network) is type(timm.create_model("test_vit"))
    assert (network.patch_embed.proj.in_channels, network.num_classes) == (1, 10)
    assert network.patch_embed.img_size == (8, 8)


def test_a_run_of_a_librarys_network_keeps_its_name_and_what_was_chosen_in_a_form_that_works_again(
    tmp_path: Path,
) -> None:
    configuration = configured(
        *DIGITS, "--model.network", "timm/test_convnext", "--model.network.drop_path_rate", "0.1"
    )
    expected = {"class_path": "nnmass.zoo.libraries.timm.test_convnext", "init_args": {"drop_path_rate": 0.1}}
    assert configuration["model"]["network"] == expected
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(configuration))
    again = configured("--config", str(tmp_path / "again.yaml"))
    assert configuration_id(again) == configuration_id(configuration)
    weights, others = (network_of(one).state_dict() for one in (configuration, again))
    assert all(weights[name].equal(others[name]) for name in weights)


@pytest.mark.parametrize(
    "described",
    [
        "timm/test_convnext",
        "test_convnext",
        {"class_path": "timm/test_convnext"},
        {"class_path": "test_convnext", "init_args": {}},
        "nnmass.zoo.libraries.timm.test_convnext",
    ],
)
def test_a_configuration_names_a_network_in_any_of_these_ways(described: Any) -> None:
    network = network_of({"model": {"network": described}, "data": "Digits"})
    assert type(network) is type(timm.create_model("test_convnext"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "timm/convnext_tny",
            "Expected a network that timm has, but got timm/convnext_tny; did you mean timm/convnext",
        ),
        ("resnet81", "but got resnet81; did you mean 'resnet18'?"),
        ("dense_40_w2_60_130_171", "did you mean 'dense_40_w2_60_130_170'?"),
        ("timm/test_vit --model.network.drop_pth_rate 1", "but got 'drop_pth_rate'; did you mean 'drop_path_rate'?"),
        (
            "timm/test_vit --model.network.depth much",
            "Expected model.network.depth to be a whole number, but got much.",
        ),
        (
            "timm/test_vit --model.network.num_classes 5",
            "Expected model.network.num_classes to be left to the data, wh",
        ),
        ("torchvision/resnet18", "Expected in_chans to be 3, but got 1; torchvision/resnet18 takes colour images only"),
        (
            "timm/resnet18 --model.network.output_stride 7",
            "Expected timm/resnet18 to be built with num_classes 10, in_ch",
        ),
    ],
)
def test_what_is_wrong_with_a_name_is_said_in_one_sentence(
    words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *DIGITS, "--model.network", *words.split()]) == 2
    printed = capsys.readouterr().err.strip()
    assert sentence in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert not (tmp_path / "runs").exists()


def test_a_misspelt_name_in_a_configuration_is_said_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"but got timm/test_vti; did you mean timm/test_vi"):
        network_of({"model": {"network": "timm/test_vti"}, "data": "Digits"})


def test_only_a_networks_name_is_taken_for_one() -> None:
    words = ["--output_dir", "resnet18", "--data.data_dir=resnet18", "--trainer.callbacks+", "resnet18"]
    assert whole_arguments(words) == words


@pytest.mark.parametrize("words", [["--model.network.help", "timm/test_vit"], ["--model.network.help=timm/test_vit"]])
def test_help_lists_the_arguments_of_a_network_by_its_name(words: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *words])
    assert ended.value.code == 0
    assert "--model.network.drop_path_rate" in capsys.readouterr().out


def test_studies_take_names_of_every_kind_and_keep_the_arguments_of_a_configuration_with_a_name() -> None:
    base = {"model": {"network": "timm/test_vit"}, "data": "Digits", "trainer": {"max_epochs": 1}}
    study = Study("s", configs=["a"], networks=["timm/test_convnext*", "resnet18", "torchvision/resnet18"])
    rows = planned_rows(study, {"a": base})
    assert [row.network for row in rows] == [
        *("timm/test_convnext", "timm/test_convnext2", "timm/test_convnext3"),
        *("resnet18", "torchvision/resnet18"),
    ]
    assert all(re.fullmatch(r"[\w.=-]+", row.id) for row in rows)
    (own,) = planned_rows(Study("s", configs=["a"]), {"a": base})
    assert own.configuration["model"]["network"]["class_path"] == "nnmass.zoo.libraries.timm.test_vit"
    sized = Study("s", configs=["a"], networks=[{"depth": [2, 3], "patch_size": [4]}])
    networks = [row.build()[0].network for row in planned_rows(sized, {"a": base})]
    assert [len(network.blocks) for network in networks] == [2, 3]


def test_inspect_and_list_know_all_three_kinds(capsys: pytest.CaptureFixture) -> None:
    assert main(["inspect", "dense_digits", "test_vit", "timm/test_convnext", "torchvision/alexnet"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("dense_digits", "test_vit", "timm/test_convnext", "torchvision/alexnet"))
    assert main(["list", "models", "torchvision/resnet?8"]) == 0
    assert capsys.readouterr().out == "torchvision/resnet18  of torchvision, as torchvision initialises it\n"


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "named_networks.md").read_text(), re.DOTALL)
    exec(code, {})
    assert "'torchvision/resnet50'" in capsys.readouterr().out


@pytest.mark.slow
def test_a_network_is_trained_by_its_name_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "named_networks.md").read_text()
    commands = re.findall(r"^    python cli\.py (fit .*)$", page, re.MULTILINE)
    assert len(commands) == 2
    names = ["dense_31_w1_small", "timm/mobilenetv3_small_050"]
    for name, command in zip(names, commands, strict=True):
        capsys.readouterr()
        assert main([*shlex.split(command), "--trainer.max_epochs", "1"]) == 0
        record = json.loads((tmp_path / "runs" / "latest" / "run.json").read_text())
        assert (record["network_name"], record["status"]) == (name, "finished")
        assert f"{name} on Digits" in " ".join(capsys.readouterr().out.split())
    config = tmp_path / "runs" / "latest" / "config.yaml"
    assert (
        main(["fit", "--config", str(config), "--output_dir", "again", "--trainer.enable_progress_bar", "false"]) == 0
    )
    first, second = (json.loads((tmp_path / place / "latest" / "run.json").read_text()) for place in ("runs", "again"))
    assert first["test"]["test/accuracy"] == second["test"]["test/accuracy"]
    assert main(["inspect", "runs/latest/checkpoints/best.ckpt"]) == 0
    assert main(["export", "runs/latest/checkpoints/best.ckpt", "network.onnx"]) == 0
    assert main(["list", "runs"]) == 0
    assert "MobileNetV3 timm/mobilenetv3_small_050: finished" in capsys.readouterr().out
