"""Weights that are not numbers, and entries of the wrong kind, are refused by name, read or trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn

from nnmass.callbacks import FiniteLoss, NonFiniteLossError
from nnmass.commands.main import main
from nnmass.runtime.checkpoints import read_checkpoint, require_resumable

WHOLE: dict[str, Any] = {
    "state_dict": {"a": torch.ones(3), "mask": torch.tensor([0.0, -torch.inf]), "count": torch.tensor(3)},
    "pytorch-lightning_version": "2.6.6",
    "global_step": 3,
    "epoch": 0,
    "callbacks": {},
    "loops": {},
    "optimizer_states": [],
    "lr_schedulers": [],
}


def saved(folder: Path, **changes: Any) -> Path:
    torch.save(WHOLE | changes, folder / "a.ckpt")
    return folder / "a.ckpt"


def test_a_whole_checkpoint_is_read(tmp_path: Path) -> None:
    require_resumable(read_checkpoint(saved(tmp_path)), tmp_path)


@pytest.mark.parametrize("key", ["global_step", "epoch", "callbacks", "loops", "optimizer_states", "lr_schedulers"])
def test_an_entry_of_another_kind_is_named(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"a\.ckpt, but its {key} is of the type str\."):
        read_checkpoint(saved(tmp_path, **{key: "x"}))


@pytest.mark.parametrize("key", ["epoch", "callbacks", "loops", "optimizer_states", "lr_schedulers"])
def test_an_entry_that_a_training_needs_is_named(key: str, tmp_path: Path) -> None:
    content = {name: value for name, value in WHOLE.items() if name != key}
    with pytest.raises(ValueError, match=f"that a training can go on from in .*, but it has no {key}."):
        require_resumable(content, tmp_path / "a.ckpt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_that_are_no_numbers_are_named(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {"a": torch.ones(3), "b.weight": torch.tensor([1.0, torch.nan], dtype=dtype)}
    with pytest.raises(ValueError, match=r"weights that are numbers in .*a\.ckpt, but b\.weight holds NaN\."):
        read_checkpoint(saved(tmp_path, state_dict=weights))


@pytest.mark.parametrize("words", [["fit"], ["validate"], ["test"]])
def test_each_command_refuses_them(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = saved(tmp_path, state_dict={"a": torch.full((3,), torch.nan)})
    words += ["--config", "digits_dense.yaml", "--ckpt_path", str(path), "--output_dir", str(tmp_path / "runs")]
    assert main(words) == 2
    assert "but a holds NaN." in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda network: network.layer.bias.fill_(torch.nan),
            r"The weights hold NaN by step 0 \(epoch 0\); try a lower",
        ),
        (lambda network: None, ""),
    ],
    ids=["spoilt", "whole"],
)
def test_the_weights_of_the_last_step_are_looked_at(spoil: Callable, sentence: str) -> None:
    """Nothing else would tell: no loss is calculated with them."""
    network, trainer, callback = Network(), Trainer(logger=False, accelerator="cpu"), FiniteLoss()
    callback.on_train_batch_start(trainer, network, None, 0)  # type: ignore[arg-type]
    callback.on_train_batch_end(trainer, network, torch.tensor(0.5), None, 0)  # type: ignore[arg-type]
    with torch.no_grad():
        spoil(network)
    if not sentence:
        callback.on_train_epoch_end(trainer, network)  # type: ignore[arg-type]
        return
    with pytest.raises(NonFiniteLossError, match=sentence):
        callback.on_train_epoch_end(trainer, network)  # type: ignore[arg-type]
