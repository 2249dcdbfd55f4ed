"""Fine-tuning and extension by the command line: what begins a run, what is recorded, what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from nnmass import zoo
from nnmass.commands.main import main
from nnmass.runtime.extension import extended_checkpoint, extension_of, finished_run
from nnmass.runtime.identity import configuration_id, deciding_keys

DIGITS = ["--config", "digits_dense.yaml", "--trainer.accelerator", "cpu"]
SHORT = [*DIGITS, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "2"]
SHORT += ["--trainer.limit_test_batches", "1", "--trainer.enable_progress_bar", "false", "--trainer.logger", "false"]


def fit(folder: Path, *words: str) -> dict[str, Any]:
    assert main(["fit", *SHORT, "--output_dir", str(folder), *words]) == 0
    return json.loads((folder / "latest" / "run.json").read_text())


def runs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("2*") if not path.is_symlink())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def network(**changes: Any) -> Any:
    return zoo.create_model("dense_digits", **changes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model.weights no.pt", "Expected weights to be a file or pretrained, but got 'no.pt'."),
        ("--model.weights pretrained", "a network of timm for the weights pretrained, but got RandomSkipDenseNet."),
        ("--model.weights other.pt", "weights of this architecture in other.pt, but cells.0.layers.2.links is (16,)"),
        (
            "--model.weights code.pt",
            "Expected weights in code.pt, but it carries code (torch.nn.modules.linear.Linear)",
        ),
        ("--model.freeze layer4", "freeze to be backbone or to match names of parameters, but got 'layer4'"),
        ("--model.freeze *", "freeze to leave something to learn, but got *, which is everything."),
        ("--model.freeze []", "freeze to name a part, but got []."),
        ("--model.unfreeze_epoch 1", "freeze to say what unfreeze_epoch sets free, but got None."),
        (
            "--model.freeze backbone --model.unfreeze_epoch 2",
            "model.unfreeze_epoch to be less than trainer.max_epochs, 2, but got 2;",
        ),
        ("--extend 3", "a finished run for --extend in {folder}/runs, but there is no run of this configuration"),
        ("--extend 0", "--extend to be at least 1 epoch, and at most 2147483647, but got 0."),
        ("--extend 3 --trainer.max_epochs -1 --model.schedule constant", "trainer.max_epochs to be set for --extend"),
        ("--extend 3 --trainer.max_steps 9", "epochs alone to end a training for --extend, but trainer.max_steps"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_is_made(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(network(tc=[16, 16, 32]).state_dict(), "other.pt")
    torch.save(torch.nn.Linear(2, 2), "code.pt")
    assert main(["fit", *SHORT, *words.split()]) == 2
    error = capsys.readouterr().err
    assert message.format(folder=tmp_path) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_run_starts_from_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Frozen whole but for the classifier, so that what it started from is what it ends with."""
    torch.save(network(seed=7, num_classes=3).state_dict(), tmp_path / "weights.pt")
    words = ["--model.weights", str(tmp_path / "weights.pt"), "--model.freeze", "backbone"]
    run = fit(tmp_path, *words)
    out = capsys.readouterr().out
    assert "Not loaded, and begin anew: classifier.weight, classifier.bias." in out
    assert "650 of 218,490 parameters learn." in out
    record = run["weights"]
    assert record["source"] == record["path"] == str(tmp_path / "weights.pt")
    assert record["initial"] == record["unused"] == ["classifier.weight", "classifier.bias"]
    best = tmp_path / "latest" / "checkpoints" / "best.ckpt"
    trained, begun = weights_of(best), network(seed=7).state_dict()
    assert all(torch.equal(trained[f"network.{name}"], value) for name, value in begun.items() if "class" not in name)


def test_an_extended_run_names_the_weights_that_its_parent_had_started_from(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.save(network(seed=7).state_dict(), tmp_path / "weights.pt")
    words = ["--model.weights", str(tmp_path / "weights.pt"), "--trainer.max_epochs", "1"]
    begun = fit(tmp_path, *words)["weights"]
    (tmp_path / "weights.pt").unlink()
    extended = fit(tmp_path, *words, "--extend", "1")
    assert extended["weights"] == begun
    assert extended["parent"] == runs(tmp_path)[0].name
    table = capsys.readouterr().out.rpartition("weights from")[2]
    assert extended["parent"] in table


@pytest.mark.slow
def test_a_run_needs_the_weights_that_it_started_from_no_more(tmp_path: Path) -> None:
    torch.save(network(seed=7).state_dict(), tmp_path / "weights.pt")
    words = ["--model.weights", str(tmp_path / "weights.pt")]
    fit(tmp_path, *words)
    (tmp_path / "weights.pt").unlink()
    best = tmp_path / "latest" / "checkpoints" / "best.ckpt"
    place = ["--output_dir", str(tmp_path), "--ckpt_path", "best"]
    assert main(["test", *SHORT, *words, *place]) == 0
    assert main(["validate", "--config", str(tmp_path / "latest" / "config.yaml"), *place]) == 0
    assert main(["inspect", str(best)]) == 0
    update = json.loads((tmp_path / "latest" / "run.json").read_text()) | {"status": "interrupted"}
    (tmp_path / "latest" / "run.json").write_text(json.dumps(update))
    assert main(["fit", *SHORT, *words, "--output_dir", str(tmp_path), "--ckpt_path", "last"]) == 0
    assert len(runs(tmp_path)) == 1


@pytest.mark.slow
def test_a_finished_run_is_extended_again_and_again_and_its_files_stay_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fit(tmp_path)
    (parent,) = runs(tmp_path)
    before = files(parent)
    extended = fit(tmp_path, "--extend", "3")
    assert files(parent) == before
    assert extended["parent"] == parent.name
    assert (extended["epochs"], extended["status"]) == (5, "finished")
    table = pd.read_csv(tmp_path / "latest" / "metrics.csv")
    assert table["epoch"].tolist() == [0, 1, 2, 3, 4]
    rates = [0.05 * (1 + torch.cos(torch.tensor(torch.pi * epoch / 3)).item()) / 2 for epoch in range(3)]
    assert table["lr-SGD"].tolist()[2:] == pytest.approx(rates, abs=1e-6)
    again = fit(tmp_path, "--extend", "[3, 1]")
    child = runs(tmp_path)[1]
    assert (again["parent"], again["epochs"]) == (child.name, 6)
    named = fit(tmp_path, "--extend", "2", "--ckpt_path", str(parent / "checkpoints" / "last.ckpt"))
    assert (named["parent"], named["epochs"]) == (parent.name, 4)
    assert (
        main(["test", "--config", str(child / "config.yaml"), "--output_dir", str(tmp_path), "--ckpt_path", "best"])
        == 0
    )
    assert f"The results are in {child}" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.slow
def test_an_extension_that_was_stopped_goes_on_to_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    fit(tmp_path)
    fit(tmp_path, "--extend", "2")
    whole = weights_of(tmp_path / "latest" / "checkpoints" / "last.ckpt")
    first = runs(tmp_path)[-1]
    cut = tmp_path / "cut"
    shutil.copytree(runs(tmp_path)[0], cut / runs(tmp_path)[0].name)
    fit(cut, "--extend", "2")
    run = runs(cut)[-1]
    shutil.copy(run / "checkpoints" / "previous.ckpt", run / "checkpoints" / "last.ckpt")
    record = json.loads((run / "run.json").read_text()) | {"status": "interrupted"}
    (run / "run.json").write_text(json.dumps(record))
    fit(cut, "--extend", "2", "--ckpt_path", "last")
    assert len(runs(cut)) == 2
    resumed = weights_of(run / "checkpoints" / "last.ckpt")
    assert first.name.rpartition("_")[2] == run.name.rpartition("_")[2]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


CONFIGURATION: dict[str, Any] = {"seed_everything": 0, "model": {}, "data": {}, "trainer": {"max_epochs": 20}}


def made(folder: Path, **record: Any) -> Path:
    run = folder / f"2026-01-01_00-00-00_x_{configuration_id(CONFIGURATION)}"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"configuration": deciding_keys(CONFIGURATION), **record}))
    return run


def test_a_run_that_is_not_finished_is_not_extended(tmp_path: Path) -> None:
    run = made(tmp_path, status="interrupted")
    with pytest.raises(ValueError, match=f"a finished run, but {run.name} is interrupted; --ckpt_path last goes on"):
        finished_run(tmp_path, CONFIGURATION, "x")


def test_a_run_that_has_ended_early_is_not_extended(tmp_path: Path) -> None:
    extension = extension_of({**CONFIGURATION, "extend": 10})
    assert extension is not None
    with pytest.raises(ValueError, match="continue a run of 20 epochs, but .* has 7"):
        extended_checkpoint({"epoch": 6}, extension, made(tmp_path))
    early = tmp_path / "early"
    early.mkdir()
    with pytest.raises(ValueError, match="continue a run of 20 epochs, but .* has ended early: it got no better"):
        extended_checkpoint({"epoch": 19}, extension, made(early, stopped_early="it got no better"))


def test_an_extension_is_another_training_and_none_is_the_same_as_before() -> None:
    assert extension_of(CONFIGURATION) is None
    assert configuration_id({**CONFIGURATION, "extend": None}) == configuration_id(CONFIGURATION)
    one, same, more = ({**CONFIGURATION, "extend": epochs} for epochs in (10, [10], [10, 5]))
    assert configuration_id(one) == configuration_id(same)
    assert len({configuration_id(each) for each in (CONFIGURATION, one, more)}) == 3
    found = extension_of(more)
    assert found is not None
    assert (found.first, found.last) == (30, 35)
    assert configuration_id(found.parent) == configuration_id(one)


@pytest.mark.parametrize(
    ("option", "usual", "other"),
    [
        ("weights", None, "a.pt"),
        ("freeze", None, "backbone"),
        ("unfreeze_epoch", None, 3),
        ("layer_decay", 1.0, 0.75),
        ("decay_norms", True, False),
    ],
)
def test_options_of_fine_tuning_change_the_id_of_a_run_only_where_they_are_used(
    option: str, usual: Any, other: Any
) -> None:
    with_usual, with_other = ({**CONFIGURATION, "model": {option: value}} for value in (usual, other))
    assert configuration_id(with_usual) == configuration_id(CONFIGURATION)
    assert configuration_id(with_other) != configuration_id(CONFIGURATION)
