"""The page on photographs: its commands as they are written, on small photographs and on the thousand of ImageNet."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from interruptions import write_photographs

from nnmass.commands.main import main
from nnmass.commands.training.lightning_cli import TrainingCLI
from nnmass.datamodules import PhotographAugmentation
from nnmass.runtime.config_names import resolve_config_arguments
from nnmass.runtime.configuration import instantiate

PAGE = (ROOT / "docs" / "photographs.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    python cli\.py (fit .*)$", PAGE, re.MULTILINE)
# A photograph a class leaves nothing to split off; 2,048 photographs a step would take minutes.
SMALL = ["--data.val_on_test", "true", "--data.num_workers", "0", "--data.batch_size", "4"]
SMALL += ["--data.resolution", "48", "--data.train_resolution", "32"]
SHORT = ["--trainer.max_epochs", "2", "--model.warmup_epochs", "1", "--trainer.accelerator", "cpu"]
SHORT += ["--trainer.precision", "32-true", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "2"]
SHORT += ["--trainer.limit_test_batches", "2", "--checkpoint_minutes", "0"]


def words(command: str, folder: Path) -> list[str]:
    """The command, with data elsewhere."""
    return [*shlex.split(command), *SMALL, "--data.data_dir", str(folder)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_command_of_the_page_makes_batches_for_its_loss(number: int, tmp_path: Path) -> None:
    write_photographs(tmp_path, train=4, val=2)
    configuration = TrainingCLI(resolve_config_arguments(words(COMMANDS[number], tmp_path))[0]).configuration()
    configuration["data"]["class_path"] = "interruptions.ThreeClasses"
    configuration["model"]["network"] = {"class_path": "interruptions.DropoutNetwork"}
    configuration["model"]["network"]["init_args"] = {"features": 3 * 32 * 32}
    model, data = instantiate(configuration, "page")
    batch = next(iter(data.train_dataloader()))
    images, shares = data.transfer_batch_to_device(batch, torch.device("cpu"), 0)
    assert images.shape == (4, 3, 32, 32)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))
    assert torch.isfinite(model.train_loss(model(images), shares))


def test_the_page_names_every_option_of_the_augmentation() -> None:
    table = PAGE.partition("| option | effect |")[2].partition("\n\n")[0]
    for name in PhotographAugmentation.__dataclass_fields__:
        assert f"augmentation.{name}" in table or f"`.{name}" in table, name


@pytest.fixture
def interrupted(photographs: Path, tmp_path: Path) -> list[str]:
    """Words of the recipe on the thousand photographs of ImageNet, stopped in the middle of the second epoch."""
    recipe = [*words(COMMANDS[0], photographs), *SHORT, "--output_dir", str(tmp_path / "runs")]
    recipe += ["--trainer.callbacks+=EMAWithWarmUp"]
    stop = ["--trainer.callbacks+=interruptions.Signal", "--trainer.callbacks.stage=train"]
    assert main([*recipe, *stop, "--trainer.callbacks.count=5"]) == 75
    return recipe


@pytest.mark.slow
def test_the_recipe_trains_on_real_photographs_and_goes_on_in_the_middle_of_an_epoch(
    interrupted: list[str], tmp_path: Path
) -> None:
    assert main([*interrupted, "--ckpt_path", "last"]) == 0
    (resumed,) = (tmp_path / "runs").glob("2*")
    record = json.loads((resumed / "run.json").read_text())
    assert (record["status"], record["epochs"]) == ("finished", 2)
    assert record["topology"]["input_size"][-1] == 48
    unbroken = [*interrupted, "--output_dir", str(tmp_path / "unbroken")]
    assert main(unbroken) == 0
    ours, theirs = (
        torch.load(next(folder.glob("2*/checkpoints/last.ckpt")), weights_only=True)
        for folder in (tmp_path / "runs", tmp_path / "unbroken")
    )
    for key in ("state_dict", "current_model_state"):
        assert ours[key].keys() == theirs[key].keys()
        assert [name for name, value in ours[key].items() if not torch.equal(value, theirs[key][name])] == []
