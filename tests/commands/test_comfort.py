"""Messages of the commands on narrow terminals, for options that nothing would read and for plausible mistakes."""

import io
import shlex
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from rich.console import Console

from nnmass.commands.main import main
from nnmass.runtime.tables import print_rows, results_table
from nnmass.zoo import RandomSkipMLP, topology

STUDY = {
    "engine": "ensemble",
    "configs": ["mnist_mlp.yaml"],
    "networks": ["mlp_d16_w8_t[02]"],
    "changes": {"data": {"class_path": "nnmass.datamodules.Digits"}, "trainer": {"max_epochs": 2}},
    "seeds": 2,
    "jacobian": {"samples": 10},
    "report": {"curves": []},
}


def write_study(path: Path, **changes: object) -> str:
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return str(path)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_number_and_no_heading_is_broken(width: int, capsys: pytest.CaptureFixture) -> None:
    headings = ["network", "NN-Mass", "density", "average degree", "parameters", "MACs", "layers", "input"]
    rows = [["resnet18", "3,392.000", "1.000", "", "11,689,512", "1,814,073,344", "21", "3x224x224"]] * 2
    print_rows(Console(width=width), "Topology", headings, rows)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    for word in ("parameters", "1,814,073,344", "11,689,512", "3x224x224"):
        assert word in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gradients simulation --seeds 3", "Expected --seeds with mlp and cnn only, but got it with simulation."),
        ("gradients simulation --images 3", "Expected --images with mlp and cnn only, but got it with simulation."),
        ("design --like mnist_mlp --batch 3", "Expected --batch with --max-latency only"),
        ("design --like mnist_mlp --device cpu", "Expected --device with --max-latency only"),
        ("inspect resnet18 --output_dir x", "Expected --output-dir with --plot or --degrees only"),
        ("list configs --output_dir x", "Expected --output-dir with runs only, but got it with configs."),
        ("study plan digits_mlp --output_dir x", "Expected --output-dir with run and submit and status"),
        ("list runs --output_dir .", "Expected --output-dir to hold runs, but . holds none."),
        ("inspect --config .", "Expected --config to be a file, but . is a folder."),
        ("design --like here", "but here is a folder; it holds here/config.yaml."),
        ("atlas --accuracies here", "Expected --accuracies to be a file, but here is a folder."),
        ("atlas --pattern resnet18 --accuracies a.csv", "to have columns model and top1, but it lacks top1."),
        (
            "submit fit --config digits_dense --trainr.max_epochs 3",
            "but got '--trainr.max_epochs'; did you mean --trainer?",
        ),
        (
            "submit fit --config digits_dense --output-dir x",
            "Expected an option of fit or of sbatch, but got '--output-dir'; did you mean --output_dir?",
        ),
        (
            "submit fit --config digits_dense --print_config",
            "Expected an option of fit or of sbatch, but got '--print_config'",
        ),
        (
            "submit fit --config digits_dense --dry-run=true",
            "Expected --dry-run without a value, but got --dry-run=true.",
        ),
    ],
)
def test_what_would_be_passed_over_is_refused(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "config.yaml").write_text("model: {}\n")
    (tmp_path / "a.csv").write_text("model,accuracy\nresnet18,70\n")
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "here"]


def test_a_tilde_is_the_users_home_also_where_the_shell_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    (home / "mine.yaml").write_text((ROOT / "configs" / "mnist_mlp.yaml").read_text())
    assert main(["design", "--like", "~/mine.yaml", "--depth", "8", "--output_dir=~/my designs", "--count", "1"]) == 0
    (found,) = (home / "my designs").glob("*.yaml")
    assert shlex.split(capsys.readouterr().out.splitlines()[-1]) == ["nnmass", "fit", "--config", str(found)]
    assert main(["inspect", "mlp_d16_w8_t2", "--csv=~/table.csv"]) == 0
    assert (home / "table.csv").is_file()
    assert list(work.iterdir()) == []


def test_a_front_says_how_much_of_it_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["design", "--like", "mnist_mlp", "--rule", "pareto-front", "--depth", "8:12", "--count", "3"]
    assert main([*words, "--output_dir", str(tmp_path / "front")]) == 0
    printed = capsys.readouterr().out
    assert "3 of the 41 are shown, and have a configuration (--count); designs.csv has all." in printed
    assert printed.splitlines()[-1].endswith("mnist_mlp_d8_w8_t40.yaml")  # not the chain of mass 0


def test_the_folder_of_one_study_is_no_other_ones(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one, other = write_study(tmp_path / "one.yaml"), write_study(tmp_path / "other.yaml", seeds=1)
    assert main(["study", "run", one, "--output_dir", str(tmp_path / "out")]) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for action in ("run", "status", "report"):
        assert main(["study", action, other, "--output_dir", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert f"Expected --output-dir to be a folder for the study other, but {tmp_path / 'out'} holds one." in error
    assert {path: path.read_bytes() for path in before if path.name != ".lock"} == {
        path: content for path, content in before.items() if path.name != ".lock"
    }
    # The same study, changed: its rows are others.
    write_study(tmp_path / "one.yaml", seeds=3)
    assert main(["study", "report", one, "--output_dir", str(tmp_path / "out")]) == 2
    assert "to hold this version of the study one, but its rows are others" in capsys.readouterr().err
    assert main(["study", "report", str(tmp_path / "out")]) == 0
    assert "are finished" not in capsys.readouterr().out
    # One row is gone: the report says so.
    next((tmp_path / "out" / "rows").glob("*/row.json")).unlink()
    assert main(["study", "report", str(tmp_path / "out")]) == 0
    assert "Of 4 rows 3 are finished; nnmass study run fills the others." in capsys.readouterr().out


def test_configurations_lie_beside_their_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    content = yaml.safe_load((ROOT / "configs" / "mnist_mlp.yaml").read_text())
    del content["trainer"]
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "bare.yaml").write_text(yaml.safe_dump(content))
    changes = {"data": {"class_path": "nnmass.datamodules.Digits"}}
    study = write_study(tmp_path / "studies" / "s.yaml", configs=["bare.yaml"], changes=changes, engine="fit")
    monkeypatch.chdir(tmp_path)
    assert main(["study", "submit", study, "--dry-run"]) == 0
    (tmp_path / "studies" / "bare.yaml").write_text(
        yaml.safe_dump(
            {**content, "data": {"class_path": "nnmass.datamodules.MNIST", "init_args": {"data_dir": "there"}}}
        )
    )
    without = write_study(tmp_path / "studies" / "t.yaml", configs=["bare.yaml"], changes={})
    capsys.readouterr()
    assert main(["study", "plan", without, "--data_dir", str(tmp_path)]) == 2
    assert "either --data-dir or data_dir in the configuration bare, but got both." in capsys.readouterr().err


def test_a_row_without_a_trainer_section_is_kept_to_one_device() -> None:
    from queue import Queue

    from nnmass.studies.definition import Row
    from nnmass.studies.fit_engine import one_device

    for configuration in ({}, {"trainer": None}):
        with one_device(Row("a", "a", "c", 0, {}, configuration), Queue()) as chosen:
            assert chosen == (["--trainer.devices", "1"], {})


def test_a_run_s_table_says_what_a_reading_warns_of() -> None:
    record = topology(RandomSkipMLP(width=8, depth=4, tc=10, in_features=8, num_classes=10), 8).as_dict()
    note = "layers.3 takes channels by fixed indices"
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(results_table({"topology": record | {"notes": [note]}}, {}))
    assert note in console.export_text()
