"""inspect: one row per network, whatever names it; files and figures; and mistakes in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from nnmass import zoo
from nnmass.commands.main import main
from nnmass.commands.options.named_networks import find_network, network_of_options
from nnmass.commands.training.lightning_cli import parsed_fit
from nnmass.runtime.config_names import CONFIG_FOLDER
from nnmass.runtime.network_tables import network_rows, show
from nnmass.runtime.tables import terminal, topology_table
from nnmass.zoo import RandomSkipDenseNet, degree_distributions, draw_cells, topology


def inspect(*arguments: object) -> int:
    return main(["inspect", *map(str, arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output_dir = tmp_path_factory.mktemp("runs")
    limits = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--seed_everything", "5"]
    assert main(["fit", "--config", "digits_dense.yaml", "--output_dir", str(output_dir), *limits]) == 0
    return output_dir / "latest" / "checkpoints" / "last.ckpt"


def test_a_row_for_every_kind_of_name(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = ("mobilenetv2_075", "densenet121", "hrnet_w18_small", checkpoint)
    files = ("--csv", tmp_path / "a" / "rows.csv", "--json", tmp_path / "rows.json")
    assert inspect(*names, "--config", "cifar10_dense.yaml", "-c", "mnist_mlp", *files) == 0
    out = capsys.readouterr().out
    assert "not judged, and so without mass" in out
    assert "no common ancestor chain" in out
    table = pd.read_csv(tmp_path / "a" / "rows.csv").set_index("network")
    trained = f"{checkpoint.resolve().parent.parent.name}/last.ckpt"
    assert list(table.index) == [*names[:3], trained, "cifar10_dense", "mnist_mlp"]
    assert table.loc["mobilenetv2_075", ["nn_mass", "num_params", "macs"]].tolist() == [975, 2_636_424, 209_069_792]
    assert table.loc["densenet121", "nn_mass"] == 1856
    assert table.loc["cifar10_dense", "average_degree"] == pytest.approx(203.095, abs=0.001)
    assert table.loc["mnist_mlp", "nn_mass"] == pytest.approx(4.1739, abs=1e-4)
    assert table["average_degree"].isna().tolist() == [True, True, True, False, False, False]
    assert table.loc["hrnet_w18_small", "not_judged"] > 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["network"] for row in rows] == list(table.index)
    assert rows[0]["average_degree"] is None


def test_a_network_that_cannot_be_built_without_values_is_found() -> None:
    network = find_network("torchvision/regnet_y_400mf").network
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_344_144


def test_a_checkpoint_brings_its_own_links(checkpoint: Path) -> None:
    network: Any = find_network(str(checkpoint)).network
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    links = network.cells[0].layers[3].links
    assert torch.equal(links, state["network.cells.0.layers.3.links"])


def test_blocks_are_listed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert inspect("resnet18", "--per-block", "--csv", tmp_path / "blocks.csv") == 0
    blocks = pd.read_csv(tmp_path / "blocks.csv")
    assert blocks["scope"].tolist()[:2] == ["layer1.0", "layer1.1"]
    assert blocks["nn_mass"].sum() == 3392
    assert "layer4.1" in capsys.readouterr().out


def test_figures_and_degrees(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "figures"
    assert inspect("resnet18", "dense_digits", "--plot", "--degrees", "--output_dir", folder) == 0
    assert {path.name for path in folder.iterdir()} == {
        f"dense_digits_{what}.{ending}" for what in ("cells", "degrees") for ending in ("png", "svg")
    }
    out = capsys.readouterr().out
    assert "resnet18 holds no concatenation-type skips" in out
    assert "layers reached" in out
    assert (folder / "dense_digits_cells.svg").read_text().count("<path") > 10


def test_the_input_size_may_be_given(tmp_path: Path) -> None:
    assert inspect("resnet18", "--input_size", "3,32,32", "--csv", tmp_path / "rows.csv") == 0
    row = pd.read_csv(tmp_path / "rows.csv").iloc[0]
    assert (row["input_size"], row["nn_mass"]) == ("3x32x32", 3392)


def test_options_of_model_and_data_change_every_configuration_as_in_fit(tmp_path: Path) -> None:
    options = ("--model.network.tc", "[4, 5, 6]", "--data=Digits", "--seed_everything=3")
    file = tmp_path / "rows.csv"
    assert inspect("-c", "digits_dense", "dense_digits", *options, "--config=cifar10_dense_small", "--csv", file) == 0
    table = pd.read_csv(file).set_index("network")
    words = " ".join(options)
    assert list(table.index) == ["dense_digits", f"digits_dense {words}", f"cifar10_dense_small {words}"]
    fitted = parsed_fit(["--config", str(CONFIG_FOLDER / "digits_dense.yaml"), *options]).model.network
    arguments = {**fitted.init_args.as_dict(), "in_chans": 1, "num_classes": 10}
    record = topology(RandomSkipDenseNet(**arguments), (1, 8, 8))
    changed = table.loc[f"digits_dense {words}"]
    assert changed[["nn_mass", "num_params", "macs"]].tolist() == [record.nn_mass, record.num_params, record.macs]
    assert changed["input_size"] == "1x8x8"


def test_a_network_by_its_name_takes_the_place_of_a_configurations() -> None:
    alone = network_of_options(None, ["--model.network", "resnet18", "--data", "CIFAR10"])
    changed = network_of_options("cifar10_dense", ["--model.network=resnet18"])
    for named in (alone, changed):
        assert (type(named.network), named.network.num_classes) == (zoo.ResNet, 10)
        assert named.input_size == (3, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Expected inspect to be given networks or --config, but got neither."),
        (("resnet5O",), "but got 'resnet5O'; did you mean 'resnet50'?"),
        (("none.ckpt",), "Expected a checkpoint, but none.ckpt does not exist."),
        (("--config", "cifar10_dens"), "did you mean cifar10_dense.yaml?"),
        (("resnet18", "--input_size", "3,x"), "--input-size to be whole numbers with commas"),
        (("resnet18", "--input_size", "4,32,32"), "can trace on one input of size (4, 32, 32)"),
        (("resnet18", "--per-blok"), "Expected a known option, but got '--per-blok'; did you mean --per-block?"),
        (("--config", "cifar10_dense", "--model.network", "resnet1x8"), "resnet1x8; did you mean 'resnet18'?"),
        (("--config", "cifar10_dense", "--model.network.tcc=3"), "but got 'tcc'; did you mean 'tc'?"),
        (("--config", "cifar10_dense", "--model.networ.tc", "3"), "Expected a known option or key, but got 'model.net"),
        (("--config", "cifar10_dense", "--model.network.num_classes=7"), "to be left to the data, which have 10, but"),
        (("--config", "cifar10_dense", "--data"), "Expected --data to be followed by a value, but got nothing."),
        (("--config", "cifar10_dense", "--trainer.max_epochs", "3"), "Expected a known option, but got '--trainer.max"),
        (
            ("--config", "cifar10_dense", "--model.weights", "a.pt"),
            "Expected a checkpoint to be given by itself, as NE",
        ),
        (("--model.network", "resnet18"), "Expected data to be given, in a --config file or as options, but got noth"),
        (("resnet18", "--model.network.depth=34"), "Expected --model.network.depth to change a configuration, but got"),
        (("resnet18", "--csv"), "Expected --csv to be followed by a value, but got nothing"),
    ],
)
def test_mistakes_get_one_sentence(arguments: tuple, message: str, capsys: pytest.CaptureFixture) -> None:
    assert inspect(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_stray_checkpoint_and_a_wrong_configuration_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"state_dict": {}}, tmp_path / "stray.ckpt")
    assert inspect(tmp_path / "stray.ckpt") == 2
    assert "Expected tensors by name in " in capsys.readouterr().err
    (tmp_path / "wrong.yaml").write_text("model:\n  network:\n    class_path: nnmass.zoo.RandomSkipDenseNett\n")
    assert inspect("--config", tmp_path / "wrong.yaml") == 2
    error = capsys.readouterr().err
    assert "wrong.yaml: Expected model.network to be a class by its full name" in error
    assert "did you mean 'nnmass.zoo.RandomSkipDenseNet'?" in error


def test_degrees_are_those_of_the_links() -> None:
    network = RandomSkipDenseNet(6, 1, 7, base_widths=[4], seed=2)
    wiring = topology(network, (3, 8, 8)).blocks[0].wiring
    assert wiring is not None
    layers: Any = network.cells[0].layers  # type: ignore[union-attr]
    taken = np.zeros(6 * 4, dtype=int)
    for layer in layers:
        for link in layer.links.tolist():
            taken[link] += 1
    by_name = {distribution.degree: distribution for distribution in degree_distributions(wiring)}
    assert by_name["layers reached"].values.tolist() == taken.tolist()
    assert by_name["out-degree"].values.tolist() == (4 * taken).tolist()
    assert by_name["in-degree"].values.tolist() == [len(layer.links) for layer in layers for _ in range(4)]
    assert by_name["in-degree"].mean == by_name["out-degree"].mean == pytest.approx(4 * taken.sum() / 24)


def test_poisson_degrees_have_distance_zero_and_equal_ones_dispersion_zero() -> None:
    drawn = np.random.default_rng(0).poisson(3.0, 200_000)
    distribution = zoo.DegreeDistribution("", "in-degree", drawn)
    assert distribution.dispersion == pytest.approx(1, abs=0.02)
    assert distribution.distance_to_poisson < 0.01
    assert zoo.DegreeDistribution("", "in-degree", np.full(9, 5)).dispersion == 0
    assert zoo.DegreeDistribution("", "in-degree", np.zeros(9, dtype=int)).distance_to_poisson == 0


def test_clustering_and_path_lengths_are_shown_of_every_cell(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert inspect("dense_digits", "mobilenetv2_a", "--graph") == 0
    output = capsys.readouterr().out
    blocks = topology(zoo.create_model("dense_digits"), (1, 8, 8)).blocks
    for block in blocks:
        assert block.wiring is not None
        statistics = zoo.graph_statistics(block.wiring)
        (line,) = (line for line in output.splitlines() if block.scope in line)
        shown = [cell.strip() for cell in line.strip("│").split("│")]
        assert shown[1:3] == [str(statistics.neurons), f"{statistics.clustering:.3f}"]
        assert shown[5:] == [
            f"{value:.3f}"
            for value in (
                statistics.path_length,
                statistics.random_path_length,
                statistics.lattice_path_length,
                statistics.sigma,
                statistics.omega,
            )
        ]
    assert "mobilenetv2_a holds no concatenation-type skips: there is no graph of neurons." in output


def test_without_cells_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="Expected a network with cells of concatenated layers"):
        draw_cells([])


def test_networks_of_one_name_keep_a_row_each(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for folder, depth in (("a", 4), ("b", 5)):
        (tmp_path / folder).mkdir()
        text = (CONFIG_FOLDER / "digits_dense.yaml").read_text().replace("cell_depth: 4", f"cell_depth: {depth}")
        (tmp_path / folder / "mine.yaml").write_text(text)
    files = [argument for folder in "ab" for argument in ("--config", tmp_path / folder / "mine.yaml")]
    run = checkpoint.resolve().parent.parent / "config.yaml"
    assert inspect(*files, "--config", run, "--csv", tmp_path / "rows.csv") == 0
    table = pd.read_csv(tmp_path / "rows.csv")
    assert table["network"].tolist() == ["mine", "mine (2)", "digits_dense"]
    assert table["num_layers"].tolist() == [13, 16, 13]


def test_a_table_without_rows_has_its_columns_and_a_folder_is_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert inspect("vgg11", "--per-block", "--csv", tmp_path / "blocks.csv") == 0
    assert list(pd.read_csv(tmp_path / "blocks.csv").columns)[:2] == ["network", "scope"]
    assert inspect("vgg11", "--csv", tmp_path) == 2
    assert "Expected the name of a file to write" in capsys.readouterr().err


def test_operators_whose_macs_are_unknown_are_shown_and_recorded(capsys: pytest.CaptureFixture) -> None:
    class Spectral(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(super().forward(x)).abs()

    records = {"spectral": topology(Spectral(6, 4), 6)}
    show(records, per_block=False)
    assert "spectral: unknown, and so not in the MACs: 1 x aten::fft_fft" in capsys.readouterr().out
    assert network_rows(records).loc[0, ["macs", "uncounted"]].tolist() == [24, "1 x aten::fft_fft"]
    terminal().print(topology_table(records["spectral"].as_dict()))
    assert "not in the MACs" in capsys.readouterr().out
