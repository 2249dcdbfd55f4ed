"""A training that would do nothing, or whose numbers nothing can count to, is refused before anything is made."""

from pathlib import Path

import pytest

from nnmass.commands.main import main
from nnmass.commands.options.trainer_rules import left_out
from nnmass.commands.training.lightning_cli import parsed_fit

REFUSED = {
    "--trainer.max_epochs 0": "trainer.max_epochs to be at least 1, or -1 for no end, but got 0; validate and test",
    "--trainer.max_steps 0": "trainer.max_steps to be at least 1, or -1 for no end, but got 0",
    "--trainer.max_steps -5": "trainer.max_steps to be at least -1, but got -5.",
    f"--trainer.max_epochs {10**30}": f"trainer.max_epochs to be at most 2147483647, but got {10**30}.",
    f"--trainer.accumulate_grad_batches {10**29}": "trainer.accumulate_grad_batches to be at most 2147483647",
    "--trainer.limit_train_batches 0": "trainer.limit_train_batches to let fit see batches, but got 0.",
    "--trainer.limit_train_batches 0.0": "trainer.limit_train_batches to let fit see batches, but got 0.",
    "--trainer.limit_train_batches -1": "trainer.limit_train_batches to be a share from 0.0 to 1.0 or a number",
    "--trainer.limit_val_batches 1.5": "trainer.limit_val_batches to be a share from 0.0 to 1.0 or a number of batches",
    "--trainer.overfit_batches 1.5": "trainer.overfit_batches to be a share from 0.0 to 1.0 or a number of batches",
    "--trainer.overfit_batches -1": "trainer.overfit_batches to be at least 0, but got -1.",
    "--trainer.num_nodes 0": "trainer.num_nodes to be at least 1, but got 0.",
    "--trainer.reload_dataloaders_every_n_epochs -1": "reload_dataloaders_every_n_epochs to be at least 0, but got -1.",
    "--trainer.log_every_n_steps -1": "trainer.log_every_n_steps to be at least 0, but got -1.",
    "--trainer.min_epochs -1": "trainer.min_epochs to be at least 0, but got -1.",
    "--model.warmup_epochs 1000": "model.warmup_epochs to be less than trainer.max_epochs, 20, but got 1000; --model."
    "warmup_epochs 2 warms up",
    "--model.warmup_epochs 5 --trainer.max_epochs 5": "model.warmup_epochs to be less than trainer.max_epochs, 5",
    "--trainer.max_epochs -1": "trainer.max_epochs to be set for the cosine schedule, whose length it is, but got -1;",
    "--trainer.max_epochs -1 --model.interval step": "trainer.max_epochs to be set for the cosine schedule",
    "--trainer.max_epochs null --trainer.max_steps 9": "trainer.max_epochs to be set for the cosine schedule",
    f"--data.batch_size {10**12}": f"data.batch_size to be at most 2147483647, but got {10**12}.",
    f"--data.split_seed {10**30}": "data.split_seed to be at most 4294967295",
}


@pytest.mark.parametrize("words", REFUSED)
def test_it_is_refused_in_one_line_before_anything_is_made(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnmass.datamodules.Digits.load", lambda *_: pytest.fail("the data were read"))
    monkeypatch.setattr(
        "nnmass.zoo.networks.cells.RandomSkipCell.__init__", lambda *_, **__: pytest.fail("the network was made")
    )
    assert main(["fit", "--config", "digits_dense.yaml", *words.split()]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"Expected {REFUSED[words]}") or REFUSED[words] in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("subcommand", "stage"), [("validate", "val"), ("test", "test")])
def test_an_evaluation_of_nothing_is_refused(subcommand: str, stage: str, capsys: pytest.CaptureFixture) -> None:
    words = ["--config", "digits_dense.yaml", "--ckpt_path", "last", f"--trainer.limit_{stage}_batches", "0"]
    assert main([subcommand, *words]) == 2
    message = capsys.readouterr().err
    assert message == f"Expected trainer.limit_{stage}_batches to let {subcommand} see batches, but got 0.\n"


@pytest.mark.parametrize(
    "words",
    [
        "--trainer.max_epochs -1 --model.schedule constant",
        "--trainer.max_epochs -1 --trainer.max_steps 9 --model.interval step",
        "--model.warmup_epochs 19",
        "--model.warmup_epochs 50 --trainer.fast_dev_run 1",
        "--trainer.max_epochs null",
        "--trainer.limit_train_batches 1.0",
        "--trainer.overfit_batches 0.0",
        "--trainer.num_sanity_val_steps -1",
    ],
)
def test_what_can_be_done_is_not_refused(words: str) -> None:
    parsed_fit(["--config", "configs/digits_dense.yaml", *words.split()])


def test_what_is_left_out_is_said() -> None:
    given = ["--trainer.limit_val_batches", "0", "--trainer.limit_test_batches", "0.0"]
    assert left_out(parsed_fit(["--config", "configs/digits_dense.yaml", *given])) == [
        "trainer.limit_val_batches is 0: nothing is validated, and there is no best checkpoint.",
        "trainer.limit_test_batches is 0: nothing is tested.",
    ]
    assert left_out(parsed_fit(["--config", "configs/digits_dense.yaml"])) == []
