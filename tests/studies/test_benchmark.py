"""The benchmark of measures: its networks, its sources, its statistics by other routes, and the command."""

import importlib.util
import json
import pickle
import sys
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from nnmass.commands.main import main
from nnmass.studies.benchmark import sources
from nnmass.studies.benchmark.images import FolderImages, Noise, images_of
from nnmass.studies.benchmark.known import KnownNetwork, one_of_each_family
from nnmass.studies.benchmark.nas_bench_201 import EDGES, OPERATIONS, NASBench201, cell_operations, cell_text
from nnmass.studies.benchmark.pickles import read_inert
from nnmass.studies.benchmark.sample import measured_table, resized, sampled, subject_of
from nnmass.studies.benchmark.summary import rank_difference, regret, summary, within_groups
from nnmass.studies.measuring import measure_subjects
from nnmass.zoo import count_macs

ALL_CONV = cell_text(["nor_conv_3x3"] * 6)
THREE_CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


@pytest.mark.parametrize(
    ("cell", "parameters", "macs"),
    [
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
            0.802,
            113.95,
        ),
        (ALL_CONV, 1.531, 220.12),
    ],
    ids=["three convolutions", "six convolutions"],
)
def test_cells_have_the_size_that_nas_bench_201_prints(cell: str, parameters: float, macs: float) -> None:
    network = NASBench201(cell)
    assert int(sum(weight.numel() for weight in network.parameters()) / 1e3) / 1e3 == parameters
    assert round(count_macs(network, (3, 32, 32)) / 1e6, 2) == macs


def test_a_cell_computes_the_sums_of_its_operations() -> None:
    operations = ["nor_conv_1x1", "avg_pool_3x3", "skip_connect", "none", "nor_conv_3x3", "skip_connect"]
    cell = NASBench201(cell_text(operations)).eval().layers[2]
    images = torch.randn(2, 16, 8, 8)
    edge = {
        key: cell.edges[f"{key[0]}_to_{key[1]}"] for key, name in zip(EDGES, operations, strict=True) if name != "none"
    }
    first = edge[0, 1](images)
    second = nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False) + first
    torch.testing.assert_close(cell(images), cell.edges["1_to_3"](first) + second)


def test_a_cell_without_a_path_gives_the_same_logits_for_all_images() -> None:
    network = NASBench201(cell_text(["none", "none", "nor_conv_3x3", "none", "none", "nor_conv_3x3"])).eval()
    logits = network(torch.randn(3, 3, 32, 32))
    torch.testing.assert_close(logits, logits[:1].expand(3, -1))


def test_the_text_of_a_cell_is_read_and_written_alike() -> None:
    for operations in product(OPERATIONS[1:3], repeat=6):
        assert cell_operations(cell_text(operations)) == operations


@pytest.mark.parametrize("cell", ["", "|none~0|", ALL_CONV.replace("3x3~0", "5x5~0", 1), f"{ALL_CONV}|"])
def test_other_texts_are_no_cells(cell: str) -> None:
    with pytest.raises(ValueError, match=r"Expected cell to be six of none, .* but got "):
        NASBench201(cell)


def test_the_initial_weights_are_the_seeds() -> None:
    first, again, other = (NASBench201(ALL_CONV, seed=seed).layers[0].weight for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class Malicious:
    """What a pickle can run when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    file, target = tmp_path / "data.anb", tmp_path / "touched"
    file.write_bytes(pickle.dumps({(0,) * 6: Malicious(target)}))
    with pytest.raises(ValueError, match=r"Expected .*data.anb to hold numbers and texts only, but it names pathlib"):
        sources.analog_cells(file)
    assert not target.exists()
    for name in (b"cos\nsystem\n(S'touch touched'\ntR.", b"c__builtin__\neval\n(S'1'\ntR.", b"\x80\x04Pid\n."):
        file.write_bytes(name)
        with pytest.raises(ValueError, match=r"Expected .*data.anb to "):
            read_inert(file, [])


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({(0, 1): 2.0})])
def test_a_damaged_file_of_cells_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "data.anb"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected .*data.anb to .*"):
        sources.analog_cells(file)


def _analog_package(folder: Path, monkeypatch: pytest.MonkeyPatch, cells: dict[tuple[int, ...], float]) -> None:
    """Make a package like analog-nasbench, which must not be loaded."""
    package = folder / "analognasbench"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it must not be loaded')")
    module = ModuleType("analognasbench.data")
    kind = type("Architecture", (), {"__module__": "analognasbench.data"})
    module.Architecture = kind  # type: ignore[attr-defined]
    content = {}
    for key, accuracy in cells.items():
        content[key] = kind()
        content[key].baseline_accuracy = accuracy
    with monkeypatch.context() as within:
        within.setitem(sys.modules, "analognasbench", ModuleType("analognasbench"))
        within.setitem(sys.modules, "analognasbench.data", module)
        (package / "data.anb").write_bytes(pickle.dumps(content))
    monkeypatch.syspath_prepend(str(folder))


def test_the_cells_of_analog_nasbench_are_read_without_loading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _analog_package(tmp_path, monkeypatch, {(2, 2, 0, 3, 1, 4): 94.5, (1,) * 6: 10.0})
    first, second = sources.BENCHMARKS["nas-bench-201"]()
    # Its keys have the edges in the order 0-1, 0-2, 0-3, 1-2, 1-3, 2-3.
    assert first.name == cell_text(
        ["nor_conv_3x3", "nor_conv_3x3", "nor_conv_1x1", "skip_connect", "none", "avg_pool_3x3"]
    )
    assert (first.accuracy, second.accuracy, second.name) == (94.5, 10.0, cell_text(["none"] * 6))
    assert first.build(0, (3, 32, 32))(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.skipif(importlib.util.find_spec("analognasbench") is None, reason="analog-nasbench is not installed")
def test_the_real_cells_without_a_path_guess_and_the_best_one_is_the_published_one() -> None:
    cells = {network.name: network.accuracy for network in sources.BENCHMARKS["nas-bench-201"]()}
    assert len(cells) == 5**6
    for cell, accuracy in cells.items():
        there = {0}
        for (source, target), name in sorted(zip(EDGES, cell_operations(cell), strict=True)):
            there |= {target} if source in there and name != "none" else set()
        assert (accuracy < 12) == (3 not in there)
    published = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert sorted(cells.values())[-5:][0] <= cells[published]  # the best of NAS-Bench-201 is among the first five here


def _pytorchcv_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a package like pytorchcv, with two networks."""
    models = folder / "pytorchcv" / "models"
    (models / "common").mkdir(parents=True)
    for package in (models.parent, models):
        (package / "__init__.py").write_text("")
    (models / "tiny.py").write_text(
        "from torch import nn\n"
        "def tiny(in_size=(224, 224)):\n"
        "    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))\n"
        "    network.in_size = in_size\n"
        "    return network\n"
        "def tiny_cifar10(in_size=(32, 32)):\n"
        "    return tiny(in_size)\n"
    )
    (models.parent / "model_provider.py").write_text(
        "from .models.tiny import tiny, tiny_cifar10\ndef get_model(name, **kw):\n    return globals()[name](**kw)\n"
    )
    head = (
        "model_name,net_weights,error_value,checksum,repo_release_tag,model_caption,arxiv_paper,test_dataset,img_size"
    )
    lines = ["tiny,162,0503,a,b,c,d,in1k,224", "tiny_cifar10,162,0743,a,b,c,d,cf,NA", "tiny_svhn,162,NA,a,b,c,d,cf,NA"]
    (models / "common" / "model_metainfos.csv").write_text("\n".join([head, *lines]) + "\n")
    monkeypatch.syspath_prepend(str(folder))


def test_the_errors_of_pytorchcv_become_accuracies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pytorchcv"]:
        monkeypatch.delitem(sys.modules, name)
    _pytorchcv_package(tmp_path, monkeypatch)
    (small,) = sources.BENCHMARKS["pytorchcv-cifar10"]()
    (large,) = sources.BENCHMARKS["pytorchcv-imagenet"]()
    assert sources.BENCHMARKS["pytorchcv-svhn"]() == []
    assert (small.name, small.accuracy, small.family, small.input_size) == ("tiny_cifar10", 92.57, "tiny", (3, 32, 32))
    assert (large.accuracy, large.input_size) == (94.97, (3, 224, 224))
    assert large.build(0, (3, 64, 64)).in_size == (64, 64)
    weights = [small.build(seed, (3, 32, 32))[0].weight for seed in (1, 1)]
    assert torch.equal(*weights)
    for name in [name for name in sys.modules if name.split(".")[0] == "pytorchcv"]:
        monkeypatch.delitem(sys.modules, name)


def test_torchvision_lists_its_weights_of_imagenet_1k() -> None:
    networks = {network.name: network for network in sources.BENCHMARKS["torchvision"]()}
    assert len(networks) >= 78
    assert networks["resnet18"].accuracy == 69.758
    assert networks["inception_v3"].input_size == (3, 299, 299)
    assert networks["swin_t"].family == "swin_transformer"


def test_timm_is_listed_by_a_table_of_accuracies(tmp_path: Path) -> None:
    file = tmp_path / "accuracies.csv"
    file.write_text("model,top1\nresnet18.a1_in1k,71.5\nresnet18.fb_ssl_yfcc100m_ft_in1k,72.6\nno_such_model,99\n")
    (network,) = sources.timm_networks(file)
    assert (network.name, network.accuracy, network.family, network.input_size) == (
        "resnet18",
        71.5,
        "resnet",
        (3, 224, 224),
    )
    file.write_text("model,top1\nno_such_model,99\n")
    with pytest.raises(ValueError, match=r"to name architectures of timm, but it names none"):
        sources.timm_networks(file)


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
    reasons = {network.name: reason for network, reason in sampled([large, broken, small], 3, max_macs=1e5)}
    assert reasons["small"] is None
    assert reasons["large"] == "its 2,118,400 MACs are too many"
    assert "Error" in str(reasons["broken"])
    assert resized(small, 8).input_size == (3, 8, 8)
    assert resized(small, 96) == small


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
    _analog_package(tmp_path, monkeypatch, cells)
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


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"Expected analog-nasbench to be installed, but it is not; pip install"):
        sources.BENCHMARKS["nas-bench-201"]()
