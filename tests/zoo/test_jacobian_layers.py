"""Layers with every activation, normalisation and padding of torch.nn and timm.layers, against dense Jacobians.

The references are whole Jacobians of float64 autograd, of one sample after the other. Classes are found by listing.
"""

import inspect
from collections.abc import Callable, Iterator
from copy import deepcopy
from types import ModuleType
from typing import Any

import pytest
import timm.layers
import torch
from torch import Tensor, nn
from torch.nn.modules import activation, batchnorm, instancenorm, normalization, padding

from nnmass.zoo import circular_convolution_singular_values, layer_spectra
from nnmass.zoo.seeding import seeded

F = nn.functional

# Files of timm.layers whose classes neither activate, normalise nor pad a value, or do more.
TIMM_LEFT_OUT = {
    "attention": ("attention", "attention2d", "diff_attention", "non_local_attn", "attention_pool", "attention_pool2d"),
    "gates, which belong to no layer": ("eca", "squeeze_excite", "gather_excite", "global_context", "split_attn"),
    "branches that are weighed against each other": ("selective_kernel",),
    "pooling, which belongs to no layer": ("adaptive_avgmax_pool", "blur_pool", "other_pool", "pool2d_same"),
    "several layers": ("mlp", "conv_bn_act", "separable_conv", "mixed_conv2d", "classifier", "hybrid_embed"),
    "wrappers of a network": ("test_time_pool",),
    "embeddings of patches and positions": ("patch_embed", "pos_embed_rel", "pos_embed_sincos"),
    "weights chosen by the input": ("cond_conv2d",),
    "nothing in eval mode": ("drop", "patch_dropout"),
    "channels in another place": ("space_to_depth",),
    "a linear layer": ("linear",),
}
LEFT_OUT = {
    "MultiheadAttention": "attention",
    "CrossMapLRN2d": "torch cannot trace its autograd function",
    "InplaceAbn": "a package of its own",
}
ARGUMENTS: dict[str, tuple] = {
    **dict.fromkeys(("ConstantPad1d", "ConstantPad2d", "ConstantPad3d"), (1, 0.5)),
    **dict.fromkeys(("GLU", "Softmin", "Softmax", "LogSoftmax"), (1,)),
    "Threshold": (0.1, 0.5),
    "LocalResponseNorm": (3,),
    **dict.fromkeys(("GroupNorm", "GroupNormAct"), (4, 2)),
    **dict.fromkeys(("EvoNorm2dS0", "EvoNorm2dS0a", "EvoNorm2dS1", "EvoNorm2dS1a"), (4, 2)),
    **dict.fromkeys(("EvoNorm2dS2", "EvoNorm2dS2a"), (4, 2)),
}
IMAGES = {
    "2d": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 4, 5)),
    "1d": (nn.Conv1d(3, 4, 3, padding=1), (2, 3, 6)),
    "3d": (nn.Conv3d(2, 4, 2), (2, 2, 3, 3, 2)),
    "linear": (nn.Linear(5, 4), (3, 5)),
}


def classes(*modules: ModuleType) -> Iterator[type[nn.Module]]:
    for module in modules:
        for name, found in sorted(vars(module).items()):
            if inspect.isclass(found) and issubclass(found, nn.Module) and not name.startswith(("_", "Lazy")):
                yield found


def of_torch() -> list[type[nn.Module]]:
    files = (activation, batchnorm, instancenorm, normalization, padding)
    return [found for file in files for found in classes(file) if found.__module__ == file.__name__]


def of_timm() -> list[type[nn.Module]]:
    left_out = {file for files in TIMM_LEFT_OUT.values() for file in files}
    found = {each for each in classes(timm.layers) if each.__module__.rpartition(".")[2] not in left_out}
    return sorted(found, key=lambda each: each.__name__)


def made(each: type[nn.Module]) -> nn.Module:
    """An instance for four channels, or a padding of one."""
    name = each.__name__
    if each is nn.GroupNorm:
        return nn.GroupNorm(2, 4)
    if name.endswith(("Conv2d", "Conv2dSame")):
        return each(3, 4, 3)
    choices: list[tuple] = [ARGUMENTS[name]] if name in ARGUMENTS else [(1,)] if "Pad" in name else [(), (4,)]
    for choice in choices:
        try:
            return each(*choice)
        except TypeError:
            continue
    raise AssertionError(f"{name} is made in a way that this test does not know")


def dense(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    values = []
    for sample in x:
        jacobian = torch.autograd.functional.jacobian(lambda one: function(one[None])[0].flatten(), sample)
        values.append(torch.linalg.svdvals(jacobian.flatten(1)))
    return torch.stack(values)


def drawn(module: nn.Module) -> nn.Module:
    """A copy of the module in eval mode, with parameters and statistics that hide nothing."""
    module = deepcopy(module)
    for value in (*module.parameters(), *module.buffers()):
        if value.is_floating_point():
            value.data = value.data + torch.rand_like(value)
    return module.double().eval()


def assert_one_layer(network: nn.Module, x: Tensor, close: float = 1e-10) -> None:
    expected = dense(network, x)
    (found,) = layer_spectra(network, x, "eval", exact_up_to=4000)
    assert found.spectrum.exact
    assert (found.spectrum.rows, found.spectrum.columns) == (network(x)[0].numel(), x[0].numel())
    values = found.spectrum.values.view_as(expected)
    assert (values - expected).abs().max() <= close * expected.max().clamp(min=1e-2)
    probes = 64
    estimated = next(layer_spectra(network, x, "eval", exact_up_to=0, probes=probes, steps=1)).spectrum
    # An image's sum of squares, by one random vector, has a variance of at most twice the sum of their fourth powers.
    deviations = (2 * expected.pow(4).sum(1) / probes).sqrt() / expected.shape[1]
    error = 5 * deviations.square().sum().sqrt().item() / len(x)
    assert estimated.mean_square.value == pytest.approx(expected.square().mean().item(), abs=error + 1e-6)


def fits(network: nn.Module, x: Tensor) -> bool:
    """Tell whether the module is one for values of these dimensions, and treats each sample alone."""
    try:
        value = network(x)
        alone = network(x[:1])
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError):
        return False
    return (
        value.ndim == x.ndim
        and value.numel() < 2000
        and alone.shape == value[:1].shape
        and torch.allclose(alone, value[:1], atol=1e-6)
    )


@pytest.mark.parametrize("each", [*of_torch(), *of_timm()], ids=lambda each: f"{each.__module__}.{each.__name__}")
@pytest.mark.filterwarnings("ignore:var.*degrees of freedom:UserWarning")
@pytest.mark.filterwarnings("ignore:input's size at dim=0 does not match:UserWarning")
def test_a_class_belongs_to_the_layer_beside_it(each: type[nn.Module]) -> None:
    if each.__name__ in LEFT_OUT:
        return
    tried = 0
    for convolution, shape in IMAGES.values():
        with seeded(0):
            x, operator = torch.randn(shape, dtype=torch.float64), drawn(convolution)
            shaped = tuple(operator(x).shape[1:])
            takes_shape = each in (nn.LayerNorm, nn.RMSNorm)
            module = drawn(each(shaped) if takes_shape else made(each))
        is_padding, is_layer = "Pad" in each.__name__, isinstance(module, nn.Conv2d)
        network = nn.Sequential(*((module,) if is_layer else (module, operator) if is_padding else (operator, module)))
        widened = (
            not is_padding and not is_layer and network(x).numel() > operator(x).numel() if fits(network, x) else True
        )
        if not widened:
            in_single = "Fp32" in each.__name__ or each.__name__.startswith(("EvoNorm", "FilterResponse"))
            assert_one_layer(network, x, 1e-4 if in_single else 1e-10)
            tried += 1
    assert tried, "no layer takes it"


def test_what_is_left_out_is_there() -> None:
    files = {each.__module__.rpartition(".")[2] for each in classes(timm.layers)}
    assert {file for left_out in TIMM_LEFT_OUT.values() for file in left_out} <= files
    assert set(LEFT_OUT) <= {each.__name__ for each in (*of_torch(), *of_timm())}


class Written(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


BY_HAND: dict[str, Callable[[Tensor, int], Tensor]] = {  # of a value and the dimension of its channels
    "swish": lambda x, c: x * x.sigmoid(),
    "mish": lambda x, c: x * F.softplus(x).tanh(),
    "hard swish": lambda x, c: x * F.relu6(x + 3) / 6,
    "gelu": lambda x, c: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "gelu of bert": lambda x, c: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3))),
    "snake": lambda x, c: x + torch.sin(x) ** 2,
    "tanhshrink in place": lambda x, c: x.clone().sub_(x.tanh()),
    "maximum of two": lambda x, c: torch.maximum(x, 0.3 * x * x),
    "rms norm": lambda x, c: x * torch.rsqrt(x.square().mean(c, keepdim=True) + 1e-6),
    "layer norm": lambda x, c: (x - x.mean(c, keepdim=True)) / (x.var(c, keepdim=True, unbiased=False) + 1e-5).sqrt(),
    "l2 norm": lambda x, c: x / x.norm(dim=c, keepdim=True),
    "swish after a norm": lambda x, c: (x / x.norm(dim=c, keepdim=True)) * x.sigmoid(),
    "gated linear unit": lambda x, c: x.chunk(2, c)[0] * x.chunk(2, c)[1].sigmoid(),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_activations_and_norms_written_by_hand_belong_to_the_layer_too(name: str) -> None:
    for kind in ("2d", "linear"):
        convolution, shape = IMAGES[kind]
        with seeded(0):
            x, operator = torch.randn(shape, dtype=torch.float64), drawn(convolution)
        network = nn.Sequential(operator, Written(lambda value: BY_HAND[name](value, 1)))
        assert_one_layer(network, x)
    tokens = torch.stack([x, x.flip(0), 2 * x])  # each as if it were alone
    expected = dense(network, tokens.flatten(0, 1))
    treated = nn.Sequential(operator, Written(lambda value: BY_HAND[name](value, -1)))
    (found,) = layer_spectra(treated, tokens, "eval")
    assert (found.spectrum.values.view_as(expected) - expected).abs().max() <= 1e-10 * expected.max()


class Joined(nn.Module):
    """Two layers added up, and a third behind an activation and padding."""

    def __init__(self, function: Callable[[Tensor, int], Tensor], channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.last, self.function = nn.Conv2d(channels, 3, 3), function

    def joined(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)

    def after(self, x: Tensor) -> Tensor:
        return self.last(F.pad(self.function(x, 1), (1, 1, 1, 0)))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.joined(x))


@pytest.mark.parametrize("name", BY_HAND)
def test_what_follows_an_addition_belongs_to_the_layer_after_it(name: str) -> None:
    with seeded(0):
        network = drawn(Joined(BY_HAND[name], 2 if name.startswith("gated") else 4))
        x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    found = list(layer_spectra(network, x, "eval"))
    references = ((network.first, x), (network.second, x), (network.after, network.joined(x).detach()))
    for one, (function, entering) in zip(found, references, strict=True):
        expected = dense(function, entering)  # type: ignore[arg-type]
        assert (one.spectrum.values.view_as(expected) - expected).abs().max() <= 1e-10 * expected.max()


PADDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": lambda x: F.pad(x, (1, 2, 0, 1)),
    "a constant": lambda x: F.pad(x, (1, 1, 1, 1), value=3.0),
    "cropping": lambda x: F.pad(x, (-1, 1, 0, 0)),
    "reflection": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    "replication": lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
    "a torus": lambda x: F.pad(x, (1, 2, 0, 1), mode="circular"),
    "two in a row": lambda x: F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1)),
    "concatenation": lambda x: torch.cat([x[..., -1:], x, x[..., :1]], -1),
}


@pytest.mark.parametrize("name", PADDINGS)
def test_padding_belongs_to_the_layer_after_it_and_activations_to_the_one_before(name: str) -> None:
    with seeded(0):
        first, last = drawn(nn.Conv2d(3, 2, 1)), drawn(nn.Conv2d(2, 4, 3))
        x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    before = nn.Sequential(first, nn.ELU())
    padded = nn.Sequential(Written(PADDINGS[name]), last)
    found = list(layer_spectra(nn.Sequential(before, padded), x, "eval"))
    for one, (function, entering) in zip(found, ((before, x), (padded, before(x).detach())), strict=True):
        expected = dense(function, entering)
        assert (one.spectrum.rows, one.spectrum.columns) == (function(entering)[0].numel(), entering[0].numel())
        assert (one.spectrum.values.view_as(expected) - expected).abs().max() <= 1e-10 * expected.max()


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_convolutions_that_pad_in_any_way_see_the_image(mode: Any, samples: int) -> None:
    for arguments in ({"kernel_size": 3, "padding": 1}, {"kernel_size": 4, "padding": "same"}):
        with seeded(0):
            layer = drawn(nn.Conv2d(2, 3, padding_mode=mode, **arguments))
            x = torch.randn(samples, 2, 5, 6, dtype=torch.float64)
        assert_one_layer(nn.Sequential(layer), x)
    with seeded(0):
        around = drawn(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False))
    (found,) = layer_spectra(around, x[:1], "eval")
    expected = circular_convolution_singular_values(around.weight.detach(), (5, 6))
    assert torch.allclose(found.spectrum.values.sort().values, expected.sort().values, atol=1e-10)


class Gated(nn.Module):
    """A squeeze-excitation between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.squeeze, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        x = x * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.last(x)


def test_a_gate_with_weights_belongs_to_no_layer() -> None:
    with seeded(0):
        network, x = drawn(Gated()), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    found = {one.name: one.spectrum for one in layer_spectra(network, x, "eval")}
    expected = torch.linalg.svdvals(network.last.weight.detach()[:, :, 0, 0])  # type: ignore[union-attr, operator]
    assert found["last"].largest.value == pytest.approx(expected.max().item(), rel=1e-10)
    assert found["last"].mean.value == pytest.approx(expected.mean().item(), rel=1e-10)


class Left(nn.Module):
    """Layers whose weights stand on the left of their samples."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.first, self.last = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(4, 5))
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "all through":
            return (self.last @ (self.first @ x.T).tanh()).T
        if self.form == "one by one":
            return torch.matmul(self.last, torch.matmul(self.first, x.T).T.tanh().T).T
        if self.form == "linear":
            return F.linear(self.last, F.linear(self.first, x).T.tanh()).T
        return F.linear(F.linear(x, self.first).tanh(), self.last)


@pytest.mark.parametrize("form", ["on the right", "all through", "one by one", "linear"])
@pytest.mark.parametrize("samples", [2, 3, 5, 6])
def test_weights_on_the_left_are_measured_as_those_on_the_right(form: str, samples: int) -> None:
    with seeded(0):
        network = Left(form).double()
        x = torch.randn(samples, 6, dtype=torch.float64)
    found = list(layer_spectra(network, x))
    middle = (x @ network.first.T).tanh().detach()
    references = (
        (lambda value: (value @ network.first.T).tanh(), x),
        (lambda value: value @ network.last.T, middle),
    )
    for one, (function, entering) in zip(found, references, strict=True):
        expected = dense(function, entering)
        assert (one.spectrum.values.view_as(expected) - expected).abs().max() <= 1e-10 * expected.max()


class Mixing(nn.Module):
    """Networks of which no sample can be looked at alone."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.weight, self.form = nn.Parameter(torch.randn(3, 3)), form

    def forward(self, x: Tensor) -> Tensor:
        return self.weight @ x if self.form == "product" else torch.mv(self.weight, x.flatten()[:3])


@pytest.mark.parametrize("form", ["product", "vector"])
def test_samples_that_are_mixed_are_refused(form: str) -> None:
    with pytest.raises(ValueError, match="Expected"):
        list(layer_spectra(Mixing(form), torch.randn(3, 4)))
