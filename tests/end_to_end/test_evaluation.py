"""Evaluation on several processes gives the single process's figures to the last digit."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer

from nnmass.callbacks import ConfusionMatrix
from nnmass.datamodules import Digits
from nnmass.zoo import Classifier, RandomSkipDenseNet


class Odd(Digits):
    """357 test images: neither two nor three processes divide the batches."""

    def load(self, split):  # type: ignore[no-untyped-def]
        images, labels = super().load(split)
        return (images[:-3], labels[:-3]) if split == "test" else (images, labels)


def evaluate(processes: int, stage: str, tmp_path: Path) -> dict[str, float]:
    torch.manual_seed(0)
    model = Classifier(RandomSkipDenseNet(3, 1, 4, in_chans=1))
    trainer = Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp_fork" if processes > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    data = Odd(batch_size=32, val_size=211)
    if stage == "test":
        trainer.callbacks.append(ConfusionMatrix())  # type: ignore[attr-defined]
    method = trainer.test if stage == "test" else trainer.validate
    return dict(method(model, datamodule=data, verbose=False)[0])


@pytest.mark.parametrize("stage", ["test", "validate"])
def test_each_sample_counts_once_on_any_number_of_processes(stage: str, tmp_path: Path) -> None:
    single = evaluate(1, stage, tmp_path / "1")
    for processes in (2, 3):
        several = evaluate(processes, stage, tmp_path / str(processes))
        if stage == "test":
            tables = [(tmp_path / name / "confusion_matrix.csv").read_text() for name in ("1", str(processes))]
            assert tables[0] == tables[1]
        assert several.keys() == single.keys()
        for name, value in single.items():
            if name.endswith(("accuracy", "top5")):
                assert several[name] == value, name
            else:
                assert several[name] == pytest.approx(value, rel=1e-5), name
