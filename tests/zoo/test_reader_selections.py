"""However a network takes and joins its channels, it has one mass, or the reader says that it cannot tell."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nnmass import zoo
from nnmass.zoo import count_macs, draw_links, topology

CANNOT_TELL = "what is joined is moved or taken apart in a way that the reader does not follow"


class Cell(nn.Module):
    """A random-skip cell of six layers of four channels, t_c = 5, that takes its channels in one of several ways."""

    is_cell = True

    def __init__(self, way: str) -> None:
        super().__init__()
        links = draw_links(6, 4, 5, torch.Generator().manual_seed(1))
        entering = [3, *(4 + len(chosen) for chosen in links[1:])]
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, 4, 3, padding=1) for channels in entering)
        self.way, self.links, self.lists = way, links, [chosen.tolist() for chosen in links]
        for layer, chosen in enumerate(links):
            self.register_buffer(f"links_{layer}", chosen)

    def taken(self, earlier: Tensor, layer: int) -> Tensor:
        chosen, listed = self.get_buffer(f"links_{layer}"), self.lists[layer]
        if self.way == "buffer":
            return earlier[:, chosen]
        if self.way == "attribute":
            return earlier[:, self.links[layer]]
        if self.way == "list":
            return earlier[:, listed]
        if self.way == "index_select":
            return earlier.index_select(1, chosen)
        if self.way == "pieces":
            return torch.cat([earlier[:, channel : channel + 1] for channel in listed], 1)
        if self.way == "gather":
            places = chosen[None, :, None, None].expand(len(earlier), -1, *earlier.shape[2:])
            return torch.gather(earlier, 1, places)
        return earlier.transpose(0, 1)[chosen].transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for layer, convolution in enumerate(self.convolutions):
            entering = outputs[-1] if outputs else x
            if layer >= 2:
                entering = torch.cat([entering, self.taken(torch.cat(outputs[:-1], 1), layer)], 1)
            outputs.append(torch.relu(convolution(entering)))
        return outputs[-1]


@pytest.mark.parametrize("way", ["buffer", "attribute", "list", "index_select", "pieces"])
def test_a_cell_has_its_mass_however_it_takes_its_channels(way: str) -> None:
    assert topology(Cell(way), (3, 8, 8)).nn_mass == pytest.approx(zoo.nn_mass(6, 4, 5))


@pytest.mark.parametrize("way", ["gather", "transposed"])
def test_what_the_reader_does_not_follow_is_not_judged(way: str) -> None:
    found = topology(Cell(way), (3, 8, 8))
    assert found.nn_mass == 0
    assert {joint.reason for joint in found.not_judged} == {CANNOT_TELL}
    assert "skip" not in {joint.verdict for joint in found.joints}


class DenseBlock(nn.Module):
    """Four layers, each of which reads all before, joined in another layout."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout
        self.layers = nn.ModuleList(nn.Conv2d(4 * (layer + 1), 4, 3, padding=1) for layer in range(4))

    def joined(self, parts: list[Tensor]) -> Tensor:
        if self.layout == "channels in front":
            return torch.cat(parts, 1)
        if self.layout == "channels behind":
            return torch.cat([part.permute(0, 2, 3, 1) for part in parts], -1).permute(0, 3, 1, 2)
        return torch.cat([part.flatten(2) for part in parts], 1).view(len(parts[0]), -1, *parts[0].shape[2:])

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for layer in self.layers:
            parts.append(torch.relu(layer(self.joined(parts))))
        return parts[-1]


def test_flattened_positions_change_nothing_and_permuted_ones_are_not_judged() -> None:
    mass = topology(DenseBlock("channels in front"), (4, 8, 8)).nn_mass
    assert topology(DenseBlock("positions in a row"), (4, 8, 8)).nn_mass == mass == 12
    permuted = topology(DenseBlock("channels behind"), (4, 8, 8))
    assert {joint.reason for joint in permuted.not_judged} == {CANNOT_TELL}


class Residual(nn.Module):
    """Two layers and a skip, added by one of several operators."""

    def __init__(self, operator: str) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.scale, self.operator = nn.Parameter(torch.ones(6)), operator

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        if self.operator == "addmm":
            return torch.addmm(x, hidden, self.second.weight)
        branch = self.second(hidden)
        if self.operator == "addcmul":
            return torch.addcmul(x, self.scale, branch)
        if self.operator == "lerp":
            return torch.lerp(x, branch, 0.5)
        return torch.rsub(x, branch) if self.operator == "rsub" else x + branch


@pytest.mark.parametrize("operator", ["add", "addcmul", "addmm", "lerp", "rsub"])
def test_a_skip_is_one_whichever_operator_adds_it(operator: str) -> None:
    assert topology(Residual(operator), (6,)).nn_mass == 12


def test_networks_built_on_the_meta_device_have_their_mass_and_moved_ones_are_refused() -> None:
    with torch.device("meta"):
        built = (zoo.RandomSkipDenseNet(5, 1, 9), zoo.RandomSkipMLP(8, 4, 3, in_features=6))
    for network in built:
        assert next(network.parameters()).is_meta
        assert topology(network).nn_mass == pytest.approx(network.nn_mass)
    with pytest.raises(ValueError, match="channels are taken by indices on the meta device, where they have no values"):
        topology(zoo.create_model("dense_digits").to("meta"))


def test_what_a_network_keeps_or_is_wrapped_in_changes_nothing() -> None:
    network = zoo.create_model("dense_digits")
    before = topology(network)
    assert topology(AveragedModel(network)) == before
    with torch.inference_mode():
        assert topology(network) == before
    network.kept = network(torch.rand(1, *before.input_size))  # of which there can be no deep copy
    assert topology(network) == before


class Product(torch.autograd.Function):
    """A matrix product of one's own."""

    @staticmethod
    def forward(context: object, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight

    @staticmethod
    def backward(context: object, *gradients: Tensor) -> tuple[None, None]:
        return None, None


def test_macs_are_counted_whatever_runs_the_product() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5, 7))

        def forward(self, x: Tensor) -> Tensor:
            return Product.apply(x, self.weight) @ torch.ones(7, 3)

    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(7, 5))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight @ x

    assert count_macs(Own(), (5,)) == 5 * 7 + 7 * 3
    assert count_macs(Left(), (4, 5, 6)) == 4 * 7 * 5 * 6
    for padding in ("same", "valid"):
        convolution = nn.Conv2d(3, 8, 3, padding=padding)
        assert count_macs(convolution, (3, 8, 8)) == 3 * 8 * 9 * (64 if padding == "same" else 36)


class Copied(nn.Module):
    """A cell's layers in a class of another name, as conversions make them."""

    def __init__(self, cell: zoo.RandomSkipCell) -> None:
        super().__init__()
        self.layers = cell.layers

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.layers[0](x, None)]
        outputs.append(self.layers[1](outputs[0], None))
        for layer in self.layers[2:]:
            outputs.append(layer(outputs[-1], torch.cat(outputs[:-1], 1)))
        return outputs[-1]


@pytest.mark.parametrize("tc", [4, 99])
def test_a_cell_that_lost_its_mark_is_said_to_be_read_without_it(tc: int) -> None:
    cell = zoo.RandomSkipCell(3, width=4, depth=6, tc=tc)
    marked = topology(nn.Sequential(cell), (3, 8, 8))
    assert (marked.nn_mass, marked.notes) == (pytest.approx(zoo.nn_mass(6, 4, tc)), ())
    for converted in (nn.Sequential(Copied(cell)), torch.fx.symbolic_trace(nn.Sequential(cell))):
        record = topology(converted, (3, 8, 8))
        assert record.nn_mass != pytest.approx(marked.nn_mass)
        assert len(record.notes) == 1
        assert "read without the mark" in record.notes[0]
        assert record.as_dict()["notes"] == list(record.notes)


def test_conversions_that_keep_a_cells_mark_change_nothing() -> None:
    network = zoo.create_model("dense_digits")
    before = topology(network)
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(zoo.create_model("dense_digits"))
    assert topology(synchronised) == topology(copy.deepcopy(network)) == before
    assert before.notes == ()


@pytest.mark.parametrize("way", ["buffer", "attribute", "list", "index_select"])
def test_links_of_any_name_outside_a_stated_cell_are_said_to_be_unmarked(way: str) -> None:
    network = Cell(way)
    network.is_cell = False
    assert len(topology(network, (3, 8, 8)).notes) == 1
    assert topology(Cell(way), (3, 8, 8)).notes == ()
