"""The atlas: resumable, honest about failures, and its fits equal to NumPy's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnmass import zoo
from nnmass.commands.main import main
from nnmass.studies.atlas.report import coverage, within_families, write_report
from nnmass.studies.atlas.survey import explained, join_accuracies, read_architecture, read_atlas, update_atlas
from nnmass.studies.explain import explain, fits_by_group


@pytest.mark.slow
def test_the_command_reads_goes_on_and_explains(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    accuracies = tmp_path / "accuracies.csv"
    names = ["resnet18", "resnet26", "resnet34", "resnet50", "resnet50d", "resnet101", "resnet101d"]
    top1 = [69.8, 75.3, 73.3, 79.0, 80.5, 81.0, 82.3]
    rows = [f"{name}.tv_in1k,{value}" for name, value in zip(names, top1, strict=True)]
    accuracies.write_text("\n".join(["model,top1", *rows, "resnet50.fb_swsl_ig1b_ft_in1k,88.0"]) + "\n")
    folder = tmp_path / "atlas"
    command = ["atlas", "--output_dir", str(folder), "--workers", "1"]
    assert main([*command, "--pattern", "resnet101"]) == 0
    lines = (folder / "atlas.jsonl").read_text()
    (folder / "atlas.jsonl").write_text(lines + '{"name": "resnet50", "nn_ma')  # cut off in the middle of a row
    assert main([*command, "--pattern", "resnet[1235]*[0-9d]", "--accuracies", str(accuracies)]) == 0
    table = read_atlas(folder / "atlas.jsonl").set_index("name")
    assert (folder / "atlas.jsonl").read_text().startswith(lines)
    assert set(names) <= set(table.index)
    assert table.loc["resnet18", "nn_mass"] == 3392
    assert table["not_judged"].sum() == 0
    accuracy = pd.read_csv(folder / "accuracy.csv").set_index("name")
    assert accuracy.loc["resnet50"].tolist() == ["resnet", 88.0, 79.0]
    fits = pd.read_csv(folder / "explained.csv").set_index(["networks", "accuracy", "group", "explaining"])
    by_hand = np.corrcoef(np.log(table.loc[names, "num_params"].astype(float)), top1)[0, 1] ** 2
    assert fits.loc[("all", "top1_in1k", "all", "log params"), "r2"] == pytest.approx(by_hand)
    assert (folder / "explained.png").stat().st_size > 10_000
    assert "resnet50" in (folder / "without_attention.txt").read_text().split()
    assert "What explains top1" in capsys.readouterr().out


def test_a_failure_is_written_down_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("no way\nat all")

    monkeypatch.setattr("nnmass.zoo.reader.topology.topology", refuse)
    row = read_architecture("resnet18")
    assert row == {"name": "resnet18", "family": "resnet", "error": "RuntimeError: no way at all"}
    file = tmp_path / "atlas.jsonl"
    file.write_text(json.dumps(row) + "\n" + json.dumps({**row, "name": "resnet34"}) + "\n")
    assert [row["nn_mass"] for row in update_atlas(file, ["resnet18"], workers=1)] == [3392]
    table = read_atlas(file).set_index("name")
    assert pd.isna(table.loc["resnet18", "error"])
    assert table.loc["resnet34", "error"] == "RuntimeError: no way at all"
    assert coverage(table.reset_index()).iloc[0][["read", "failed", "wholly judged"]].tolist() == [1, 1, 1]


def test_an_architecture_is_read_as_topology_reads_it() -> None:
    row = read_architecture("densenet121")
    record = zoo.topology(zoo.create_model("resnet18"))
    assert (row["nn_mass"], row["joints"], row["skips"], row["not_judged"]) == (1856, 58, 58, 0)
    assert row["attention_products"] == record.num_products == 0
    assert read_architecture("vit_tiny_patch16_224")["attention_products"] > 0


def test_mistakes_get_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, message in (
        (["--pattern", "nothing*"], "Expected --pattern to match names that timm knows, but got 'nothing*'."),
        (["--accuracies", "none.csv"], "Expected --accuracies to be a file, but none.csv does not exist."),
        (["--workers", "0"], "Expected --workers to be a whole number of at least 1, but got 0."),
        (["--patern", "x"], "did you mean --pattern?"),
    ):
        assert main(["atlas", "--output_dir", str(tmp_path), *arguments]) == 2
        assert message in capsys.readouterr().err
    atlas = pd.DataFrame({"name": ["resnet18"], "nn_mass": [1.0]})
    for content, message in (
        ("name,top1\nresnet18,70\n", "columns model and top1, but it lacks model"),
        ("model,top1\n", "columns model and top1, but it has no rows"),
        ("model,top1\nresnet18,high\n", "numbers in its column top1, but could not convert"),
        ("", "to be a CSV"),
    ):
        (tmp_path / "bad.csv").write_text(content)
        with pytest.raises(ValueError, match=message):
            join_accuracies(atlas, tmp_path / "bad.csv")


def test_few_accuracies_are_drawn_without_a_line_and_none_is_a_mistake(tmp_path: Path) -> None:
    row = {"name": "vgg11", "family": "vgg", "nn_mass": 0.0, "num_params": 5, "macs": 5, "attention_products": 0}
    atlas = pd.DataFrame([{**row, "not_judged": 0, "joints": 0}, {**row, "name": "resnet18", "nn_mass": 7.0}])
    (tmp_path / "top1.csv").write_text("model,top1\nvgg11,70\nresnet18,71\n")
    assert len(list(write_report(atlas, tmp_path, tmp_path / "top1.csv"))) == 5
    (tmp_path / "top1.csv").write_text("model,top1\nother,70\n")
    with pytest.raises(ValueError, match="names none that was read"):
        list(write_report(atlas, tmp_path, tmp_path / "top1.csv"))


def test_fits_are_those_of_numpy_and_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=30), rng.normal(size=30)
    fit = explain([*x, np.nan], [*y, 1.0])
    assert (fit.n, fit.r2) == (30, pytest.approx(np.corrcoef(x, y)[0, 1] ** 2))
    assert fit.slope == pytest.approx(np.polyfit(x, y, 1)[0])
    assert fit.spearman == pytest.approx(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
    pairs = [np.sign((x[i] - x[j]) * (y[i] - y[j])) for i in range(30) for j in range(i)]
    assert fit.kendall == pytest.approx(np.mean(pairs))
    assert explain([1, 2], [1, 2]).n == 2
    assert np.isnan(explain([1, 2], [1, 2]).r2)
    assert np.isnan(explain([1, 1, 1], [1, 2, 3]).r2)


def test_fits_of_a_group_stand_on_the_same_networks() -> None:
    table = pd.DataFrame(
        {
            "family": ["a"] * 6 + ["b"] * 2,
            "y": range(8),
            "mass": [0, 1, 2, 3, 4, 5, 6, 7],
            "size": range(1, 9),
        }
    )
    fits = fits_by_group(table, "y", {"log mass": "mass", "log size": "size"}, "family")
    assert fits[["group", "n"]].drop_duplicates().to_numpy().tolist() == [["all", 7], ["a", 5]]
    assert explained(
        table.assign(
            top1=table["y"],
            top1_in1k=table["y"],
            nn_mass=table["mass"],
            num_params=table["size"],
            macs=table["size"],
            attention_products=0,
        )
    )["networks"].unique().tolist() == ["all", "without attention"]


def test_within_families_the_best_fit_wins() -> None:
    rows = [("all", 0.9, 0.1), ("a", 0.5, 0.7), ("b", 0.8, 0.2), ("c", 0.6, 0.4)]
    fits = pd.DataFrame(
        {"group": group, "explaining": name, "n": 9, "r2": r2, "slope": 1.0, "spearman": r2, "kendall": r2}
        for group, *values in rows
        for name, r2 in zip(("log mass", "log size"), values, strict=True)
    )
    table = within_families(fits).set_index("explaining")
    assert table["highest_r2"].to_dict() == {"log mass": 2, "log size": 1}
    assert table["families"].tolist() == [3, 3]
    assert table.loc["log mass", "r2"] == pytest.approx((0.5 + 0.8 + 0.6) / 3, abs=1e-3)
