"""The sweeps of the pass on shared outputs against modules in double precision, without a convolution between them.

With TRITON_INTERPRET=1 the same tests hold the GPU's kernels against them, interpreted on the processor.
"""

import copy
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from test_shared_outputs import INTERPRETED
from torch import Tensor, nn
from torch.nn import functional as F

from nnmass.zoo.fast import gpu, outputs, processor
from nnmass.zoo.fast.channels import Channels, Gradients, Outputs, as_image, in_order

pytestmark = [
    pytest.mark.skipif(not processor.available(torch.float32), reason="PyTorch was built without GNU OpenMP"),
    # Triton's interpreter calculates with NumPy in masked lanes too, whose numbers nobody reads.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

PRECISIONS = [torch.float64, torch.float32, torch.bfloat16, *([torch.float16] if INTERPRETED else [])]


@pytest.fixture(autouse=True)
def sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a GPU if they are interpreted, with sums over several parts; memory that is not written to holds nan."""
    if INTERPRETED:
        monkeypatch.setattr(outputs, "loops_for", lambda device: gpu)
        monkeypatch.setattr(gpu, "_PARTS", 2)
    undefined = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda like: undefined(like).fill_(torch.nan))


def norm_of(count: int, precision: torch.dtype = torch.float32, **settings: Any) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(count, **settings)
    generator = torch.Generator().manual_seed(1)
    for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert value is not None
        value.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    return norm.to(precision)


def sweep_forward(
    layers: list[Tensor], norms: list[nn.BatchNorm2d], links: list[Tensor]
) -> tuple[Outputs, list[Channels], list[Tensor]]:
    """Run the sweeps that read outputs forward; the first layer reads two outputs, each next layer one more."""
    loops = outputs.loops_for(layers[0].device)
    kept = Outputs.like(layers[0], len(layers), torch.zeros(1000, dtype=torch.int32))
    for position, layer in enumerate(layers):
        loops.store(in_order(layer), kept, position, norms[0].training)
    channels, found = [], []
    for newest, (norm, linked) in enumerate(zip(norms, links, strict=True), 1):
        memory = kept.values.new_empty(kept.values.shape[1], norm.num_features)
        channels.append(loops.normalise_and_gather(norm, newest, linked, kept, memory))
        found.append(as_image(memory, layers[0].shape))
    return kept, channels, found


def sweep_backward(
    like: Tensor, norms: list[nn.BatchNorm2d], kept: Outputs, channels: list[Channels], slopes: list[Tensor]
) -> list[Tensor]:
    """Gradients of the outputs; those of the normalisations are added to theirs."""
    loops, sums = outputs.loops_for(like.device), Gradients.none_of(kept)
    for norm, chosen, slope in reversed(list(zip(norms, channels, slopes, strict=True))):
        for parameter, gradient in zip(
            norm.parameters(), loops.scatter(in_order(slope), kept, chosen, sums), strict=True
        ):
            gradient = gradient.to(parameter.dtype)
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    found = [torch.empty(like.shape, dtype=like.dtype, memory_format=torch.channels_last) for _ in kept.values]
    for position, gradient in enumerate(found):
        loops.batch_norm_backward(sums, kept, position, gradient, None)
    return found


def read(leaves: list[Tensor], norms: list[nn.BatchNorm2d], links: list[Tensor]) -> list[Tensor]:
    """The same as the sweeps forward, by modules."""
    found = []
    for count, norm, linked in zip(range(2, len(leaves) + 1), norms, links, strict=True):
        earlier = torch.cat(leaves[: count - 1], 1).index_select(1, linked)
        found.append(torch.relu(norm(torch.cat([leaves[count - 1], earlier], 1))))
    return found


def step(
    layers: list[Tensor], norms: list[nn.BatchNorm2d], links: list[Tensor], slopes: list[Tensor], is_shared: bool
) -> dict[str, Tensor]:
    if is_shared:
        kept, channels, found = sweep_forward(layers, norms, links)
        slopes = [slope.to(value.dtype) for slope, value in zip(slopes, found, strict=True)]
        gradients: list[Any] = sweep_backward(layers[0], norms, kept, channels, slopes)
    else:
        leaves = [layer.clone().requires_grad_() for layer in layers]
        found = read(leaves, norms, links)
        torch.autograd.backward(found, [slope.to(value.dtype) for slope, value in zip(slopes, found, strict=True)])
        gradients = [leaf.grad for leaf in leaves]
    results = {f"output {i}": value.detach().clone() for i, value in enumerate(found)}
    results |= {f"gradient of {i}": gradient for i, gradient in enumerate(gradients) if gradient is not None}
    for i, norm in enumerate(norms):
        results |= {f"gradient of {i}.{name}": value.grad for name, value in norm.named_parameters()}  # type: ignore[misc]
        results |= {f"{i}.{name}": value.clone() for name, value in norm.named_buffers()}
    return results


def case(width: int, links: str, batch: int = 3) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Three outputs, what two layers link to, and gradients of what they read; numbers that 16 bits hold."""
    generator = torch.Generator().manual_seed(width)
    count = {"no link": lambda n: 0, "some": lambda n: (n + 1) // 2, "all": lambda n: n}[links]
    linked = [torch.randperm(n, generator=generator)[: count(n)].sort().values for n in (width, 2 * width)]
    sizes = [width, width, width, *(width + len(one) for one in linked)]
    made = [torch.randn(batch, n, 5, 6, generator=generator).to(torch.bfloat16).half().double() for n in sizes]
    return made[:3], linked, made[3:]


def assert_near(found: dict[str, Tensor], exact: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == exact.keys()
    for name, value in exact.items():
        scale = max(value.double().abs().max().item(), 1)
        assert (found[name].double() - value.double()).abs().max().item() <= tolerance * scale, name


CASES = [(width, links, 3) for width, links in product((1, 5, 16, 33), ("no link", "all"))]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("width", "links", "batch"), [*CASES, (16, "some", 3), (5, "some", 1)])
def test_every_number_is_that_of_the_modules_in_double_precision(
    precision: torch.dtype, width: int, links: str, batch: int
) -> None:
    layers, linked, slopes = case(width, links, batch)
    # Single precision normalises what is kept in 16 bits, as under automatic precision.
    weights = precision if precision.itemsize > 2 else torch.float32
    norms = [norm_of(width + len(one), weights) for one in linked]
    exact = step(layers, [copy.deepcopy(norm).double() for norm in norms], linked, slopes, False)
    found = step([layer.to(precision) for layer in layers], norms, linked, slopes, True)
    # A gradient is rounded each time that a layer adds to it.
    assert_near(found, exact, 1e-10 if precision == torch.float64 else 8 * torch.finfo(precision).eps)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_running_statistics_in_the_precision_of_the_outputs(precision: torch.dtype) -> None:
    layers, linked, slopes = case(5, "some")
    norms = [norm_of(5 + len(one), precision) for one in linked]
    exact = step(layers, [copy.deepcopy(norm).double() for norm in norms], linked, slopes, False)
    found = step([layer.to(precision) for layer in layers], norms, linked, slopes, True)
    assert all(norm.running_mean.dtype == precision for norm in norms)  # type: ignore[union-attr]
    assert_near(found, exact, 1e-10 if precision == torch.float64 else 8 * torch.finfo(precision).eps)


@pytest.mark.parametrize("width", [1, 5, 16, 33])
def test_evaluation_reads_the_running_statistics_and_leaves_them_alone(width: int) -> None:
    layers, linked, _ = case(width, "some")
    norms = [norm_of(width + len(one), torch.float64).eval() for one in linked]
    before = copy.deepcopy([norm.state_dict() for norm in norms])
    with torch.no_grad():
        (_, _, found), exact = sweep_forward(layers, norms, linked), read(layers, norms, linked)
    assert all(torch.allclose(one, other, rtol=1e-12) for one, other in zip(found, exact, strict=True))
    for norm, state in zip(norms, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("settings", [{"momentum": None}, {"momentum": 0.0}, {"momentum": 1.0}, {"eps": 0.5}])
def test_running_statistics_follow_as_they_are_told(settings: dict[str, Any]) -> None:
    layers, linked, slopes = case(5, "some")
    norms = [norm_of(5 + len(one), torch.float64, **settings) for one in linked]
    plain = copy.deepcopy(norms)
    for _ in range(3):
        found, exact = step(layers, norms, linked, slopes, True), step(layers, plain, linked, slopes, False)
        assert_near(found, exact, 1e-10)
        layers = [layer * 1.5 + 1 for layer in layers]


def spoiled() -> Iterator[Any]:
    for where, value in product(("value", "gradient"), (torch.nan, torch.inf)):
        yield pytest.param(where, value, id=f"{value} as {where}")


@pytest.mark.parametrize(("where", "value"), spoiled())
def test_what_is_no_number_goes_where_the_modules_let_it(where: str, value: float) -> None:
    layers, linked, slopes = case(5, "some")
    if where == "value":
        layers[1][2, 3, 4, 4] = value
    else:
        slopes[1][:2, 4] = value  # some of it rectified, some not
        slopes[0][2, 1, 0, 0] = value
    norms = [norm_of(5 + len(one), torch.float64) for one in linked]
    exact = step(layers, copy.deepcopy(norms), linked, slopes, False)
    found = step(layers, norms, linked, slopes, True)
    for name, right in exact.items():
        assert torch.equal(found[name].isfinite(), right.isfinite()), name
        keep = right.isfinite()
        assert torch.allclose(found[name][keep], right[keep], rtol=1e-9, atol=1e-9), name


def test_the_gradient_of_an_infinite_loss_is_found_by_a_scaler() -> None:
    layers, linked, slopes = case(5, "some")
    norms = [norm_of(5 + len(one)) for one in linked]
    found = step([x.to(torch.bfloat16) for x in layers], norms, linked, [slope * torch.inf for slope in slopes], True)
    assert not any(found[f"gradient of {i}"].isfinite().all() for i in range(3))


@pytest.mark.parametrize(("training", "eps"), [(True, 1e-5), (False, 1e-5), (False, 0.0)])
def test_channels_of_zeros_behind_those_of_a_convolution_change_nothing(
    training: bool, eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU puts them there, to a multiple of channels; each gradient is that of the convolution without them."""
    monkeypatch.setattr(gpu, "_MULTIPLES", {torch.float64: 16})
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=generator) for _ in range(2)]
    convolution = nn.Conv2d(8, 3, 3, padding=1, bias=False).double()
    norm, links = norm_of(8, torch.float64, eps=eps).train(training), torch.tensor([0, 2, 3])
    others = copy.deepcopy([norm, convolution])
    leaves = [layer.clone().requires_grad_() for layer in layers]
    widths: list[int] = []

    right = F.conv2d

    def convolved(entering: Tensor, *others: Any) -> Tensor:
        widths.append(entering.shape[1])
        assert entering[:, 8:].count_nonzero() == 0
        return right(entering, *others)

    with torch.set_grad_enabled(training):
        with monkeypatch.context() as patch:
            patch.setattr(F, "conv2d", convolved)
            found = outputs.read_outputs(leaves, [[outputs.Reader(norm, convolution, links)]])
        plain = [layer.clone().requires_grad_() for layer in layers]
        expected = others[1](torch.relu(others[0](torch.cat([plain[1], plain[0].index_select(1, links)], 1))))
    assert widths == [16 if INTERPRETED else 8]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    if training:
        slopes = torch.randn(found.shape, dtype=torch.float64, generator=generator)
        found.backward(slopes)
        expected.backward(slopes)
        ours, theirs = (
            [*some, *norm.parameters(), *last.parameters()]
            for some, norm, last in ((leaves, norm, convolution), (plain, *others))
        )
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-10)
