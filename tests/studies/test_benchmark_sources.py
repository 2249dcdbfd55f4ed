"""Networks of known accuracy: NAS-Bench-201's cells, pickles of others, and the lists of libraries."""

import importlib.util
import pickle
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from analog_cells import analog_package
from torch import nn

from nnmass.studies.benchmark import sources
from nnmass.studies.benchmark.nas_bench_201 import EDGES, OPERATIONS, NASBench201, cell_operations, cell_text
from nnmass.studies.benchmark.pickles import read_inert
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
    """A command that a pickle can run when it is read."""

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


def test_the_cells_of_analog_nasbench_are_read_without_loading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analog_package(tmp_path, monkeypatch, {(2, 2, 0, 3, 1, 4): 94.5, (1,) * 6: 10.0})
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


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"Expected analog-nasbench to be installed, but it is not; pip install"):
        sources.BENCHMARKS["nas-bench-201"]()
