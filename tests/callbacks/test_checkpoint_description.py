"""Checkpoints that describe their network: loaded without anything else, and unchanged in all the rest."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything

from nnmass import zoo
from nnmass.callbacks import CheckpointDescription
from nnmass.datamodules import Digits, Seg

ARGUMENTS = {"cell_depth": 3, "width_multiplier": 1, "tc": 4, "num_classes": 10, "in_chans": 1, "seed": 1}
DESCRIBED = CheckpointDescription("nnmass.zoo.RandomSkipDenseNet", ARGUMENTS)


def checkpoint(folder: Path, data: Any, callbacks: list[Any], network: torch.nn.Module) -> Path:
    """Of a training of two steps."""
    seed_everything(0, verbose=False)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=2,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        default_root_dir=folder,
        use_distributed_sampler=False,
    )
    trainer.fit(zoo.Classifier(network, warmup_epochs=0), datamodule=data)
    trainer.save_checkpoint(folder / "a.ckpt")
    return folder / "a.ckpt"


def test_the_network_and_its_images_are_in_the_file(tmp_path: Path) -> None:
    network = zoo.RandomSkipDenseNet(**ARGUMENTS)
    path = checkpoint(tmp_path, Digits(), [DESCRIBED], network)
    moved = path.rename(tmp_path / "elsewhere.ckpt")
    trained = zoo.load(moved)
    assert trained.classes == tuple("0123456789")
    assert trained.transform == Digits().preprocessing
    assert trained.data == "Digits"
    batch = torch.randn(4, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(trained.network(batch), network.cpu().eval()(batch), rtol=1e-4, atol=1e-5)


def test_all_else_in_the_file_stays_as_it_was(tmp_path: Path) -> None:
    contents = []
    for number, callbacks in enumerate(([], [DESCRIBED])):
        (tmp_path / str(number)).mkdir()
        path = checkpoint(tmp_path / str(number), Digits(), callbacks, zoo.RandomSkipDenseNet(**ARGUMENTS))
        contents.append(torch.load(path, weights_only=True))
    without, described = contents
    assert described.keys() - without.keys() == {"nnmass"}
    assert described["callbacks"] == without["callbacks"]
    assert all(torch.equal(value, without["state_dict"][key]) for key, value in described["state_dict"].items())


def test_vectors_have_no_preprocessing(tmp_path: Path) -> None:
    arguments = {"depth": 4, "width": 4, "tc": 1, "num_classes": 2, "in_features": 2}
    describes = CheckpointDescription("nnmass.zoo.RandomSkipMLP", arguments)
    trained = zoo.load(checkpoint(tmp_path, Seg(), [describes], zoo.RandomSkipMLP(**arguments)))
    assert (trained.transform, trained.input_size, trained.classes) == (None, (2,), ("0", "1"))


def test_what_cannot_be_described_does_not_end_the_training(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    class Unnamed(Digits):
        @property
        def class_names(self) -> list[str]:
            raise OSError("the names are gone")

    describes = CheckpointDescription("nnmass.zoo.RandomSkipDenseNet", ARGUMENTS)
    path = checkpoint(tmp_path, Unnamed(), [describes], zoo.RandomSkipDenseNet(**ARGUMENTS))
    assert "nnmass" not in torch.load(path, weights_only=True)
    assert "The checkpoints do not describe the network: the names are gone" in capsys.readouterr().out
