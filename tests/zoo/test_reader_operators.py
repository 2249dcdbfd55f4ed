"""Every operator that published networks are made of stands in a table, and every table is of operators."""

from collections.abc import Sequence

import pandas as pd
import pytest
import timm
import torch
import torchvision
from conftest import ROOT
from torch import nn

from nnmass.zoo.reader import operators
from nnmass.zoo.reader.tracing import traced_graph

ATLAS = ROOT / "docs" / "results" / "atlas" / "atlas.csv"
TABLES = [name for name in vars(operators) if name.isupper() and not name.startswith("_")]
# Small ones of unlike make: convolutions, attention, state, gates, shuffles, positions and fixed filters.
SAMPLE = (
    "test_convnext", "test_efficientnet_gn", "test_vit", "test_nfnet", "test_mambaout", "test_byobnet", "test_resnet",
    "starnet_s050", "dla46x_c", "ghostnet_050", "mobilenetv3_small_050", "ese_vovnet19b_slim_dw",
)  # fmt: skip


def unknown_operators(network: nn.Module, size: Sequence[int]) -> set[str]:
    """The operators on values in a network's graph that stand in no table."""
    with torch.device("meta"):
        images = torch.zeros(1, *size)
    graph = traced_graph(network, images).graph
    nodes = [node for node in graph.nodes if node.op == "call_function" and node.all_input_nodes]
    assert nodes
    return {str(node.target) for node in nodes if not operators.is_known(node)}


def timm_network(name: str) -> tuple[nn.Module, Sequence[int]]:
    with torch.device("meta"):
        network = timm.create_model(name)
    return network, network.default_cfg["input_size"]  # type: ignore[return-value, index]


@pytest.mark.parametrize("name", SAMPLE)
def test_every_operator_of_small_networks_of_many_kinds_is_known(name: str) -> None:
    assert unknown_operators(*timm_network(name)) == set()


def smallest_of_each_family() -> dict[str, str]:
    table = pd.read_csv(ATLAS).sort_values("num_params")
    return {str(family): rows["name"].iloc[0] for family, rows in table.groupby("family")}


@pytest.mark.slow
@pytest.mark.parts(6)
@pytest.mark.parametrize(("family", "name"), smallest_of_each_family().items())
def test_every_operator_of_each_family_of_timm_is_known(family: str, name: str) -> None:
    assert unknown_operators(*timm_network(name)) == set(), family


@pytest.mark.slow
@pytest.mark.parts(6)
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_every_operator_of_torchvisions_classifiers_is_known(name: str) -> None:
    size = (3, 299, 299) if "inception" in name else (3, 224, 224)
    arguments = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # it computes its widths by tensors
        network = torchvision.models.get_model(name, **arguments)
    assert unknown_operators(network.to("meta"), size) == set()


@pytest.mark.parametrize("table", TABLES)
def test_every_name_in_a_table_is_one_of_torchs_operators(table: str) -> None:
    names = set(getattr(operators, table))
    of_torch = {name for name in names if hasattr(torch.ops.aten, name) or hasattr(torch.ops.torchvision, name)}
    assert names - of_torch - {"getitem"} == set()
