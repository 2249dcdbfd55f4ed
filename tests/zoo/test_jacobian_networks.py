"""Layers of timm's networks against the derivatives that autograd finds in the networks themselves."""

from collections.abc import Iterator

import pytest
import timm
import torch
from torch import Tensor, nn

from nnmass.zoo.jacobian.layers import Layer, layers_at
from nnmass.zoo.seeding import seeded

QUICK = ["resnet10t", "efficientnet_b0", "convnextv2_atto"]

# A small member of each family without attention.
FAMILIES = [
    "regnety_002",
    "repvgg_a0",
    "cs3darknet_s",
    "convmixer_768_32",
    "convnext_atto",
    "densenet121",
    "dla46_c",
    "dpn48b",
    "fasternet_t0",
    "tf_efficientnet_b0",
    "ghostnet_050",
    "gmixer_12_224",
    "gmlp_s16_224",
    "resmlp_12_224",
    "mixer_s32_224",
    "hardcorenas_a",
    "hgnetv2_b0",
    "hrnet_w18_small",
    "inception_next_atto",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "poolformer_s12",
    "mobilenetv3_small_050",
    "nfnet_f0",
    "eca_nfnet_l0",
    "pnasnet5large",
    "rdnet_tiny",
    "repghostnet_050",
    "res2net50_14w_8s",
    "resnest14d",
    "resnetv2_18",
    "rexnet_100",
    "selecsls42",
    "legacy_seresnet18",
    "skresnet18",
    "starnet_s050",
    "tresnet_m",
    "vgg11",
    "ese_vovnet19b_slim",
    "legacy_xception",
    "xception41",
]


def recorded(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Every tensor that enters or leaves a module, in one run that keeps the derivatives."""
    found: dict[int, Tensor] = {}

    def keep(module: nn.Module, arguments: tuple, value: object) -> None:
        for one in (*arguments, value):
            if isinstance(one, Tensor) and one.requires_grad:
                found[id(one)] = one

    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # which would overwrite what is kept
        module.register_forward_hook(keep)
    network(x)
    return list(found.values())


def like(value: Tensor, tensors: list[Tensor]) -> Iterator[Tensor]:
    """The tensors that hold these numbers, tokens in their images or in one row."""
    for tensor in tensors:
        same = tensor.numel() == value.numel() and tensor.shape[-1] == value.shape[-1]
        if same and torch.allclose(tensor.detach().reshape(value.shape), value, rtol=1e-9, atol=1e-12):
            yield tensor


def derivative(layer: Layer, tensors: list[Tensor], direction: Tensor, leaving: Tensor) -> Tensor | None:
    """The network's own product of a vector with the layer's transposed Jacobian; None where no module has a value."""
    for end in like(leaving, tensors):
        for start in like(layer.entering.detach(), tensors):
            if start is not end:
                product = (end.reshape(direction.shape) * direction).sum()
                (found,) = torch.autograd.grad(product, start, retain_graph=True, allow_unused=True)
                if found is not None:
                    return found.reshape(layer.entering.shape)
    return None


@pytest.mark.parts(4)
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES)])
def test_layers_have_the_derivatives_of_their_network(name: str) -> None:
    with seeded(0):
        network = timm.create_model(name).double().eval()
        for parameter in network.parameters():  # some begin at zero, and so would the derivatives
            parameter.data += 0.05 * torch.randn_like(parameter)
        fixed = network.default_cfg.get("fixed_input_size", False)
        size = network.default_cfg["input_size"][-1] if fixed else 96
        x = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    layers = list(layers_at(network, x.detach(), "eval"))
    tensors = recorded(network, x)
    compared = 0
    for layer in layers:
        inside = layer.entering.detach().requires_grad_()
        leaving = layer.function(inside)
        alone = layer.function(layer.entering[:1])
        assert torch.allclose(alone, leaving[:1], rtol=1e-9, atol=1e-9 * float(leaving.detach().abs().max())), (
            layer.name
        )
        direction = torch.randn(leaving.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        expected = derivative(layer, tensors, direction, leaving.detach())
        if expected is not None:
            (found,) = torch.autograd.grad((leaving * direction).sum(), inside)
            assert torch.allclose(found, expected, rtol=1e-8, atol=1e-9 * float(expected.abs().max())), layer.name
            compared += 1
    assert compared >= 0.7 * len(layers), f"{compared} of {len(layers)}"
