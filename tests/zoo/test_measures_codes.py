"""Measures that need no gradient of the loss: against loops in double precision, and refused by name elsewhere."""

from collections.abc import Callable
from contextlib import suppress
from math import log, sqrt

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torchvision.ops import FrozenBatchNorm2d

from nnmass import zoo
from nnmass.zoo.measures import Batch, NotMeasured, Passes
from nnmass.zoo.measures.codes import CodeKernel, naswot
from nnmass.zoo.measures.constants import epsilon
from nnmass.zoo.measures.jacobians import isometry, mean_singular_value
from nnmass.zoo.measures.perturbation import PooledFeatures, zen
from nnmass.zoo.measures.structure import nn_degree

MINE = (naswot, zen, epsilon, nn_degree, mean_singular_value, isometry)


def images(number: int = 6, *shape: int, seed: int = 0) -> Tensor:
    """Draw images of double precision."""
    return torch.randn(number, *(shape or (3, 8, 8)), generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def built(*modules: nn.Module) -> nn.Module:
    """Put modules in a row, with weights from a fixed seed."""
    network = nn.Sequential(*modules).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.double) / 2)
    return network


def convolutional(activation: nn.Module) -> nn.Module:
    """Build a convolution, a batch norm, an activation, a global pool and a classifier."""
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return built(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), activation, *pool, nn.Linear(5, 4))


def kernel_by_loops(codes: list[list[bool]]) -> float:
    """The log-determinant of the kernel of the images' codes, bit by bit."""
    kernel = np.zeros((len(codes), len(codes)))
    for i, one in enumerate(codes):
        for j, other in enumerate(codes):
            kernel[i, j] = len(one) - sum(a != b for a, b in zip(one, other, strict=True))
    sign, value = np.linalg.slogdet(kernel)
    assert sign == 1
    return float(value)


def test_naswot_is_the_log_determinant_of_codes_counted_bit_by_bit() -> None:
    network, batch = convolutional(nn.ReLU()), images()
    entering = network[:2].train()(batch)  # type: ignore[index]
    codes = [[bool(value > 0) for value in image.flatten()] for image in entering]
    network[1].reset_running_stats()  # type: ignore[index, operator]
    assert naswot(network, Batch(batch)) == pytest.approx(kernel_by_loops(codes), rel=1e-12)


class Functional(nn.Module):
    """The classifier of ``convolutional``, with an activation that is no module."""

    def __init__(self, activation: object) -> None:
        super().__init__()
        self.parts, self.activation = convolutional(nn.Identity()), activation

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return self.parts[3:](self.activation(self.parts[:2](x)))  # type: ignore[index, operator]


@pytest.mark.parametrize(
    "activation",
    [
        pytest.param(functional.relu, id="relu"),
        pytest.param(torch.relu_, id="relu_"),
        pytest.param(functional.relu6, id="relu6"),
        pytest.param(functional.leaky_relu, id="leaky_relu"),
        pytest.param(lambda x: functional.rrelu(x, training=True), id="rrelu"),
        pytest.param(lambda x: functional.prelu(x, x.new_tensor(0.2)), id="prelu"),
        pytest.param(lambda x: x.clamp(min=0), id="clamp"),
        pytest.param(lambda x: x.clamp_min(0), id="clamp_min"),
        pytest.param(lambda x: functional.threshold(x, 0, 0), id="threshold"),
    ],
)
def test_naswot_sees_relus_that_are_functions_or_in_place_or_leak(activation: object) -> None:
    expected = naswot(convolutional(nn.ReLU()), Batch(images()))
    assert naswot(Functional(activation), Batch(images())) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.ReLU6(), nn.ReLU6(inplace=True), nn.PReLU()])
def test_naswot_sees_relus_of_all_modules(activation: nn.Module) -> None:
    expected = naswot(convolutional(nn.ReLU()), Batch(images()))
    network = convolutional(nn.Identity())
    network[2] = activation.double()  # type: ignore[index, operator]
    assert naswot(network, Batch(images())) == pytest.approx(expected, rel=1e-12)


def test_naswot_counts_a_relu_that_runs_twice_twice() -> None:
    shared = nn.ReLU()
    network, batch = built(nn.Linear(4, 40), shared, nn.Linear(40, 30), shared, nn.Linear(30, 3)), images(5, 4)
    first = network[0](batch)  # type: ignore[index]
    second = network[2](first.relu())  # type: ignore[index]
    codes = [[bool(v > 0) for v in (*one, *two)] for one, two in zip(first, second, strict=True)]
    assert naswot(network, Batch(batch)) == pytest.approx(kernel_by_loops(codes), rel=1e-12)


def test_codes_of_more_units_than_are_compared_at_once_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = naswot(convolutional(nn.ReLU()), Batch(images()))
    monkeypatch.setattr("nnmass.zoo.measures.codes._COLUMNS", 7)
    assert naswot(convolutional(nn.ReLU()), Batch(images())) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU(), nn.ELU(), nn.Hardtanh(), nn.Threshold(0.5, 0.0)])
def test_networks_without_relus_have_no_naswot(activation: nn.Module) -> None:
    with pytest.raises(NotMeasured, match="Expected a network with ReLUs, but no ReLU ran"):
        naswot(convolutional(activation), Batch(images()))


def test_equal_images_and_too_many_images_are_refused_rather_than_infinite() -> None:
    batch = images()
    batch[4] = batch[1]
    with pytest.raises(NotMeasured, match="images 1 and 4 have the same"):
        naswot(convolutional(nn.ReLU()), Batch(batch))
    few_units = built(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    distinct = torch.stack([torch.tensor([float(k), 1.0]) for k in range(-60, 60)]).double()
    with pytest.raises(NotMeasured, match="images"):
        naswot(few_units, Batch(distinct))


def test_more_codes_than_units_make_a_singular_kernel_which_is_refused() -> None:
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4).double()  # 16 codes of 4 bits: rank 5 at most
    network = built(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(4))  # type: ignore[index, union-attr, operator]
        network[0].bias.zero_()  # type: ignore[index, union-attr, operator]
    with pytest.raises(NotMeasured, match="the kernel of 16 is singular"):
        naswot(network, Batch(signs))


def test_relus_of_anything_but_the_images_are_refused() -> None:
    with CodeKernel(3), pytest.raises(NotMeasured, match="Expected ReLUs of inputs"):
        torch.randn(6, 4).relu()


def test_zen_is_the_change_of_features_times_the_scales_of_batch_norms_by_loops() -> None:
    network = convolutional(nn.ReLU())
    network.insert(2, nn.Dropout(0.0))  # type: ignore[operator]
    batch = Batch(images(4, 3, 5, 6))
    passes = Passes(network, batch, seed=7)
    with passes.drawing(), torch.no_grad():
        weights = [torch.randn(5, 3, 3, 3, dtype=torch.double), torch.randn(4, 5, dtype=torch.double)]
        plain = torch.randn(4, 3, 5, 6, dtype=torch.double)
        noise = torch.randn(4, 3, 5, 6, dtype=torch.double)
    features, scale = [], 0.0
    for step, inputs in enumerate((plain, plain + 0.01 * noise)):
        maps = functional.conv2d(inputs, weights[0])
        normalised, variances = torch.zeros_like(maps), []
        for channel in range(5):
            values = maps[:, channel].flatten().tolist()
            mean = sum(values) / len(values)
            variances.append(sum((value - mean) ** 2 for value in values) / len(values))
            normalised[:, channel] = (maps[:, channel] - mean) / sqrt(variances[-1] + 1e-5)
        scale = scale if step else log(sqrt(sum(variances) / 5))
        features.append(normalised.relu())
    changes = [
        sum(abs(a - b) for a, b in zip(one.flatten().tolist(), two.flatten().tolist(), strict=True))
        for one, two in zip(*features, strict=True)
    ]
    assert zen.of(passes) == pytest.approx(log(sum(changes) / 4) + scale, rel=1e-10)


def test_zen_depends_on_the_seed_and_the_shape_of_the_batch_alone() -> None:
    network = convolutional(nn.ReLU())
    first = zen(network, Batch(images(seed=0)), seed=3)
    assert first == zen(network, Batch(images(seed=1)), seed=3) == zen(built(*network), Batch(images()), seed=3)  # type: ignore[misc]
    assert first != zen(network, Batch(images()), seed=4)


def test_zen_takes_the_map_before_the_last_global_pool_however_it_is_written() -> None:
    def pooled(pool: nn.Module) -> float:
        network = convolutional(nn.ReLU())
        network[3] = pool  # type: ignore[index, operator]
        return zen(network, Batch(images()))

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    expected = pooled(nn.AdaptiveAvgPool2d(1))
    for pool in (Mean(), nn.AvgPool2d(6), nn.AdaptiveMaxPool2d(1)):
        assert pooled(pool) == pytest.approx(expected, rel=1e-12)


# One global pool, in the ways that networks write it.
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "adaptive mean": nn.AdaptiveAvgPool2d(1),
    "adaptive maximum": nn.AdaptiveMaxPool2d(1),
    "adaptive, one dimension": lambda x: functional.adaptive_avg_pool1d(x.flatten(2), 1),
    "window": nn.AvgPool2d(6),
    "window's maximum": nn.MaxPool2d(6),
    "mean": lambda x: x.mean((2, 3)),
    "mean, kept": lambda x: x.mean((-1, -2), keepdim=True),
    "maximum": lambda x: x.amax((2, 3)),
    "flat": lambda x: x.flatten(2).mean(2),
    "flat maximum": lambda x: x.flatten(2).max(-1).values,
    "view": lambda x: x.reshape(len(x), x.shape[1], -1).sum(2),
    "tokens": lambda x: x.flatten(2).transpose(1, 2).mean(1),
    "channels last": lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
    "one by one": lambda x: x.mean(3).mean(2),
    "one by one, kept": lambda x: x.mean(3, keepdim=True).mean(2, keepdim=True),
    "maxima": lambda x: x.max(3)[0].max(2)[0],
    "sum": lambda x: x.sum((2, 3)) / 36,
    "sum in place": lambda x: x.sum((2, 3)).div_(36),
    "sums": lambda x: (x.sum(3) / 6).sum(2) / 6,
    "einsum": lambda x: torch.einsum("nchw->nc", x) / 36,
    "both": lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1),
}


class Pooling(nn.Module):
    """A convolution, a batch norm and perhaps a gate by one way of pooling; then another way of pooling."""

    def __init__(self, pool: Callable[[Tensor], Tensor], gate: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.pool, self.gate = pool, gate
        self.stem = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
        self.squeeze = nn.Linear(5, 5)
        self.last = nn.Conv2d(5, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.gate is not None:
            x = x * self.squeeze(self.gate(x).flatten(1)[:, :5]).sigmoid()[:, :, None, None]
        return self.pool(self.last(x).relu()).flatten(1)


@pytest.mark.parametrize("gate", [None, POOLS["mean"], POOLS["window"]], ids=["plain", "gated", "gated by a window"])
def test_zen_takes_the_map_before_the_head_pool_in_any_spelling_and_beside_any_gate(
    gate: Callable[[Tensor], Tensor] | None,
) -> None:
    expected = zen(Pooling(nn.Flatten(), gate).double(), Batch(images()))  # without a pool, the output is the map
    for name, pool in POOLS.items():
        found = zen(Pooling(pool, gate).double(), Batch(images()))
        assert found == pytest.approx(expected, rel=1e-12), name


def taken(compute: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (4, 5, 6, 6)) -> list[float] | None:
    """The entries of the map that is found for a result, sorted; None if none is."""
    with torch.no_grad(), PooledFeatures(shape[0]) as pooled:
        result = compute(torch.arange(float(torch.Size(shape).numel())).reshape(shape) + 1)
    features = pooled.features(result)
    return None if features is None else features.flatten().sort()[0].tolist()


def entries(number: int) -> list[float]:
    return [float(number) for number in range(1, number + 1)]


@pytest.mark.parametrize("gate", POOLS.values(), ids=POOLS)
def test_a_gate_leads_to_the_map_that_it_scales_and_to_no_head(gate: Callable[[Tensor], Tensor]) -> None:
    def gated(x: Tensor) -> Tensor:
        return x * (0 * gate(x).flatten(1)[:, :5] + 1)[:, :, None, None]

    def in_place(x: Tensor) -> Tensor:
        return x.mul_((0 * gate(x).flatten(1)[:, :5] + 1)[:, :, None, None])

    for scaled in (gated, in_place):
        assert taken(lambda x, scaled=scaled: scaled(x).flatten(1)) is None
        assert taken(lambda x, scaled=scaled: (scaled(x) + 0).mean((2, 3))) == entries(720)
    assert taken(lambda x: gated(x).flatten(2)[..., :1].flatten(1)) is None


@pytest.mark.parametrize(
    "head",
    [
        lambda v: functional.normalize(v),
        lambda v: v[:, :4].reshape(4, 2, 2).amax(2),
        lambda v: torch.cat([v, v.mean(1, keepdim=True)], 1),
        lambda v: functional.layer_norm(v, (5,)) @ torch.ones(5, 3),
        lambda v: functional.group_norm(v[:, :4, None, None], 2).flatten(1),
    ],
    ids=["normalised", "largest of two", "joined", "layer norm", "group norm"],
)
def test_what_a_head_does_with_the_pooled_vector_is_no_other_pool(head: Callable[[Tensor], Tensor]) -> None:
    assert taken(lambda x: head(x.mean((2, 3)))) == entries(720)


def test_a_pool_counts_if_it_leads_to_the_result_and_the_last_of_several_does() -> None:
    def with_decoder(x: Tensor) -> Tensor:
        logits = x.mean((2, 3))
        (x.repeat(1, 2, 1, 1) * logits.repeat(1, 2)[:, :, None, None]).mean((2, 3))
        return logits * 2

    assert taken(with_decoder) == entries(720)
    assert taken(lambda x: torch.cat([(x + 720).mean((2, 3)), x.amax((2, 3))], 1)) == entries(720)
    assert taken(lambda x: torch.cat([x.amax((2, 3)), (x * 0).mean((2, 3))], 1)) == [0.0] * 720
    assert taken(lambda x: x.mean((2, 3)), (4, 5, 1, 1)) == entries(20)
    assert taken(lambda x: (x.mean((2, 3), keepdim=True) * 0 + x).mean((2, 3)), (4, 5, 1, 1)) == entries(20)
    assert taken(lambda x: x.mean((2, 3, 4)), (4, 2, 3, 3, 3)) == entries(216)
    assert taken(lambda x: x.mean(2), (4, 5, 6)) == entries(120)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x.flatten(1) @ torch.ones(180, 3),
        lambda x: x.mean((0, 2, 3)).expand(4, 5),
        lambda x: functional.avg_pool2d(x, 2).flatten(1),
        lambda x: x.mean(1).flatten(1),
        lambda x: (x - x.mean((1, 2), keepdim=True)).flatten(1),
    ],
    ids=["flat", "over images", "local", "over channels", "centred"],
)
def test_what_leaves_positions_or_no_images_is_no_global_pool(compute: Callable[[Tensor], Tensor]) -> None:
    assert taken(compute) is None


class Tokens(nn.Module):
    """Two tokens of four features that pass a module; then a linear layer and a batch norm."""

    def __init__(self, make: Callable[[], nn.Module], width: int = 4) -> None:
        super().__init__()
        self.inner, self.head, self.norm = make(), nn.Linear(2 * width, 3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        result = self.inner(x.unflatten(1, (2, 4)))
        result = result[0] if isinstance(result, tuple) else result
        return self.norm(self.head(result.flatten(1)))


class Attention(nn.MultiheadAttention):
    """Attention of tokens to each other."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        keys = x[..., : self.kdim]
        return super().forward(x, keys, keys, need_weights=False)[0]


class Own(nn.Module):
    """Weights of a network's own, in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b1 = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))
        self.weights = nn.ParameterList([torch.randn(4, 4)])
        self.position_bias_table = nn.Parameter(torch.randn(2, 4))
        self.positions = nn.Embedding(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.w + self.b1 + self.position_bias_table
        return (x @ self.weights[0]).sigmoid() + self.positions(torch.arange(2))


class Cells(nn.Module):
    """A recurrent cell that runs over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.cell(x[:, 0])
        return torch.stack([first, self.cell(x[:, 1], first)], 1)


WEIGHTED: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: Tokens(lambda: nn.LSTM(4, 4, batch_first=True)),
    "lstm of two layers": lambda: Tokens(lambda: nn.LSTM(4, 4, num_layers=2, batch_first=True)),
    "gru, both ways": lambda: Tokens(lambda: nn.GRU(4, 4, bidirectional=True, batch_first=True), 8),
    "cell": lambda: Tokens(Cells),
    "attention": lambda: Tokens(lambda: Attention(4, 2, batch_first=True)),
    "attention, three weights": lambda: Tokens(lambda: Attention(4, 2, kdim=2, vdim=2, batch_first=True)),
    "attention, biased": lambda: Tokens(lambda: Attention(4, 2, add_bias_kv=True, batch_first=True)),
    "transformer": lambda: Tokens(lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)),
    "convolution": lambda: Tokens(lambda: nn.Sequential(nn.Conv1d(2, 2, 1), nn.Sigmoid(), nn.ConvTranspose1d(2, 2, 1))),
    "norms": lambda: Tokens(
        lambda: nn.Sequential(
            nn.LayerNorm((2, 4)), nn.GroupNorm(1, 2), nn.RMSNorm(4), nn.InstanceNorm1d(2, affine=True)
        )
    ),
    "slopes": lambda: Tokens(lambda: nn.Sequential(nn.PReLU(2), nn.BatchNorm1d(2), nn.Tanh())),
    "own": lambda: Tokens(Own),
}
NOT_PARAMETERS: dict[str, Callable[[], nn.Module]] = {
    "lstm, parametrized": lambda: Tokens(
        lambda: parametrizations.weight_norm(nn.LSTM(4, 4, batch_first=True), "weight_hh_l0")
    ),
    "lstm, pruned": lambda: Tokens(lambda: prune.identity(nn.LSTM(4, 4, batch_first=True), "bias_ih_l0")),
    "pruned norm": lambda: Tokens(lambda: prune.identity(nn.BatchNorm1d(2), "weight")),
    "frozen norm": lambda: Tokens(
        lambda: nn.Sequential(nn.Unflatten(1, (2, 1)), FrozenBatchNorm2d(2), nn.Flatten(1, 2))
    ),
}


@pytest.mark.parametrize("make", WEIGHTED.values(), ids=WEIGHTED)
@pytest.mark.parametrize("measure", [zen, epsilon], ids=lambda one: one.name)
def test_new_weights_take_the_place_of_all_that_were_there(
    measure: Callable[..., float], make: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(3)
    network, batch = make(), Batch(images(6, 8))
    if measure is epsilon:
        network.norm = nn.Identity()  # which would leave outputs that differ by a factor alone
    found = []
    for _ in range(2):
        try:
            found.append(measure(network, batch))
        except NotMeasured as error:
            found.append(str(error))  # type: ignore[arg-type]
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(5).add_(0.5)
    assert found[0] == found[1]
    assert isinstance(found[0], float) or (measure is epsilon and make is WEIGHTED["own"])


@pytest.mark.parametrize("make", NOT_PARAMETERS.values(), ids=NOT_PARAMETERS)
@pytest.mark.parametrize("measure", [zen, epsilon], ids=lambda one: one.name)
def test_weights_that_cannot_be_replaced_are_refused(
    measure: Callable[..., float], make: Callable[[], nn.Module]
) -> None:
    with pytest.raises(NotMeasured, match=r"Expected weights and biases that are parameters, but .*inner"):
        measure(make(), Batch(images(6, 8)))


def test_networks_without_batch_norm_have_no_zen_score() -> None:
    with pytest.raises(NotMeasured, match="Expected a network with batch normalisation"):
        zen(built(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)), Batch(images(5, 4)))


def test_epsilon_is_the_difference_of_scaled_outputs_by_loops() -> None:
    network, batch = built(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 2)), images(7, 4)
    scaled = []
    for constant in (1e-7, 1.0):
        outputs = []
        for image in batch.tolist():
            unit = 1 / (1 + np.exp(-sum(constant * value for value in image)))
            outputs += [constant * 6 * unit] * 2
        scaled.append([(value - min(outputs)) / (max(outputs) - min(outputs)) for value in outputs])
    pairs = [(a, b) for a, b in zip(*scaled, strict=True) if a > 1e-12 and b > 1e-12]
    kept = [value for values in scaled for value in values if value > 1e-12]
    expected = sum(abs(a - b) for a, b in pairs) / len(pairs) / (sum(kept) / len(kept))
    assert epsilon(network, Batch(batch)) == pytest.approx(expected, rel=1e-6)


def test_outputs_that_differ_by_a_factor_alone_have_no_epsilon() -> None:
    network = built(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    with pytest.raises(NotMeasured, match="more than a factor"):
        epsilon(network, Batch(images(5, 4)))
    with pytest.raises(NotMeasured, match="differ between images"):
        epsilon(network, Batch(torch.ones(5, 4).double()))
    with pytest.raises(NotMeasured, match="at least 3 images"):
        epsilon(network, Batch(images(2, 4)))


def test_nn_degree_of_random_skip_cells_is_width_plus_links_over_depth() -> None:
    network = zoo.RandomSkipDenseNet(cell_depth=5, width_multiplier=1, tc=[10, 0, 30])
    by_hand = 0.0
    for width, tc in zip((16, 32, 64), (10, 0, 30), strict=True):
        by_hand += width + sum(min(width * (layer - 1), tc) for layer in range(2, 5)) / 5
    assert nn_degree(network, Batch(torch.zeros(1, 3, 32, 32))) == pytest.approx(by_hand)
    chain = zoo.RandomSkipMLP(8, 4, 0)
    assert nn_degree(chain, Batch(torch.zeros(1, 784))) == 4.0


def test_nn_degree_of_other_networks_counts_their_blocks() -> None:
    batch = Batch(torch.zeros(1, 3, 64, 64))
    by_hand = sum(
        (width_in + width + width_in) / 2 for width_in, width in [(64, 64), (64, 128), (128, 256), (256, 512)]
    )
    by_hand += sum(3 * width / 2 for width in (64, 128, 256, 512))
    assert nn_degree(timm.create_model("resnet18"), batch) == pytest.approx(by_hand)
    with pytest.raises(NotMeasured, match="no skip connection"):
        nn_degree(built(nn.Linear(4, 3)), Batch(images(1, 4)))


def test_mean_singular_value_and_isometry_are_those_of_exact_jacobians() -> None:
    network, batch = built(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)), images(4, 4)
    hidden = nn.Sequential(network[2], network[3])  # type: ignore[index]
    entering = network[:2](batch).detach()  # type: ignore[index]
    values = [torch.linalg.svdvals(torch.autograd.functional.jacobian(hidden, one)) for one in entering]
    assert mean_singular_value(network, Batch(batch)) == pytest.approx(float(torch.cat(values).mean()))
    assert isometry(network, Batch(batch)) == pytest.approx(float((torch.cat(values) - 1).abs().mean()))
    with pytest.raises(NotMeasured, match="hidden layers"):
        isometry(built(nn.Linear(4, 3)), Batch(batch))


class Fails(nn.Module):
    """A network that stops after its first layers."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = convolutional(nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Run, then stop."""
        self.parts(x)
        raise RuntimeError("no more")


@pytest.mark.parametrize("measure", MINE, ids=lambda one: one.name)
@pytest.mark.parametrize("make", [lambda: convolutional(nn.ReLU(inplace=True)), Fails], ids=["whole", "failing"])
def test_networks_are_left_as_found_also_after_an_error(measure: object, make: object) -> None:
    network = make().eval()  # type: ignore[operator]
    next(network.parameters()).requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random, kept = torch.get_rng_state(), images()
    with suppress(NotMeasured):
        measure(network, Batch(kept))  # type: ignore[operator]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(kept, images())
    assert not network.training
    assert [p.requires_grad for p in network.parameters()].count(False) == 1
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_dropout_draws_from_the_seed() -> None:
    network = built(nn.Linear(4, 40), nn.Dropout(0.5), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3))
    batch = Batch(images(5, 4))
    assert naswot(network, batch, seed=1) == naswot(network, batch, seed=1) != naswot(network, batch, seed=2)


@pytest.mark.parametrize(
    ("name", "unmeasured"),
    [
        ("resnet18", set()),
        ("mobilenetv2_050", set()),
        ("efficientnet_lite0", set()),
        ("efficientnet_b0", {"naswot"}),
        ("vit_tiny_patch16_224", {"naswot", "zen"}),
        ("convnext_atto", {"naswot", "zen"}),
    ],
)
def test_networks_of_timm_have_values_or_reasons(name: str, unmeasured: set[str]) -> None:
    size = {"img_size": 64} if "vit" in name else {}
    network = timm.create_model(name, num_classes=10, **size)
    batch = Batch(torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    found = {}
    for one in (naswot, zen, epsilon):
        try:
            found[one.name] = one(network, batch)
        except NotMeasured:
            found[one.name] = None
    found.pop("epsilon")  # most images have an output of 0 where all weights are alike
    assert {key for key, value in found.items() if value is None} == unmeasured
