"""The gradient studies: the papers' claims about mean singular values, simulated and measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nnmass.commands.main import main
from nnmass.studies.gradients.measurements import average_over_seeds, cnn_rows, fits, mlp_rows, simulated_rows
from nnmass.studies.gradients.report import write_measured, write_simulation
from nnmass.zoo import RandomSkipMLP, create_model, hidden_isometry, hidden_mean, initialise, layer_spectra


@pytest.fixture(scope="module")
def simulated() -> pd.DataFrame:
    return pd.DataFrame(simulated_rows(repeats=3))


def test_simulated_mean_singular_values_lie_within_the_bounds_and_rise_with_mass(simulated: pd.DataFrame) -> None:
    by_mass = simulated[simulated["figure"] == "ICLR-F8"]
    assert (by_mass["mean_singular_value"] >= by_mass["low"]).all()
    assert (by_mass["mean_singular_value"] <= by_mass["high"]).all()
    for _, part in by_mass.groupby("columns"):  # printed: 0.98 to 1.0
        assert np.corrcoef(part["nn_mass"], part["mean_singular_value"])[0, 1] ** 2 > 0.95


def test_the_mean_square_is_the_larger_side_times_q(simulated: pd.DataFrame) -> None:
    """E(sigma^2) = q H of ICLR appendix D holds for matrices at least as high as wide; for others it is q W."""
    expected = simulated[["rows", "columns"]].max(axis=1)
    assert (simulated["mean_square"] / expected - 1).abs().max() < 0.15
    halved = pd.DataFrame(simulated_rows(repeats=3, variance=0.5))
    assert np.allclose(halved["mean_square"], simulated["mean_square"] / 2)


def test_the_report_of_the_simulation(simulated: pd.DataFrame, tmp_path: Path) -> None:
    assert len(list(write_simulation(simulated, tmp_path))) == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        f"simulation.{end}" for end in ("csv", "parquet", "png", "svg")
    }


def test_every_mlp_is_measured_alike_alone(tmp_path: Path) -> None:
    images = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    rows = pd.DataFrame(mlp_rows(images, seeds=1))
    assert len(rows) == 4 * 75
    row = rows[(rows["initialisation"] == "fan_in") & (rows["depth"] == 20) & (rows["tc"] == 3)].iloc[0]
    network = RandomSkipMLP(20, 8, 3, in_features=5, seed=0)
    initialise(network, "fan_in", 0)
    assert row["mean_singular_value"] == pytest.approx(hidden_mean(list(layer_spectra(network, images))))
    averages = average_over_seeds(rows)
    assert len(averages) == 4 * 75
    found = fits(averages, "initialisation")
    assert found[found["rows"] == "all"]["n"].unique().tolist() == [75]
    assert found[found["rows"] == "t > 0"]["n"].unique().tolist() == [70]
    (table,) = write_measured(rows, "initialisation", tmp_path, "mlp")
    assert table.row_count == len(found)
    assert (tmp_path / "mlp_fits.parquet").is_file()


def test_on_real_digits_mass_explains_more_than_parameters(mnist_files: Path, tmp_path: Path) -> None:
    arguments = ["gradients", "mlp", "--seeds", "2", "--images", "50", "--data_dir", str(mnist_files)]
    assert main([*arguments, "--output_dir", str(tmp_path)]) == 0
    found = pd.read_csv(tmp_path / "mlp_fits.csv").query("rows == 'all'").set_index(["initialisation", "explaining"])
    for scheme in ("default", "gaussian", "fan_in"):
        assert found.loc[(scheme, "NN-Mass"), "r2"] > 0.7
        assert found.loc[(scheme, "NN-Mass"), "r2"] > found.loc[(scheme, "parameters"), "r2"] + 0.2
        assert found.loc[(scheme, "NN-Mass"), "slope"] > 0
    assert found.loc[("orthogonal", "NN-Mass"), "slope"] < 0


def test_convolutional_networks_are_measured_alike_alone() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    (row,) = cnn_rows(images, ["dense_31_w1_5_8_12"], seeds=1, bn="eval")
    spectra = list(layer_spectra(create_model("dense_31_w1_5_8_12"), images, "eval", probes=1))
    assert row["mean_singular_value"] == pytest.approx(hidden_mean(spectra))
    assert row["isometry"] == pytest.approx(hidden_isometry(spectra))
    assert (row["depth"], row["width_multiplier"], row["bn"]) == (9, 1, "eval")


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 200, 3), nn.Flatten(), nn.Linear(300, 100))


@pytest.mark.parametrize(
    ("scheme", "variance", "expected"),
    [("gaussian", 0.25, (0.25, 0.25)), ("fan_in", None, (2 / 27, 2 / 300)), ("orthogonal", None, (1 / 200, 1 / 300))],
)
def test_initial_weights_have_the_variance_of_their_scheme(scheme, variance, expected) -> None:  # type: ignore[no-untyped-def]
    built = network()
    state = torch.get_rng_state()
    initialise(built, scheme, 3, variance)
    assert torch.equal(state, torch.get_rng_state())
    for layer, wanted in zip((built[0], built[2]), expected, strict=True):  # type: ignore[index]
        assert layer.weight.var().item() == pytest.approx(wanted, rel=0.1)
        assert not layer.bias.any()
    again = network()
    initialise(again, scheme, 3, variance)
    assert torch.equal(again[0].weight, built[0].weight)  # type: ignore[index]


@pytest.mark.parametrize(
    ("scheme", "variance", "message"),
    [
        ("xavier", None, "scheme to be one of default, gaussian, fan_in, orthogonal, but got 'xavier'"),
        ("gaussian", None, "a positive variance for gaussian, and none otherwise, but got None"),
        ("gaussian", -1.0, "but got -1.0"),
        ("fan_in", 1.0, "but got 1.0"),
    ],
)
def test_mistakes_are_named(scheme, variance, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        initialise(network(), scheme, 0, variance)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["everything"], "to be one of simulation, mlp, cnn, but got 'everything'"),
        ([], "to be given subject, but got nothing"),
        (["mlp", "--seeds", "0"], "Expected --seeds to be a whole number of at least 1, but got 0."),
        (["mlp", "--data_dir", "nowhere"], "nowhere"),
        (["cnn", "--image", "3"], "did you mean --images?"),
    ],
)
def test_bad_options_get_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["gradients", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
