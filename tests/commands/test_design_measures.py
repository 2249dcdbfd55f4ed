"""Measures beside designs: those of the configurations that are written, and of no network that is not listed."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from nnmass.commands.main import main
from nnmass.commands.options.named_networks import network_of_config
from nnmass.runtime.configuration import instantiate
from nnmass.zoo.measures import Batch, measure_network

DIGITS = ("--like", "digits_dense", "--cell-depth", "4:5", "--tc", "0:8:4", "--rule", "pareto-front", "--count", "2")


def design(*arguments: object) -> int:
    return main(["design", *map(str, arguments)])


def test_the_listed_designs_have_the_measures_of_their_configurations(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    measures = ["grad_norm", "naswot"]
    chosen = ("--measures", "grad_norm, naswot, params", "--images", 8, "--output-dir", tmp_path / "found")
    assert design(*DIGITS, *chosen) == 0
    table = pd.read_csv(tmp_path / "found" / "designs.csv")
    shown = table.dropna(subset=measures)
    assert len(shown) == 2 < len(table)
    assert table["not_measured"].isna().all()
    assert table[measures].isna().sum().tolist() == [len(table) - 2] * 2
    files = sorted((tmp_path / "found").glob("*.yaml"))
    networks = [network_of_config(str(file)).network for file in files]
    _, data = instantiate(yaml.safe_load(files[0].read_text()), files[0].name)
    data.prepare_data()
    batch = Batch(*data.first_samples(8, 0))
    expected = [
        {name: one.value for name, one in measure_network(network, batch, measures).items()} for network in networks
    ]
    assert sorted(shown["grad_norm"]) == pytest.approx(sorted(one["grad_norm"] for one in expected))
    assert sorted(shown["naswot"]) == pytest.approx(sorted(one["naswot"] for one in expected))
    out = capsys.readouterr().out
    heading = next(line for line in out.splitlines() if "grad_norm" in line)
    assert [cell.strip() for cell in heading.split("┃")][-4:] == ["MACs", "grad_norm", "naswot", ""]
    for file, one in zip(files, expected, strict=True):
        line = next(line for line in out.splitlines() if f" {file.stem.removeprefix('digits_dense_')} " in line)
        assert f"{one['grad_norm']:.6g}" in line
    assert "Measured at 8 images of Digits, with the seed 0." in out


def test_what_cannot_be_measured_has_a_reason_and_no_number(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    chosen = ("--measures", "snip,fisher,synflow", "--data", "noise", "--images", 2, "--output-dir", tmp_path / "found")
    assert design(*DIGITS, *chosen) == 0
    out = capsys.readouterr().out
    assert "\nsnip, fisher are not measured: Expected a batch with labels, but got none.\n" in out
    assert "Measured at 2 images of noise, without labels, with the seed 0." in out
    table = pd.read_csv(tmp_path / "found" / "designs.csv")
    assert table[["snip", "fisher"]].isna().all(axis=None)
    assert table["synflow"].notna().sum() == table["not_measured"].str.startswith("snip: Expected a batch").sum() == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--measures synflux", "Expected the name of a measure, but got 'synflux'; the nearest: synflow."),
        ("--measures params,macs", "Expected --measures to name others than params, macs, nn_mass, which are listed"),
        ("--measures snip --images 0", "Expected --images to be a whole number of at least 1, but got 0."),
        ("--measures snip --images 2000", "Expected images to be at most the training samples of Digits (1,237), but"),
        ("--measures snip --data CIFAR10", "Expected --data to be one of noise, but got 'CIFAR10'"),
        ("--data noise", "Expected --data with --measures only, but got it with no --measures."),
        ("--images 3", "Expected --images with --measures only, but got it with no --measures."),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_searched(
    words: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert design(*DIGITS, *words.split(), "--output-dir", tmp_path / "found") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(sentence)
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert not (tmp_path / "found").exists()
