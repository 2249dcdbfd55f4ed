"""Every named network, found by listing: it computes, learns, is saved and copied, and is what it says it is."""

import copy
import io
from collections.abc import Callable
from math import isfinite
from typing import Any

import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nnmass.zoo import RandomSkipCell, create_model, list_models, register_in_timm, topology

# Of each family the smallest: it stands for the rest where a test takes seconds.
SMALLEST = ["dense_digits", "dsconv_31_w2_e1_10_35_50", "mlp_d16_w8_t2", "resnet18_cifar", "mobilenetv2_100_cifar"]
# One of each kind of cell, block and stem; the others, which differ in depth, width and links, are slow tests.
KINDS = [
    *SMALLEST,
    *("dense_31_w1_small", "dense_31_w2_50_70_145", "dense_40_w2_chain", "imagenet_dense_48_w1p5_60_120_240_480"),
    *("dsconv_31_w2_e6_50_70_145", "imagenet_dsconv_48_w2_80_160_320_640", "mlp_d32_w8_t9", "mobilenetv2_a"),
    *("mobilenetv2_075", "resnet18", "resnext50_32x4d", "wrn18_1p5", "wrn18_2_cifar"),
]
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in list_models() if name not in KINDS]


def each(test: Callable) -> Callable:
    """Run a test for every named network, a sixth of the others a day."""
    return pytest.mark.parts(6)(pytest.mark.parametrize("name", [*KINDS, *OTHERS])(test))


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Equal to 1e-4 of the largest entry."""
    assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()


def small_input(network: Any, batch: int = 2) -> Tensor:
    """Input of the right kind, and no larger than it must be."""
    channels, *sides = network.default_cfg["input_size"]
    sides = [min(side, 64 if side > 32 else 16) for side in sides]
    return torch.rand(batch, channels, *sides, generator=torch.Generator().manual_seed(1))


@each
def test_a_named_network_computes_learns_and_keeps_the_contract(name: str) -> None:
    state = torch.get_rng_state()
    network: Any = create_model(name, num_classes=3)
    assert torch.equal(state, torch.get_rng_state())
    assert network.num_classes == network.default_cfg["num_classes"] == 3
    images = small_input(network)
    assert network.in_chans == images.shape[1]
    logits = network(images)
    logits.square().sum().backward()
    assert logits.shape == (2, 3)
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    network.eval()
    with torch.no_grad():
        logits = network(images)
        features = network.forward_features(images)
        assert_close(network.forward_head(features), logits)  # the fast pass of an MLP rounds in another order
        assert network.forward_head(features, pre_logits=True).shape == (2, network.num_features)
        assert_close(network(images[:1]), logits[:1])
        if images.ndim == 4:
            assert_close(
                network.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last)), logits
            )
        with torch.autocast("cpu", torch.bfloat16):
            assert network(images).isfinite().all()
        network.reset_classifier(5)
        assert network(images).shape == (2, 5)
        assert network.get_classifier().out_features == network.num_classes == 5


@each
def test_a_saved_or_copied_network_brings_its_links_back(name: str) -> None:
    network: Any = create_model(name).eval()
    images = small_input(network, batch=1)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other: Any = create_model(name, seed=1).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        logits = network(images)
        assert torch.equal(other(images), logits)
        assert torch.equal(copy.deepcopy(network)(images), logits)


@each
def test_the_traced_topology_is_the_closed_form(name: str) -> None:
    with torch.device("meta") if not name.startswith(("dense", "dsconv", "imagenet", "mlp")) else torch.device("cpu"):
        network: Any = create_model(name)
    record = topology(network)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval().to("meta")(torch.empty(1, *record.input_size, device="meta"))
    assert record.macs == counter.get_total_flops() // 2
    assert record.num_params == sum(parameter.numel() for parameter in network.parameters())
    assert not record.not_judged
    assert isfinite(record.nn_mass)
    if hasattr(network, "nn_mass"):
        assert record.nn_mass == network.nn_mass
        linked = [density for density in network.cell_densities if density]
        assert [block.density for block in record.blocks] == linked
        assert sum(block.layers for block in record.blocks) == sum(
            module.depth for module in network.modules() if hasattr(module, "depth") and sum(module.num_links)
        )


@pytest.mark.parametrize("name", SMALLEST)
def test_shapes_are_known_without_a_number_on_the_meta_device(name: str) -> None:
    network: Any = create_model(name).to("meta")
    images = torch.empty(2, *network.default_cfg["input_size"], device="meta")
    assert network.train()(images).shape == network.eval()(images).shape == (2, network.num_classes)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "dense_digits" else pytest.mark.slow) for name in SMALLEST]
)
def test_the_smallest_of_a_family_compiles_and_exports(name: str) -> None:
    network: Any = create_model(name).eval()
    images = small_input(network)
    with torch.no_grad():
        logits = network(images)
        assert_close(torch.compile(network)(images), logits)
        assert_close(torch.export.export(network, (images,)).module()(images), logits)
        program: Any = torch.onnx.export(network, (images,), dynamo=True, verbose=False)
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    assert_close(torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]), logits)


def test_timm_knows_the_networks_on_request_and_not_before() -> None:
    assert not [name for name in timm.list_models() if name.startswith("nnmass_")]
    names = register_in_timm()
    assert register_in_timm() == names
    assert set(timm.list_models("nnmass_*")) == set(names)
    network = timm.create_model("nnmass_dense_digits", num_classes=4, in_chans=2)
    assert (network.num_classes, network.in_chans) == (4, 2)
    trained = timm.create_model("nnmass_dense_digits", pretrained=True)
    weights = create_model("dense_digits", pretrained=True).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in trained.state_dict().items())
    with pytest.raises(ValueError, match="network with trained weights, but got 'resnet18_cifar'"):
        timm.create_model("nnmass_resnet18_cifar", pretrained=True)


def test_an_expansion_block_is_written_out_in_the_dsconv_networks() -> None:
    """Every 3x3 convolution but the very first: 1x1, depthwise 3x3 that carries the stride, 1x1."""
    network: Any = create_model("dsconv_31_w2_e6_50_70_145")
    plain: Any = create_model("dense_31_w2_50_70_145")
    for index, (cell, other) in enumerate(zip(network.cells, plain.cells, strict=True)):
        assert isinstance(cell, RandomSkipCell)
        assert [layer.links.tolist() for layer in cell.layers] == [layer.links.tolist() for layer in other.layers]
        for position, (layer, whole) in enumerate(zip(cell.layers, other.layers, strict=True)):
            if index == position == 0:
                assert isinstance(layer.conv, nn.Conv2d)
                continue
            first, depthwise, last = (module for module in layer.conv if isinstance(module, nn.Conv2d))
            assert first.in_channels == whole.conv.in_channels
            assert last.out_channels == whole.conv.out_channels
            assert first.out_channels == depthwise.groups == last.in_channels == 6 * last.out_channels
            assert (first.stride, depthwise.stride, last.stride) == ((1, 1), whole.conv.stride, (1, 1))


def test_imagenet_rows_give_unlike_depths_one_mass() -> None:
    masses: dict[str, list[float]] = {}
    for name in list_models("imagenet_dense_*"):
        masses.setdefault(name.split("_", 3)[3], []).append(create_model(name).nn_mass)  # type: ignore[arg-type]
    assert len(masses) == 6
    assert all(len(row) == 5 and max(row) < 1.04 * min(row) for row in masses.values())
