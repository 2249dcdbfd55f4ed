"""The benchmark of measures: its sample, its statistics by other routes, and the command."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from analog_cells import analog_package
from scipy import stats
from torch import nn

from nnmass.commands.main import main
from nnmass.studies.benchmark import macs
from nnmass.studies.benchmark.images import FolderImages, Noise, images_of
from nnmass.studies.benchmark.known import KnownNetwork, one_of_each_family
from nnmass.studies.benchmark.macs import KeptMacs, macs_of
from nnmass.studies.benchmark.sample import measured_table, resized, sampled, subject_of
from nnmass.studies.benchmark.summary import rank_difference, regret, summary, within_groups
from nnmass.studies.measuring import measure_subjects


def _build(width: int, seed: int, input_size: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


def _network(name: str, family: str, accuracy: float = 50.0, width: int = 4) -> KnownNetwork:
    return KnownNetwork("tiny", name, family, accuracy, (3, 16, 16), 4, partial(_build, width))


def test_a_sample_takes_one_of_each_family_in_turn() -> None:
    networks = [_network(f"{family}{number}", family) for family in "abc" for number in range(4)]
    order = list(one_of_each_family(networks, seed=1))
    assert sorted(network.name for network in order) == sorted(network.name for network in networks)
    assert all({network.family for network in order[first : first + 3]} == set("abc") for first in (0, 3, 6, 9))
    assert order == list(one_of_each_family(networks, seed=1)) != list(one_of_each_family(networks, seed=2))


def test_a_sample_leaves_out_what_is_too_large_or_cannot_be_built() -> None:
    large, broken, small = _network("large", "a", width=400), _network("broken", "b", width=-1), _network("small", "c")
    considered = {one.network.name: one for one in sampled([large, broken, small], 3, max_macs=1e5)}
    reasons = {name: one.reason for name, one in considered.items()}
    assert [name for name, one in considered.items() if one.is_broken] == ["broken"]
    assert reasons["small"] is None
    assert reasons["large"] == "its 2,118,400 MACs are too many"
    assert "Error" in str(reasons["broken"])
    assert resized(small, 8).input_size == (3, 8, 8)
    assert resized(small, 96) == small


def test_multiply_adds_are_counted_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [_network("large", "a", width=400), _network("broken", "b", width=-1), _network("small", "c")]
    file = tmp_path / "macs.json"
    first = list(sampled(networks, 3, max_macs=1e5, count=KeptMacs(file)))
    counted = []
    monkeypatch.setattr(macs, "macs_of", lambda network: counted.append(network.name) or macs_of(network))
    assert list(sampled(networks, 3, max_macs=1e5, count=KeptMacs(file))) == first
    assert counted == ["broken"]
    assert set(json.loads(file.read_text())) == {"tiny/large 3x16x16", "tiny/small 3x16x16"}
    other = replace(networks[2], input_size=(3, 8, 8))
    assert KeptMacs(file)(other) == macs_of(other) != macs_of(networks[2])
    file.write_text('{"tiny/small 3x16x16": 1')  # what a full disk may leave
    assert KeptMacs(file)(networks[2]) == macs_of(networks[2])


def test_the_table_has_means_over_seeds_and_counts_what_is_not_told() -> None:
    networks = [_network("a", "x", 60.0), _network("b", "x", 70.0, width=8)]
    subjects = [subject_of(network, seed, Noise(4)) for network in networks for seed in (0, 1)]
    rows = list(measure_subjects(subjects, ["params", "grad_norm"]))
    rows[3]["measured"]["grad_norm"] = {"value": None, "reason": "no gradient", "seconds": 0.1}
    table, untold = measured_table(networks, rows, ["params", "grad_norm"])
    assert table["params"].tolist() == [132, 260]
    both = [row["measured"]["grad_norm"]["value"] for row in rows[:2]]
    assert both[0] != both[1]
    assert table["grad_norm"][0] == pytest.approx(np.mean(both))
    assert np.isnan(table["grad_norm"][1])
    assert untold.to_dict("records") == [
        {"benchmark": "tiny", "measure": "grad_norm", "reason": "no gradient", "networks": 1}
    ]


def _table(number: int = 24) -> pd.DataFrame:
    draw = np.random.default_rng(3)
    params = draw.lognormal(size=number)
    accuracy = 50 + 10 * np.log(params) + draw.normal(size=number) * 8
    value = accuracy + 8 * draw.normal(size=number)
    value[5] = np.nan
    columns = {"params": params, "guess": value, "seconds_params": 0.5, "seconds_guess": np.arange(number) / 10}
    return pd.DataFrame({"benchmark": "b", "family": list("xyz") * (number // 3), "accuracy": accuracy, **columns})


def test_the_summary_is_that_of_scipy_and_of_residuals() -> None:
    table = _table()
    row = summary(table, ["params", "guess"]).set_index("measure").loc["guess"]
    told = table.drop(index=5)
    assert (row["networks"], row["untold"], row["families"]) == (23, 1, 3)
    assert row["spearman"] == pytest.approx(stats.spearmanr(told["guess"], told["accuracy"]).statistic)
    assert row["kendall"] == pytest.approx(stats.kendalltau(told["guess"], told["accuracy"]).statistic)
    ranks = told[["guess", "accuracy", "params"]].rank()
    residuals = [
        ranks[name] - np.polyval(np.polyfit(ranks["params"], ranks[name], 1), ranks["params"]) for name in ranks
    ]
    assert row["given_params"] == pytest.approx(np.corrcoef(residuals[0], residuals[1])[0, 1])
    by_size = stats.spearmanr(told["params"], told["accuracy"]).statistic
    assert row["more_than_params"] == pytest.approx(row["spearman"] - by_size)
    first = told.sort_values("guess", ascending=False).head(10)
    assert row["regret"] == pytest.approx(table["accuracy"].max() - first["accuracy"].max())
    assert row["seconds"] == pytest.approx(1.15)
    for name in ("spearman", "kendall", "given_params", "within_families", "more_than_params"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]


def test_ranks_within_groups_do_not_see_differences_between_groups() -> None:
    # Within each group the numbers fall, while the groups rise.
    groups = ["a"] * 4 + ["b"] * 4 + ["c"] * 2
    x = np.array([4, 3, 2, 1, 14, 13, 12, 11, 100, 200.0])
    y = np.array([1, 2, 3, 4, 11, 12, 13, 14, 1, 2.0])
    assert within_groups(x, y, groups).value == pytest.approx(-1)
    assert within_groups(x + 1000 * (np.array(groups) == "b"), y, groups).value == pytest.approx(-1)
    assert np.isnan(within_groups(x[-2:], y[-2:], groups[-2:]).value)


def test_a_measure_is_no_better_than_itself() -> None:
    table = _table().dropna()
    size, accuracy = table["params"].to_numpy(), table["accuracy"].to_numpy()
    assert rank_difference(size, np.log(size), accuracy)[0] == 0
    assert np.isnan(rank_difference(np.ones_like(size), size, accuracy).value)


def test_what_a_measure_cannot_tell_apart_gains_nothing() -> None:
    accuracies = np.arange(30.0)
    assert regret(np.ones(30), accuracies, 29) == 20
    assert regret(accuracies, accuracies, 31) == 2
    assert np.isnan(regret(np.array([]), np.array([]), 31))


def _image_folder(folder: Path, classes: int, images: int) -> Path:
    from PIL import Image

    for label in range(classes):
        (folder / f"c{label}").mkdir(parents=True)
        for number in range(images):
            Image.new("RGB", (20, 30), (10 * label, 0, 9 * number)).save(folder / f"c{label}" / f"{number}.png")
    return folder


def test_images_are_of_as_many_classes_as_there_are(tmp_path: Path) -> None:
    few, many = _image_folder(tmp_path / "few", 3, 2), _image_folder(tmp_path / "many", 6, 1)
    images = images_of([few, many], 4, num_classes=4)
    assert images == FolderImages(few, 4)
    batch = images((3, 8, 8), 4)
    assert batch.images.shape == (4, 3, 8, 8)
    assert set(batch.labels.tolist()) == {0, 1, 2}  # type: ignore[union-attr]
    assert torch.equal(batch.images, FolderImages(few, 4)((3, 8, 8), 4).images)
    assert images_of([few, many], 4, num_classes=6) == FolderImages(many, 4)
    assert images_of([few, many], 4, num_classes=2) == images_of([], 4, 9) == Noise(4)
    with pytest.raises(ValueError, match=r"to hold 7 images, but it holds 6\."):
        FolderImages(few, 7)((3, 8, 8), 4)
    with pytest.raises(ValueError, match=r"a folder of images for each class, 2 at most, but it holds 3 folders"):
        FolderImages(few, 4)((3, 8, 8), 2)


def test_the_command_measures_goes_on_and_writes_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    cells = {(2, 2, 0, 2, 2, 2): 94.0, (3,) * 6: 89.5, (0,) * 6: 60.8, (1,) * 6: 10.0}
    analog_package(tmp_path, monkeypatch, cells)
    folder = tmp_path / "out"
    command = ["study", "benchmark", "nas-bench-201", "--batch-size", "2", "--size", "8", "--workers", "1"]
    command += ["--output-dir", str(folder), "--measures"]
    assert main([*command, "params,grad_norm"]) == 0
    lines = (folder / "measured.jsonl").read_text()
    assert main([*command, "grad_norm"]) == 0
    assert (folder / "measured.jsonl").read_text() == lines  # nothing is measured twice
    table = pd.read_csv(folder / "networks.csv")
    assert sorted(table["accuracy"]) == sorted(cells.values())
    cells_of_pointwise = 30 * (16**2 + 2 * 16 + 32**2 + 2 * 32 + 64**2 + 2 * 64)
    assert table.set_index("accuracy").loc[89.5, "params"] == cells_of_pointwise + 73306
    assert len(pd.read_csv(folder / "benchmark.csv")) == 2
    assert "## nas-bench-201" in (folder / "benchmark.md").read_text()
    assert (folder / "spearman.png").stat().st_size > 5000
    assert "4 of 4 networks" in capsys.readouterr().out
    assert all(json.loads(line)["measured"] for line in lines.splitlines())


def test_a_study_is_a_benchmark_of_its_own_networks(tmp_path: Path) -> None:
    from nnmass.commands.study.opened import open_study
    from nnmass.studies.benchmark.study_networks import StudyImages, study_networks

    opened = open_study("digits_mlp")
    rows = [row for row in opened.rows if row.network in ("mlp_d5_w8_t0", opened.rows[0].network)]
    found = {"study": "digits_mlp", "row": [row.id for row in rows], "depth": 5}
    results = pd.DataFrame({**found, "test_accuracy_last": np.linspace(0.5, 0.9, len(rows))})
    ((networks, images),) = study_networks(opened.rows, results, 4, "depth")
    assert isinstance(images, StudyImages)
    assert (networks[0].benchmark, networks[0].family) == ("digits_mlp", "5")
    seeds = [row.seed for row in rows if row.network == networks[0].name]
    own = results["test_accuracy_last"][: len(seeds)]
    assert networks[0].accuracy == pytest.approx(100 * own.mean())
    batch = images(networks[0].input_size, networks[0].num_classes)
    assert networks[0].build(seeds[-1], networks[0].input_size)(batch.images).shape == (4, 10)
    with pytest.raises(ValueError, match=r"Expected a seed that the study has trained, one of 0, .* but got 99\."):
        networks[0].build(99, networks[0].input_size)
    with pytest.raises(ValueError, match=r"Expected the results of rows that the study has, but got strange\."):
        study_networks(opened.rows, results.assign(row="strange"), 4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nasbench-201"], "Expected BENCHMARK to be one of timm, .* did you mean nas-bench-201?"),
        (["timm"], "Expected --accuracies to be a file with timm's accuracies, but got None."),
        (["missing.csv"], "Expected a study's results.csv, but missing.csv does not exist."),
        (["torchvision", "--images", "missing"], "Expected --images to be folders, but missing is none."),
        (["torchvision", "--measures", "synflo"], "Expected the name of a measure, but got 'synflo'"),
        (["torchvision", "--networks", "2"], "Expected --networks to be a whole number of at least 3, but got 2."),
    ],
    ids=["benchmark", "accuracies", "results", "images", "measure", "networks"],
)
def test_bad_input_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture) -> None:
    import re

    assert main(["study", "benchmark", *words]) != 0
    error = capsys.readouterr().err.strip()
    start, _, end = sentence.partition(" .* ")
    assert re.sub(r"\s+", " ", error).find(start) >= 0
    assert end in re.sub(r"\s+", " ", error)
    assert "Traceback" not in error
