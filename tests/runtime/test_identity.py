"""A checkpoint is found again by what decides its result: on how many devices it is evaluated does not."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nnmass.commands.main import main
from nnmass.datamodules import Augmentation
from nnmass.datamodules.photograph_augment import PhotographAugmentation
from nnmass.runtime.config_names import CONFIG_FOLDER, list_configs
from nnmass.runtime.folders import continued_run, find_run, run_of_job
from nnmass.runtime.identity import configuration_id, deciding_keys, evaluated

FIT = ["--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]

CONFIGURATION: dict[str, Any] = {
    "seed_everything": 0,
    "model": {"network": {"class_path": "nnmass.zoo.RandomSkipMLP"}},
    "data": {"class_path": "nnmass.datamodules.Digits", "init_args": {"batch_size": 64, "num_workers": 2}},
    "trainer": {"devices": 1, "max_epochs": 3, "precision": "32-true", "logger": False, "num_nodes": 1},
}


def changed(**trainer: Any) -> dict[str, Any]:
    return {**CONFIGURATION, "trainer": {**CONFIGURATION["trainer"], **trainer}}


def sharing(choice: Any, **model: Any) -> dict[str, Any]:
    network = {"class_path": "nnmass.zoo.RandomSkipMLP", "init_args": {"share_outputs": choice}}
    return {**CONFIGURATION, "model": {"network": network, **model}}


def made(folder: Path, configuration: dict[str, Any], name: str = "x", status: str = "finished") -> Path:
    """A run folder as a training leaves it."""
    identity = configuration_id(configuration)
    run = folder / f"2026-01-01_00-00-0{len(list(folder.iterdir()))}_{name}_{identity}"
    (run / "checkpoints").mkdir(parents=True)
    for checkpoint in ("best", "last"):
        (run / "checkpoints" / f"{checkpoint}.ckpt").touch()
    record = {
        "name": name,
        "configuration_id": identity,
        "configuration": deciding_keys(configuration),
        "status": status,
    }
    (run / "run.json").write_text(json.dumps(record))
    return run


@pytest.mark.parametrize(
    "change",
    [
        {"devices": 3},
        {"devices": "auto", "num_nodes": 2},
        {"precision": "bf16-mixed"},
        {"limit_test_batches": 2},
        {"logger": True, "enable_progress_bar": False},
    ],
)
def test_an_evaluation_finds_the_run_whatever_is_no_matter_to_it(change: dict[str, Any], tmp_path: Path) -> None:
    run = made(tmp_path, CONFIGURATION)
    assert find_run(tmp_path, changed(**change), "x", "best", fitting=False) == run


def test_the_run_of_the_very_configuration_comes_first(tmp_path: Path) -> None:
    one, _ = made(tmp_path, CONFIGURATION), made(tmp_path, changed(devices=8))
    assert find_run(tmp_path, CONFIGURATION, "x", "best", fitting=False) == one


def test_two_trainings_that_might_be_meant_are_refused(tmp_path: Path) -> None:
    made(tmp_path, CONFIGURATION)
    newest = made(tmp_path, changed(devices=8))
    expected = "to mean one training, but .* trainer.devices is 8 there and 1 here; name the file, such as .*best.ckpt"
    with pytest.raises(ValueError, match=expected) as refused:
        find_run(tmp_path, changed(devices=2), "x", "best", fitting=False)
    assert str(newest / "checkpoints" / "best.ckpt") in str(refused.value)


def test_a_training_is_another_on_other_devices_and_longer(tmp_path: Path) -> None:
    made(tmp_path, CONFIGURATION)
    with pytest.raises(FileNotFoundError, match="trainer.devices is 1 there and 2 here"):
        find_run(tmp_path, changed(devices=2), "x", "last", fitting=True)
    with pytest.raises(FileNotFoundError, match="trainer.max_epochs is 3 there and 4 here"):
        find_run(tmp_path, changed(max_epochs=4, devices=2), "x", "best", fitting=False)


@pytest.mark.parametrize(("checkpoint", "fitting"), [("last", True), ("best", False)])
def test_a_run_goes_on_without_its_fast_pass(checkpoint: str, fitting: bool, tmp_path: Path) -> None:
    """As the sentence about a kernel that fails advises."""
    run = made(tmp_path, sharing(None), status="interrupted")
    assert configuration_id(sharing(False)) == configuration_id(sharing(None))
    assert find_run(tmp_path, sharing(False), "x", checkpoint, fitting) == run
    checkpoint_file = run / "checkpoints" / f"{checkpoint}.ckpt"
    assert continued_run(checkpoint_file, configuration_id(sharing(False)), sharing(False), fitting) == run


@pytest.mark.parametrize(("checkpoint", "fitting"), [("last", True), ("best", False)])
def test_a_run_of_an_earlier_version_is_found(checkpoint: str, fitting: bool, tmp_path: Path) -> None:
    """Its id and its record hold what was later found not to decide the result."""
    run = made(tmp_path, sharing(True), status="interrupted")
    record = json.loads((run / "run.json").read_text())
    record["configuration"]["model.network.init_args.share_outputs"] = True
    record |= {"configuration_id": "01234567", "job": "SLURM 7"}
    older = run.rename(tmp_path / "2026-01-01_00-00-00_x_01234567")
    (older / "run.json").write_text(json.dumps(record))
    (tmp_path / "latest").symlink_to(older.name)
    assert find_run(tmp_path, sharing(None), "x", checkpoint, fitting) == older
    assert run_of_job(tmp_path, configuration_id(sharing(None)), "SLURM 7") == older
    checkpoint_file = older / "checkpoints" / f"{checkpoint}.ckpt"
    assert continued_run(checkpoint_file, configuration_id(sharing(None)), sharing(None), fitting) == older


@pytest.mark.parametrize("switch", ["channels_last", "compile_network"])
def test_how_a_network_is_computed_decides_a_training_but_no_evaluation(switch: str, tmp_path: Path) -> None:
    run = made(tmp_path, sharing(None, **{switch: True}), status="interrupted")
    other = sharing(None, **{switch: False})
    assert find_run(tmp_path, other, "x", "best", fitting=False) == run
    with pytest.raises(FileNotFoundError, match=f"model.{switch} is True there and False here"):
        find_run(tmp_path, other, "x", "last", fitting=True)


def test_tf32_is_part_of_a_run_only_where_it_is_switched_off() -> None:
    assert configuration_id({**CONFIGURATION, "tf32": True}) == configuration_id(CONFIGURATION)
    off = {**CONFIGURATION, "tf32": False}
    assert configuration_id(off) != configuration_id(CONFIGURATION)
    assert evaluated(deciding_keys(off)) == evaluated(deciding_keys(CONFIGURATION))


def test_an_option_that_came_later_is_part_of_a_run_only_with_another_value() -> None:
    model = CONFIGURATION["model"]
    usual, other = ({**CONFIGURATION, "model": {**model, "loss": f"{kind}cross_entropy"}} for kind in ("", "binary_"))
    assert configuration_id(usual) == configuration_id(CONFIGURATION)
    assert configuration_id(other) != configuration_id(CONFIGURATION)


def test_small_images_that_are_not_resized_are_those_of_the_first_runs() -> None:
    first, whole, half = (
        configuration_id({**CONFIGURATION, "data": {"class_path": "nnmass.datamodules.CIFAR10", "init_args": options}})
        for options in ({}, {"resolution": None}, {"resolution": 16})
    )
    assert first == whole != half


def test_photographs_that_are_not_augmented_are_those_of_the_first_runs() -> None:
    def identity(**options: Any) -> str:
        data = {"class_path": "nnmass.datamodules.ImageNet", "init_args": {"resolution": 224, **options}}
        return configuration_id({**CONFIGURATION, "data": data})

    unchanged = {"train_resolution": None, "test_crop": 0.875}
    assert identity(augmentation=asdict(PhotographAugmentation()), **unchanged) == identity()
    for name in ("colour_jitter", "erasing", "mixup", "cutmix"):
        assert identity(augmentation=asdict(PhotographAugmentation(**{name: 0.5}))) != identity()
    assert identity(train_resolution=160) != identity()


def test_the_augmentation_of_small_images_is_part_of_a_run_in_full() -> None:
    plain = asdict(Augmentation())
    kept = {key for key in deciding_keys({"data": {"init_args": {"augmentation": plain}}}) if "augmentation" in key}
    assert kept == {f"data.init_args.augmentation.{name}" for name in plain}


def test_data_of_ones_own_are_told_apart_by_the_name_of_their_folder_wherever_it_lies() -> None:
    def identity(name: str, **options: str) -> str:
        data = {"class_path": f"nnmass.datamodules.{name}", "init_args": options}
        return configuration_id({**CONFIGURATION, "data": data})

    assert identity("ImageFolder", data_dir="/a/pets") == identity("ImageFolder", data_dir="b/pets/")
    assert identity("ImageFolder", data_dir="/a/pets") != identity("ImageFolder", data_dir="/a/stamps")
    assert identity("ImageTable", table="/a/pets/labels.csv") == identity("ImageTable", table="pets/labels.csv")
    assert identity("ImageTable", table="/a/pets/labels.csv") != identity("ImageTable", table="stamps/labels.csv")
    assert identity("MNIST", data_dir="/a") == identity("MNIST", data_dir="/b")


@pytest.mark.parametrize("name", list_configs())
def test_configurations_name_one_device_but_for_imagenet(name: str) -> None:
    """On a machine of eight GPUs they would else be another protocol."""
    trainer = yaml.safe_load((CONFIG_FOLDER / name).read_text())["trainer"]
    assert trainer.get("devices") == (None if name.startswith("imagenet") else 1)


def test_a_fit_says_and_keeps_what_a_step_is_and_a_test_on_other_devices_finds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    allowed = torch.backends.cudnn.allow_tf32
    place = ["--output_dir", str(tmp_path)]
    words = [*FIT, "--trainer.accumulate_grad_batches", "3", "--model.lr_scaling", "linear", "--tf32", "false"]
    assert main(["fit", *words, *place]) == 0
    out = capsys.readouterr().out
    line = "Samples a step: 1 process x batch 64 x accumulation 3 = 192; learning rate 0.15; precision 32-true."
    assert out.count(line) == 1
    assert out.index(line) < out.index("epoch 1")
    run = json.loads((tmp_path / "latest" / "run.json").read_text())
    step = {"processes": 1, "batch_size": 64, "accumulate_grad_batches": 3, "accumulation_from_epoch": None}
    step |= {"samples": 192, "learning_rates": [pytest.approx(0.15)], "precision": "32-true", "tf32": False}
    assert run["step"] == step
    assert run["forward_pass"] == "shared outputs"
    assert (run["tf32"], run["driver"], run["cuda"], run["cudnn"]) == (False, None, None, None)
    assert run["test"]["precision"] == "32-true"
    elsewhere = ["--trainer.precision", "64-true", "--data.batch_size", "50", "--trainer.logger", "false"]
    assert main(["test", *words, *place, *elsewhere, "--ckpt_path", "best"]) == 0
    assert "The results are in" in capsys.readouterr().out
    run = json.loads((tmp_path / "latest" / "run.json").read_text())
    assert run["test"]["precision"] == "64-true"
    assert torch.backends.cudnn.allow_tf32 is allowed


def test_where_modules_run_the_record_says_so(tmp_path: Path) -> None:
    words = ["--model.network.share_outputs", "false", "--output_dir", str(tmp_path)]
    assert main(["fit", *FIT, *words, "--trainer.limit_train_batches", "2"]) == 0
    assert json.loads((tmp_path / "latest" / "run.json").read_text())["forward_pass"] == "modules"
