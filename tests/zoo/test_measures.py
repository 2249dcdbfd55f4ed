"""Training-free measures: the frame that all of them share."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import register_parametrization

from nnmass.zoo import Classifier, RandomSkipDenseNet, measure_network
from nnmass.zoo.measures import MEASURES, Batch, Measure, NotMeasured, Passes, find_measures, measure

OF_GRADIENTS = ("grad_norm", "snip", "grasp", "synflow", "fisher", "jacob_cov", "zico")


def tiny() -> nn.Sequential:
    """A convolution, normalisation and a linear layer, in double precision."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 3)
    ).double()


def four() -> Batch:
    """Four images of 4 px."""
    images = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.tensor([0, 1, 2, 0]))


def values(network: nn.Module, batch: Batch, seed: int = 0) -> dict[str, float | None]:
    """Values of the measures from gradients."""
    return {name: one.value for name, one in measure_network(network, batch, OF_GRADIENTS, seed).items()}


def state(network: nn.Module) -> dict[str, Any]:
    """All that a measure must leave as it was."""
    return {
        "tensors": {name: tensor.clone() for name, tensor in network.state_dict().items()},
        "gradients": {
            name: one.grad if one.grad is None else one.grad.clone() for name, one in network.named_parameters()
        },
        "learning": [one.requires_grad for one in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "hooks": [
            (len(module._forward_hooks), len(module._backward_hooks), len(module._forward_pre_hooks))
            for module in network.modules()
        ],
        "random": torch.get_rng_state(),
        "own": [set(vars(module)) for module in network.modules()],
        "switches": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
    }


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one["tensors"], other["tensors"], rtol=0, atol=0)
    assert torch.equal(one["random"], other["random"])
    for key in ("learning", "modes", "hooks", "own", "switches"):
        assert one[key] == other[key]
    for before, after in zip(one["gradients"].values(), other["gradients"].values(), strict=True):
        assert (before is None and after is None) or torch.equal(before, after)


@pytest.mark.parametrize("is_training", [True, False], ids=["training", "evaluation"])
def test_a_network_is_left_as_it_was(is_training: bool) -> None:
    network, batch = nn.Sequential(*tiny(), nn.Dropout(0.2)).train(is_training), four()
    network(batch.images).sum().backward()
    network[4].weight.requires_grad_(False)
    calls: list[str] = []
    network[0].register_forward_hook(lambda *_: calls.append("forward"))
    network[0].register_full_backward_hook(lambda *_: calls.append("backward"))
    before, images = state(network), batch.images.clone()
    found = measure_network(network, batch)
    assert_same(before, state(network))
    assert torch.equal(images, batch.images)
    assert not batch.images.requires_grad
    assert not calls
    assert all(found[name].value is not None for name in OF_GRADIENTS)


def test_a_network_is_left_as_it_was_after_an_error() -> None:
    class Stops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny()

        def forward(self, x: Tensor) -> Tensor:
            self.inner(x + torch.randn_like(x))
            raise RuntimeError("out of luck\nand more")

    network = Stops()
    before = state(network)
    found = measure_network(network, four(), OF_GRADIENTS)
    assert_same(before, state(network))
    told = "Expected a network that runs on this batch, but it stopped with 'RuntimeError: out of luck'."
    assert {one.reason for one in found.values()} == {told}


def test_an_error_in_a_measure_itself_is_no_reason() -> None:
    @measure(title="broken", equation="none", source="none")
    def broken(passes: Passes) -> float:
        raise KeyError("name")

    with pytest.raises(KeyError):
        measure_network(tiny(), four(), [broken])


def test_the_mode_of_the_network_and_no_grad_around_decide_nothing() -> None:
    plain = values(tiny().train(), four())
    with torch.no_grad():
        assert values(tiny().eval(), four()) == plain
    with torch.inference_mode():
        batch = four()
        assert values(tiny(), Batch(batch.images.clone(), batch.labels)) == plain
    with torch.autocast("cpu", torch.bfloat16):
        assert values(tiny(), four()) == plain


def test_frozen_weights_count_as_all_others_do() -> None:
    assert values(tiny().requires_grad_(False), four()) == values(tiny(), four())


def test_wrapped_networks_are_those_inside() -> None:
    wrapped = Classifier(tiny(), num_classes=3)
    assert values(wrapped, four()) == values(tiny(), four())
    assert values(nn.DataParallel(tiny()), four()) == values(tiny(), four())


def test_images_follow_the_networks_precision() -> None:
    batch = four()
    single = Batch(batch.images.float(), batch.labels)
    assert values(tiny(), single)["snip"] == pytest.approx(values(tiny(), batch)["snip"], rel=1e-5)
    assert values(tiny().float(), batch) == values(tiny().float(), single)


def test_dropouts_noise_comes_from_the_seed() -> None:
    network = nn.Sequential(*tiny()[:3], nn.Dropout(0.5), *tiny()[3:])
    first = values(network, four(), seed=1)
    torch.rand(3)
    assert values(network, four(), seed=1) == first
    other = values(network, four(), seed=2)
    assert all(other[name] != first[name] for name in OF_GRADIENTS if name != "synflow")
    assert other["synflow"] == first["synflow"]


def test_a_value_depends_on_no_other_measure() -> None:
    network = nn.Sequential(*tiny(), nn.Dropout(0.5))
    together = measure_network(network, four(), OF_GRADIENTS)
    assert {name: MEASURES[name](network, four()) for name in reversed(OF_GRADIENTS)} == {
        name: one.value for name, one in together.items()
    }


def counted(names: tuple[str, ...]) -> int:
    """Passes forward that measures take together."""
    calls = []

    class Counting(nn.Sequential):
        def forward(self, input: Tensor) -> Tensor:
            calls.append(len(input))
            return super().forward(input)

    assert all(one.value is not None for one in measure_network(Counting(*tiny()), four(), names).values())
    return len(calls)


def test_three_measures_share_one_pass() -> None:
    assert counted(("grad_norm",)) == counted(("grad_norm", "snip", "fisher")) == 1
    assert counted(OF_GRADIENTS) == 1 + 1 + 1 + 1 + 2  # the three, GraSP, SynFlow, the Jacobian, two halves


def test_tied_weights_count_once() -> None:
    torch.manual_seed(1)
    one = nn.Linear(4, 4, bias=False).double()
    other = nn.Linear(4, 4, bias=False).double()
    other.weight = one.weight
    network = nn.Sequential(one, nn.Tanh(), other)
    batch = Batch(torch.randn(3, 4, dtype=torch.double), torch.tensor([0, 3, 1]))
    loss = nn.functional.cross_entropy(network(batch.images), batch.labels)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(loss, [one.weight])
    assert MEASURES["grad_norm"](network, batch) == pytest.approx(float(slope.norm()), rel=1e-12)
    assert MEASURES["snip"](network, batch) == pytest.approx(
        float((slope * one.weight).abs().sum().detach()), rel=1e-12
    )


def attention() -> nn.Module:
    """Attention whose last layer is used without being called."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(2)[..., :4]
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))

    return Attention().double()


def folded() -> nn.Module:
    """A linear layer that sees rows of images as if they were images."""
    return nn.Sequential(nn.Flatten(0, 2), nn.Linear(4, 3), nn.Unflatten(0, (4, -1)), nn.Flatten())


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("grad_norm", nn.Flatten, "convolutions or linear layers, but got one without"),
        (
            "snip",
            lambda: nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(32, 3))),
            "that of 1 is computed",
        ),
        ("zico", lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "1.weight has none yet"),
        ("zico", lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 3, device="meta")), "1.weight has none yet"),
        ("grasp", lambda: nn.Conv2d(2, 3, 3), "logits of shape (N, classes), but got (4, 3, 2, 2)"),
        ("jacob_cov", lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 3)), "it stopped with 'RuntimeError: mat1"),
        ("snip", lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 2)), "got 0 to 2 for 2 outputs"),
        ("fisher", attention, "attention.in_proj_weight is used without a call"),
        ("fisher", folded, "1 gives 32 of them"),
    ],
    ids=["no layer", "computed weight", "lazy", "meta", "no logits", "wrong size", "classes", "attention", "folded"],
)
def test_networks_that_a_measure_does_not_suit_are_refused_by_name(
    name: str, make: Callable[[], nn.Module], told: str
) -> None:
    network = make() if next(make().parameters(), None) is None else make().double()
    with pytest.raises(NotMeasured, match=re.escape(told)):
        MEASURES[name](network, four())


def vectors() -> Batch:
    """Six vectors of eight features."""
    return Batch(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2]))


class Doubled(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


class Attending(nn.Module):
    """Attention over two tokens, before a linear layer."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__()
        self.width, self.norm = width or 4, nn.BatchNorm1d(3)
        self.attention = nn.MultiheadAttention(4, 2, kdim=width, vdim=width, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unflatten(1, (2, 4))
        keys = tokens[..., : self.width]
        return self.norm(self.head(self.attention(tokens, keys, keys, need_weights=False)[0].mean(1)))


class Given(nn.Module):
    """A linear layer whose weight another one computes at each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.layer = nn.Linear(8, 24), nn.Linear(8, 3)
        del self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        self.layer.weight = self.source(x.mean(0)).view(3, 8)  # type: ignore[assignment]
        return self.layer(x)


def with_layer(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def attending(width: int | None, change: Callable[[nn.Module], object]) -> nn.Module:
    network = Attending(width)
    change(network.attention)
    return network


COMPUTED: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: with_layer(parametrizations.weight_norm(nn.Linear(8, 5))),
    "spectral norm": lambda: with_layer(parametrizations.spectral_norm(nn.Linear(8, 5))),
    "older spectral norm": lambda: with_layer(nn.utils.spectral_norm(nn.Linear(8, 5))),
    "pruned": lambda: with_layer(prune.l1_unstructured(nn.Linear(8, 5), "weight", 0.3)),
    "pruned and frozen": lambda: with_layer(prune.identity(nn.Linear(8, 5).requires_grad_(False), "weight")),
    "given": Given,
    "attention pruned": lambda: attending(None, lambda one: prune.identity(one, "in_proj_weight")),
    "attention parametrized": lambda: attending(
        None, lambda one: register_parametrization(one, "in_proj_weight", Doubled())
    ),
    "one projection": lambda: attending(2, lambda one: register_parametrization(one, "q_proj_weight", Doubled())),
    "last projection": lambda: attending(None, lambda one: prune.identity(one.out_proj, "weight")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("make", COMPUTED.values(), ids=COMPUTED)
def test_weights_that_are_computed_are_a_reason_for_each_measure_of_weights(make: Callable[[], nn.Module]) -> None:
    names = ("grad_norm", "snip", "grasp", "synflow", "fisher", "zen", "zico", "epsilon")
    network = make()
    before = {name: one.clone() for name, one in network.state_dict().items()}
    for name, one in measure_network(network, vectors(), names).items():
        assert one.value is None, name
        assert one.reason is not None, name
        assert "computed" in one.reason
        with pytest.raises(NotMeasured, match=re.escape(one.reason)):
            MEASURES[name](network, vectors())
    torch.testing.assert_close(
        network.state_dict(), before, rtol=0, atol=0
    )  # spectral norm changes when it is computed


def test_attention_with_weights_of_its_own_counts_its_projections() -> None:
    for width, names in ((None, {"in"}), (2, {"q", "k", "v"})):
        found = set(Passes(Attending(width), vectors()).weights)
        assert found == {"attention.out_proj.weight", "head.weight"} | {
            f"attention.{name}_proj_weight" for name in names
        }


class Product(nn.Module):
    """A network whose only weight is in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


class Uncopyable(nn.Module):
    """A network that holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.numbers = nn.Linear(8, 3), (number for number in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def not_finite(value: float) -> nn.Module:
    network = with_layer(nn.Linear(8, 5))
    nn.init.constant_(next(network.parameters())[0, :1], value)
    return network


@pytest.mark.parametrize(
    ("make", "unmeasured"),
    [
        (COMPUTED["weight norm"], "grad_norm snip grasp synflow fisher zico epsilon"),
        (Product, "grad_norm snip grasp synflow fisher zico epsilon"),
        (lambda: nn.BatchNorm1d(8, affine=False), "grad_norm snip grasp synflow fisher zico epsilon"),
        (Uncopyable, "grad_norm snip grasp synflow fisher jacob_cov naswot zen zico epsilon"),
        (lambda: with_layer(nn.LazyLinear(5)), " ".join(name for name in MEASURES if not name.startswith(("nn", "m")))),
        (lambda: not_finite(float("nan")), "grad_norm snip grasp synflow fisher jacob_cov zico"),
        (lambda: not_finite(float("inf")), "grad_norm snip grasp synflow fisher jacob_cov zico"),
    ],
    ids=["computed", "no layer", "no parameter", "no copy", "lazy", "nan", "inf"],
)
def test_every_measure_has_a_value_or_a_reason_alone_and_beside_others(
    make: Callable[[], nn.Module], unmeasured: str
) -> None:
    torch.manual_seed(0)
    network = make()
    measured = measure_network(network, vectors())
    assert set(measured) == set(MEASURES)
    assert all(measured[name].value is None for name in unmeasured.split())
    for name, one in measured.items():
        assert (one.value is None) == (one.reason is not None)
        if name in ("params", "macs", "nn_mass", "nn_density", "nn_degree", "mean_singular_value", "isometry"):
            continue  # which read the network's graph once more
        if one.reason is None:
            assert MEASURES[name](network, vectors()) == one.value
        else:
            with pytest.raises(NotMeasured, match=re.escape(one.reason)):
                MEASURES[name](network, vectors())
    if make is Uncopyable:
        assert str(measured["zen"].reason).startswith("Expected a network that can be copied, but copying")
    if "nan" in str(measured["grad_norm"].reason):
        assert measured["zico"].reason == "Expected a finite value of ZiCo, but got nan."


def test_a_single_image_suffices_where_no_measure_compares_images() -> None:
    network = tiny()
    found = measure_network(network, Batch(four().images[:1], torch.tensor([1])), OF_GRADIENTS)
    assert {name for name, one in found.items() if one.value is None} == {"zico", "jacob_cov"}
    assert found["zico"].reason == "Expected at least 2 images for ZiCo, but got 1."
    one_by_one = nn.Sequential(nn.Flatten(), nn.Linear(32, 3), nn.BatchNorm1d(3)).double()
    with pytest.raises(NotMeasured, match="more than 1 value per channel when training"):
        MEASURES["snip"](one_by_one, Batch(four().images[:1], torch.tensor([1])))


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (torch.zeros(3), None, r"images to have the shape \(N, ...\) with at least one image, but got \(3,\)"),
        (torch.zeros(0, 2), None, r"with at least one image, but got \(0, 2\)"),
        (torch.zeros(2, 2), torch.zeros(2), "labels to be 2 whole numbers, but got float32"),
        (torch.zeros(2, 2), torch.tensor([1]), r"labels to be 2 whole numbers, but got int64 of shape \(1,\)"),
    ],
    ids=["no images", "none", "real labels", "one label"],
)
def test_what_is_no_batch_is_refused(images: Tensor, labels: Tensor | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Batch(images, labels)


def test_a_weight_that_is_not_finite_is_a_reason_and_no_value() -> None:
    network = tiny()
    network[4].weight.data[0, 0] = float("nan")
    found = measure_network(network, four(), ["grad_norm"])["grad_norm"]
    assert found.value is None
    assert found.reason == "Expected a finite value of gradient norm, but got nan."


def test_random_skip_cells_have_gradients_of_gradients() -> None:
    batch = Batch(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1]))
    network = RandomSkipDenseNet(4, 1, 5)
    assert values(network, batch)["grasp"] == values(RandomSkipDenseNet(4, 1, 5, share_outputs=False), batch)["grasp"]
    assert {getattr(module, "share_outputs", None) for module in network.modules()} == {None}


def test_an_unknown_measure_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="name of a measure, but got 'nnmass'; the nearest: nn_mass"):
        find_measures(["nnmass"])
    assert find_measures("all") == tuple(MEASURES.values())
    assert [one.name for one in find_measures(["snip", "all"])][:2] == ["snip", "params"]


def test_the_measures_stand_in_one_order_and_say_all_of_themselves() -> None:
    names = "params macs nn_mass nn_density nn_degree mean_singular_value isometry grad_norm snip grasp synflow fisher"
    assert " ".join(MEASURES) == f"{names} jacob_cov naswot zen zico epsilon"
    for one in MEASURES.values():
        assert isinstance(one, Measure)
        assert all((one.title, one.equation, one.source, one.compute.__doc__))
        assert min(one.forwards, one.backwards) >= 0


def test_the_page_says_of_each_measure_what_it_needs_and_costs() -> None:
    page = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8").partition("## What they are")[2]
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([^|]*) \| (\d+), (\d+) \|$", page, re.MULTILINE)
    assert [name for name, *_ in rows] == list(MEASURES)
    for name, needs, forwards, backwards in rows:
        one = MEASURES[name]
        assert (one.forwards, one.backwards) == (int(forwards), int(backwards))
        assert one.needs_labels == ("labels" in needs)
        assert one.least_images == int(next(iter(re.findall(r"(\d+) images", needs)), 1))


def test_networks_may_begin_in_place() -> None:
    batch = four()
    before = batch.images.clone()
    assert all(value is not None for value in values(nn.Sequential(nn.ReLU(inplace=True), *tiny()), batch).values())
    assert torch.equal(batch.images, before)


def test_without_labels_the_measures_that_need_them_have_a_reason() -> None:
    found = measure_network(tiny(), Batch(four().images))
    for name, one in found.items():
        assert (one.value is None) == (one.reason is not None)
        if MEASURES[name].needs_labels:
            assert one.reason == "Expected a batch with labels, but got none."


def test_the_gradient_norm_is_the_sum_of_the_layers_norms() -> None:
    network, batch = tiny(), four()
    reference = copy.deepcopy(network).train()
    nn.functional.cross_entropy(reference(batch.images), batch.labels).backward()  # type: ignore[arg-type]
    weights: list[Tensor] = [reference[0].weight, reference[4].weight]  # type: ignore[assignment]
    expected = sum(weight.grad.pow(2).sum().sqrt().item() for weight in weights)  # type: ignore[union-attr]
    assert MEASURES["grad_norm"](network, batch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.gpu
def test_on_a_gpu_the_values_are_the_processors() -> None:
    torch.manual_seed(9)
    before = torch.cuda.get_rng_state()
    on_gpu, plain = values(tiny().cuda(), four()), values(tiny(), four())
    assert torch.equal(before, torch.cuda.get_rng_state())
    assert on_gpu == pytest.approx(plain, rel=1e-9)
