"""Studies through the real command line: planned, run, gone on with, reported; and what their fits say."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from PIL import Image

from nnmass import studies
from nnmass.commands.main import main
from nnmass.studies.cores import visible_gpus
from nnmass.studies.definition import Row, Study, planned_rows
from nnmass.studies.ensemble.trainer import train_together
from nnmass.studies.explain import explain
from nnmass.studies.fit_engine import one_device
from nnmass.studies.report.fits import averages, study_fits
from nnmass.studies.report.writer import compared

BASE = yaml.safe_load((ROOT / "configs" / "mnist_mlp.yaml").read_text())
SMALL: dict[str, Any] = {
    "engine": "ensemble",
    "configs": ["mnist_mlp.yaml"],
    "networks": ["mlp_d16_w8_t[02]", {"depth": [3, 5], "tc": [1]}],
    "changes": {"data": {"class_path": "nnmass.datamodules.Digits"}, "trainer": {"max_epochs": 2}},
    "seeds": 2,
    "jacobian": {"samples": 10},
    "report": {"curves": [{"X": "mlp_d16_w8_t2", "Y": "depth3_tc1"}]},
}


def write(folder: Path, name: str = "small", **changes: Any) -> str:
    path = folder / f"{name}.yaml"
    of_others = {"report": {}} if "networks" in changes else {}  # no curves of networks that there are not
    path.write_text(yaml.safe_dump({**SMALL, **of_others, **changes}))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small study, filled and reported."""
    home = tmp_path_factory.mktemp("study")
    definition = write(home)
    assert main(["study", "run", definition, "--output_dir", str(home / "out")]) == 0
    assert main(["study", "report", definition, "--output_dir", str(home / "out")]) == 0
    return home / "out"


def test_the_table_has_one_row_per_training(folder: Path) -> None:
    table = studies.load(folder)
    assert len(table) == 4 * 2
    assert set(table["status"]) == {"finished"}
    assert set(table["network"]) == {"mlp_d16_w8_t0", "mlp_d16_w8_t2", "depth3_tc1", "depth5_tc1"}
    for name in ("nn_mass", "num_params", "macs", "mean_singular_value", "test_accuracy_last", "wall_time_s", "depth"):
        assert table[name].notna().all(), name
    assert table.loc[table["network"] == "mlp_d16_w8_t0", "nn_mass"].tolist() == [0, 0]
    assert table["epochs"].tolist() == [2] * 8
    assert table["optimizer"].unique().tolist() == ["Adam"]
    curves = studies.load_curves(folder)
    assert len(curves) == 8 * 2
    merged = curves[curves["epoch"] == 1].set_index("row")["test/accuracy"]
    assert merged[table["row"]].tolist() == table["test_accuracy_last"].tolist()


def test_the_report_is_written_whole(folder: Path) -> None:
    for name in ("results.csv", "results.parquet", "curves.parquet", "fits.csv", "accuracy.svg", "curves.png"):
        assert (folder / name).stat().st_size > 500, name
    with Image.open(folder / "accuracy.png") as picture:
        assert picture.width > 500
    pd.testing.assert_frame_equal(pd.read_csv(folder / "results.csv"), studies.load(folder), check_dtype=False)
    page = (folder / "report.html").read_text()
    assert "<script" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.http", page)
    assert "mlp_d16_w8_t[02]" in page


def test_the_saved_study_goes_on_in_its_folder(folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("rows/*/row.json")}
    assert main(["study", "run", str(folder)]) == 0
    assert main(["study", "status", str(folder)]) == 0
    assert "finished │    8" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_each_row_is_the_training_that_fit_makes_of_its_file(folder: Path, tmp_path: Path) -> None:
    row = next((folder / "rows").glob("mlp_d16_w8_t2_seed1_*"))
    words = ["fit", "--config", str(row / f"{row.name}.yaml"), "--output_dir", str(tmp_path)]
    assert main([*words, "--trainer.accelerator", "cpu"]) == 0
    record, run = json.loads((row / "row.json").read_text()), json.loads((tmp_path / "latest" / "run.json").read_text())
    assert run["test_last"]["test/accuracy"] == pytest.approx(record["test_accuracy_last"], abs=1e-6)
    assert run["test"]["test/accuracy"] == pytest.approx(record["test_accuracy_best"], abs=1e-6)
    assert run["topology"]["nn_mass"] == pytest.approx(record["nn_mass"])
    ours, theirs = pd.read_csv(row / "curve.csv"), pd.read_csv(tmp_path / "latest" / "metrics.csv")
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)


def test_rows_are_trained_by_fit_and_one_that_fails_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    networks = [{"depth": [4, 0], "tc": [1]}, {"depth": [3], "tc": [1]}]
    definition = write(tmp_path, engine="fit", networks=networks, seeds=[3], report={"curves": []})
    words = ["study", "run", definition, "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--workers", "2"]) == 2
    said = capsys.readouterr()
    assert said.err == "Expected every row to come to its end, but 1 of 3 failed; see above.\n"
    assert "Expected depth to be an integer of at least 2, but got 0." in said.out
    table = studies.load(tmp_path / "out").set_index("network")
    assert table["status"].to_dict() == {"depth4_tc1": "finished", "depth0_tc1": "failed", "depth3_tc1": "finished"}
    run = tmp_path / "out" / table.loc["depth4_tc1", "run_folder"]
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["devices"] in (1, "1")
    # The ensemble gives the same.
    definition = write(tmp_path, "other", networks=[{"depth": [4], "tc": [1]}], seeds=[3])
    assert main(["study", "run", definition, "--output_dir", str(tmp_path / "other")]) == 0
    other = studies.load(tmp_path / "other").iloc[0]
    for name in ("train_accuracy_last", "val_accuracy_best", "test_accuracy_last", "test_accuracy_best"):
        assert other[name] == pytest.approx(table.loc["depth4_tc1", name], abs=1e-6), name
    # Asked again, it tries the failed row only.
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr()
    assert "depth0_tc1_seed3" in said.out
    assert "depth4_tc1_seed3" not in said.out


@pytest.mark.parametrize("engine", [pytest.param("fit", marks=pytest.mark.slow), "ensemble"])
def test_a_killed_study_goes_on(engine: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    networks, changes = (
        ["mlp_d16_w8_t2"],
        {**SMALL["changes"], "trainer": {"max_epochs": {"fit": 60, "ensemble": 400}[engine]}},
    )
    definition = write(tmp_path, engine=engine, networks=networks, seeds=[1], changes=changes)
    arguments = ["study", "run", definition, "--output_dir", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, str(ROOT / "cli.py"), *arguments], stdout=subprocess.DEVNULL)
    rows = tmp_path / "out" / "rows"
    running = (
        (lambda: list(rows.glob("*/*/checkpoints/last.ckpt")))
        if engine == "fit"
        else (lambda: list(rows.glob("*/row.json")))
    )
    while not running():
        assert process.poll() is None
        time.sleep(0.05)
    assert main(["study", "status", *arguments[2:]]) == 0
    assert "running" in capsys.readouterr().out
    process.send_signal(signal.SIGTERM if engine == "fit" else signal.SIGKILL)
    assert process.wait(60) != 0
    assert main(["study", "status", *arguments[2:]]) == 0
    assert "running" not in capsys.readouterr().out
    assert main(arguments) == 0
    table = studies.load(tmp_path / "out")
    assert set(table["status"]) == {"finished"}
    assert len(studies.load_curves(tmp_path / "out")) == table["epochs"].sum()
    if engine == "fit":
        assert max(json.loads(run.read_text())["resumes"] for run in rows.glob("*/*/run.json")) == 1


def test_each_row_keeps_its_trained_weights(folder: Path, tmp_path: Path) -> None:
    table = studies.load(folder).set_index("row")
    row = table.index[table["network"] == "depth5_tc1"][0]
    weights = folder / "rows" / row / "weights.safetensors"
    assert main(["release", str(weights), "mine", "--folder", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "mine.json").read_text())
    assert record["test"]["accuracy"] == pytest.approx(table.loc[row, "test_accuracy_last"])
    assert record["topology"]["nn_mass"] == pytest.approx(table.loc[row, "nn_mass"])


@pytest.mark.slow
def test_two_processes_share_the_rows(tmp_path: Path) -> None:
    changes = {**SMALL["changes"], "trainer": {"max_epochs": 60}}
    definition = write(tmp_path, networks=["mlp_d16_w8_t?"], seeds=4, changes=changes)
    arguments = ["study", "run", definition, "--output_dir", str(tmp_path / "out"), "--workers", "1"]
    processes = [
        subprocess.Popen([sys.executable, str(ROOT / "cli.py"), *arguments], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate()[0].count("test accuracy last") for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(printed) == 40
    assert min(printed) > 0
    assert set(studies.load(tmp_path / "out")["status"]) == {"finished"}


@pytest.mark.parametrize("wanted", [True, False])
def test_members_train_with_tf32_as_their_configuration_says(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``fit`` does, and not as PyTorch does where nothing is said: for convolutions, which they have not."""
    seen: list[bool] = []

    def train(*arguments: Any, **options: Any) -> Any:
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return train_together(*arguments, **options)

    monkeypatch.setattr("nnmass.studies.ensemble.engine.train_together", train)
    before = torch.backends.cuda.matmul.allow_tf32
    changes = SMALL["changes"] if wanted else {**SMALL["changes"], "tf32": False}
    definition = write(tmp_path, networks=[{"depth": [3], "tc": [1]}], seeds=1, jacobian=None, changes=changes)
    assert main(["study", "run", definition, "--output_dir", str(tmp_path / "out")]) == 0
    assert seen == [wanted]
    assert torch.backends.cuda.matmul.allow_tf32 is before


def test_rows_at_once_take_one_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    gpus: Queue[str] = Queue()
    for gpu in visible_gpus():
        gpus.put(gpu)
    row = Row("a_seed0", "a", "config", 0, {}, {"trainer": {"devices": "auto"}})
    with one_device(row, gpus) as first, one_device(row, gpus) as second:
        assert first == (["--trainer.devices", "1"], {"CUDA_VISIBLE_DEVICES": "3"})
        assert second[1] == {"CUDA_VISIBLE_DEVICES": "5"}
    assert gpus.qsize() == 2
    with one_device(replace(row, configuration={"trainer": {"devices": 2}}), gpus) as chosen:
        assert chosen == ([], {})
    with one_device(row, Queue()) as without:
        assert without == (["--trainer.devices", "1"], {})


def test_published_accuracies_stand_beside_topology(tmp_path: Path) -> None:
    assert main(["study", "run", "imagenet_mobilenets", "--output_dir", str(tmp_path)]) == 0
    table = studies.load(tmp_path).set_index("network")
    assert table["nn_mass"].round().tolist() == [1807, 1654, 975, 1030]  # CVPR-T2
    assert table["test_accuracy_last"].tolist() == pytest.approx([0.733, 0.729, 0.679, 0.6856])
    assert main(["study", "report", str(tmp_path)]) == 0
    fits = pd.read_csv(tmp_path / "fits.csv")
    chosen = fits[(fits["averaging"] == "mean over seeds") & fits["published"].notna()].set_index("explaining")
    assert chosen["published"].to_dict() == {"log NN-Mass": 0.96, "log parameters": 0.74}
    # The four networks that CVPR-T2 lists; CVPR-F6 has more, and prints 0.96 and 0.74.
    for name, column in (("log NN-Mass", "nn_mass"), ("log parameters", "num_params")):
        expected = np.corrcoef(np.log(table[column]), table["test_accuracy_last"])[0, 1] ** 2
        assert chosen.loc[name, "r2"] == pytest.approx(expected)
    assert chosen.loc["log NN-Mass", "r2"] > chosen.loc["log parameters", "r2"] + 0.2


def test_the_resnets_give_what_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert main(["study", "run", "imagenet_resnets", "--output_dir", str(tmp_path)]) == 0
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    assert main(["study", "report", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert re.search(r"│ +log NN-Mass │ 0.78 │ +0.\d\d to 0.\d\d │ +0.87 │\n", printed)
    assert re.search(r"│ +log parameters │ 0.64 │ +0.\d\d to 0.\d\d │ +0.64 │\n", printed)
    fits = study_fits(studies.load(tmp_path))
    r2 = fits[fits["averaging"] == "mean over seeds"].set_index("explaining")["r2"]
    assert r2["log parameters"] == pytest.approx(0.643, abs=5e-4)
    assert r2["log NN-Mass"] == pytest.approx(0.778, abs=5e-4)


def test_a_plan_says_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["study", "plan", write(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "8 rows, ensemble" in out
    assert "Digits is taken as it is published: 1,294 samples to train on." in out
    assert "time each" not in out
    assert main(["study", "plan", write(tmp_path), "--time"]) == 0
    out = capsys.readouterr().out
    assert "8 rows, ensemble" in out
    assert "of training steps on this machine" in out
    assert main(["study", "plan", write(tmp_path, engine="fit", networks=["mlp_d16_w8_t2"]), "--time"]) == 0
    assert "2 rows, fit" in capsys.readouterr().out
    assert main(["study", "plan", "mnist_mlp", "--data_dir", str(tmp_path), "--time"]) == 0
    out = capsys.readouterr().out
    assert "375 rows" in out
    assert "The training MACs and time are not known: Expected" in out


def test_studies_are_compared(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    again = shutil.copytree(folder, tmp_path / "again", ignore=shutil.ignore_patterns(".lock"))
    assert main(["study", "compare", str(folder), str(again), "--output_dir", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "compared.csv")
    pd.testing.assert_series_equal(table.iloc[:, -1], table.iloc[:, -2], check_names=False)
    assert compared({"a": study_fits(studies.load(folder))})["a"].notna().any()


def test_rows_follow_from_the_definition() -> None:
    study = Study("s", configs=["a"], networks=["mlp_d16_w8_t[0-9]*"], seeds=[4, 2, 4], changes={"model": {"x": 1}})
    rows = planned_rows(study, {"a": BASE})
    assert len(rows) == 15 * 2
    assert [row.network for row in rows[::2]] == [f"mlp_d16_w8_t{t}" for t in range(15)]
    assert [row.seed for row in rows[:2]] == [4, 2]
    assert rows[0].configuration["model"]["x"] == 1
    assert rows[0].configuration["seed_everything"] == 4
    assert rows[0].configuration["model"]["network"]["init_args"] == {"depth": 16, "width": 8, "tc": 0}
    assert "x" not in BASE["model"]
    longer = planned_rows(Study("s", configs=["a"], networks=["mlp_d16_w8_t1"]), {"a": BASE})[0]
    changed = {"trainer": {"max_epochs": 61}}
    other = planned_rows(Study("s", configs=["a"], networks=["mlp_d16_w8_t1"], changes=changed), {"a": BASE})[0]
    assert longer.id != other.id
    # The configuration's own arguments stay where the class is the same.
    relu = yaml.safe_load((ROOT / "configs" / "seg20_mlp.yaml").read_text())
    assert longer.arguments == {"depth": 16, "width": 8, "tc": 1}
    row = planned_rows(Study("s", configs=["b"], networks=["mlp_d16_w8_t1"]), {"b": relu})[0]
    assert row.arguments["activation"] == "relu"


SHIPPED = {
    "cifar100_dense": (20, 3),
    "cifar10_decorrelated": (24, 3),
    "cifar10_dense": (60, 3),
    "cifar10_depths": (12, 3),
    "cifar10_dsconv": (20, 3),
    "cifar10_half": (20, 2),
    "cifar10_small": (6, 2),
    "cifar10_wrn": (2, 3),
    "digits_decorrelated": (48, 5),
    "digits_mlp": (30, 3),
    "digits_placement": (36, 5),
    "imagenet_dense": (30, 1),
    "imagenet_mobilenets": (4, 1),
    "imagenet_resnets": (11, 1),
    "mlp_decorrelated": (48, 3),
    "mlp_designs": (33, 5),
    "mlp_placement": (36, 3),
    "mnist_mlp": (75, 5),
    "synthetic_mlp": (75, 15),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_studies_have_the_papers_networks(name: str, tmp_path: Path) -> None:
    assert {path.stem for path in (ROOT / "configs" / "studies").glob("*.yaml")} == set(SHIPPED)
    networks, seeds = SHIPPED[name]
    assert main(["study", "submit", name, "--output_dir", str(tmp_path), "--dry-run"]) == 0
    rows = (tmp_path / "rows.txt").read_text().split()
    assert len(set(rows)) == len(rows) == networks * seeds
    assert f"study run {tmp_path}" in (tmp_path / "job.sh").read_text()


def test_averages_and_fits_say_which_rows_stand_behind_them() -> None:
    generator = np.random.default_rng(0)
    lines = [
        {"status": "finished", "config": "c", "network": f"n{mass}", "seed": seed, "row": f"{mass}{seed}"}
        | {"nn_mass": float(mass), "num_params": 1000 + 7 * (mass % 5), "macs": 10 + mass, "began": "now"}
        | {"test_accuracy_last": np.log1p(mass) + generator.normal(scale=0.05), "group": "odd" if mass % 2 else "even"}
        for mass in range(12)
        for seed in range(3)
    ]
    table = pd.DataFrame([*lines, {**lines[0], "status": "failed", "test_accuracy_last": 99.0}])
    means = averages(table)
    assert means["seeds"].tolist() == [3] * 12
    expected = np.mean([line["test_accuracy_last"] for line in lines[:3]])
    assert means["test_accuracy_last"][0] == pytest.approx(expected)
    assert means["std_test_accuracy_last"].notna().all()
    fits = study_fits(table, "group", {"test accuracy": {"log NN-Mass": 0.5, "log NN-Mass, odd": 0.6}})
    one = fits[(fits["averaging"] == "mean over seeds") & (fits["explaining"] == "log NN-Mass")].set_index("group")
    assert one["networks"].tolist() == ["NN-Mass > 0"] * 2 + ["all"]  # of all, of the even, of the odd
    assert one["published"].fillna(0).tolist() == [0.5, 0, 0.6]
    assert fits.loc[fits["averaging"] == "single seeds", ["published", "explainable"]].isna().all(axis=None)
    linked = means[means["nn_mass"] > 0]
    values = np.array([line["test_accuracy_last"] for line in lines]).reshape(12, 3)[1:]
    error = (values - values.mean(axis=0)).var(axis=1, ddof=1).mean() / 3 * 11 / 10  # 10 of 11 degrees of freedom
    assert one.loc["all", "explainable"] == pytest.approx(1 - error / values.mean(axis=1).var(ddof=1))
    shifted = [{**line, "test_accuracy_last": line["test_accuracy_last"] + line["seed"]} for line in lines]
    again = study_fits(pd.DataFrame(shifted))["explainable"].dropna()  # what seeds do to all alike is no error
    np.testing.assert_allclose(again, study_fits(pd.DataFrame(lines))["explainable"].dropna())
    assert one.loc["all", "r2"] == explain(np.log(linked["nn_mass"]), linked["test_accuracy_last"]).r2
    assert one["r2_low"].isna().tolist() == [False, True, True]  # of six networks resamples say nothing
    assert one.loc["all", "r2_low"] <= one.loc["all", "r2"] <= one.loc["all", "r2_high"]
    # Single seeds are resampled with their networks: three copies of each seed say no more than one.
    copies = pd.DataFrame([{**line, "network": f"{line['network']}_{copy}"} for line in lines for copy in range(3)])
    copies["test_accuracy_last"] += copies.index % 3 / 100
    copies["test_accuracy_last"] = copies.groupby("network")["test_accuracy_last"].transform("first")
    intervals = study_fits(copies).query("explaining == 'log NN-Mass'").set_index("averaging")
    assert intervals.loc["single seeds", "r2_low"] == pytest.approx(intervals.loc["mean over seeds", "r2_low"])
    for published in ({"accuracy": {}}, {"test accuracy": {"log NN-mass": 0.5}}):
        with pytest.raises(ValueError, match="Expected report.published to have R2"):
            study_fits(table, None, published)
    with pytest.raises(ValueError, match="Expected a study with finished rows"):
        study_fits(table[table["status"] == "failed"])
    # Results on other data are never fitted together with these.
    two = study_fits(pd.concat([table, table.assign(config="d")]))
    assert set(two["group"]) == {"c", "d"}
    assert fits.loc[fits["averaging"] == "single seeds", "n"].max() == 36


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"engine": "together"},
            "Expected the study's engine to be one of fit, ensemble, published, but got together.",
        ),
        ({"network": ["x"]}, "but got 'network'; did you mean 'networks'?"),
        ({"networks": ["mlp_d17_*"]}, "of the zoo, of timm or torchvision, but got 'mlp_d17_*'"),
        ({"networks": [{"depth": 3}]}, "networks"),
        ({"seeds": 0}, "Expected the study's seeds to be a number of at least 1, or a list of seeds, but got 0."),
        ({"seeds": [-1]}, "Expected the study's seeds to be at least 0, but got [-1]."),
        (
            {"configs": ["mnist"]},
            "Expected the study's configs to name a file or a shipped configuration, but got 'mnist'",
        ),
        ({"jacobian": {"samples": 0}}, "Expected the study's jacobian.samples to lie in 1 to 100,000, but got 0."),
        (
            {"accuracies": {"resnet18": 70}},
            "Expected the study's accuracies to be absent unless the engine is published",
        ),
    ],
    ids=str,
)
def test_a_mistake_gets_one_sentence(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["study", "run", write(tmp_path, **changes), "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": ["resnet18"]}, "networks of the class RandomSkipMLP, but mnist_mlp differs."),
        ({"changes": {"trainer": {"max_epochs": 0}}}, "trainer.max_epochs of at least 1"),
        ({"changes": {"trainer": {"precision": "bf16"}}}, "no other key of the trainer"),
        ({"changes": {"model": {"optimizer": "torch.optim.AdamW"}}}, "the optimizer torch.optim.Adam"),
        ({"changes": {"model": {"schedule": "cosine"}}}, "the schedule constant"),
        ({"changes": {"model": {"loss": "binary_cross_entropy"}}}, "the loss cross_entropy"),
        ({"changes": {"data": {"init_args": {"augmentation": {"flip": True}}}}}, "no augmentation"),
    ],
    ids=str,
)
def test_what_the_ensemble_cannot_train_fails_row_by_row(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    changed = changes.setdefault("changes", {})
    changed.setdefault("data", {})["class_path"] = "nnmass.datamodules.Digits"
    definition = write(tmp_path, **{"networks": ["mlp_d16_w8_t1"], **changes})
    assert main(["study", "run", definition, "--output_dir", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert message in shown.out
    assert "Expected every row to come to its end, but 2 of 2 failed" in shown.err
    assert set(studies.load(tmp_path / "out")["status"]) == {"failed"}


def test_mistakes_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, message in (
        (["run", "mnist_mpl"], "did you mean mnist_mlp.yaml?"),
        (["run", str(tmp_path)], "holds no study.yaml"),
        (["status", "digits_mlp", "mnist_mlp"], "Expected status to be given one study, but got 2."),
        (["report", write(tmp_path), "--output_dir", str(tmp_path / "none")], "holds no rows.txt"),
        (["run", write(tmp_path, "empty", changes=None, configs=None)], "to name at least one configuration"),
        (["train", "digits_mlp"], "but got 'train'"),
        (["run", "digits_mlp", "--workers", "0"], "Expected --workers to be a whole number of at least 1, but got 0."),
    ):
        assert main(["study", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_resamples_of_equal_points_say_nothing() -> None:
    lines = [
        {"status": "finished", "config": "c", "network": f"n{network}", "seed": 0, "row": str(network), "began": "now"}
        | {"nn_mass": network + 1.0, "num_params": 5000 + 2000 * (network > 7), "macs": 10 + network}
        | {"test_accuracy_last": np.random.default_rng(network).normal()}
        for network in range(9)
    ]
    fits = study_fits(pd.DataFrame(lines))
    assert fits["r2_low"].between(0, 1).all()
    assert fits["r2_high"].between(0, 1).all()
