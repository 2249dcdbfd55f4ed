"""Multiply-adds: operators against products by hand, networks against hooks, and nothing printed or changed."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from mac_hooks import count_by_hooks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nnmass.zoo import MacCount, count_macs, macs_by_operator, topology
from nnmass.zoo.reader.mac_formulas import COMPOSITES, FORMULAS, kind
from nnmass.zoo.reader.tracing import trace_and_count


class Function(nn.Module):
    """A network that is one function of its input and of parameters of the shapes given."""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.weights)


Case = tuple[str, Callable[..., Any], list[tuple[int, ...]], tuple[int, ...], int]

VECTORS: list[Case] = [
    ("x @ vector", lambda x, w: x @ w, [(6,)], (6,), 6),
    ("linear by a vector", F.linear, [(6,)], (5, 6), 30),
    ("matrix @ vector", lambda x, w: w @ x[0], [(4, 6)], (6,), 24),
    ("mv", lambda x, w: torch.mv(w, x[0]), [(4, 6)], (6,), 24),
    ("addmv", lambda x, w, b: torch.addmv(b, w, x[0]), [(4, 6), (4,)], (6,), 24),
    ("dot", lambda x, w: torch.dot(x[0], w), [(6,)], (6,), 6),
    ("vdot", lambda x, w: torch.vdot(x[0], w), [(6,)], (6,), 6),
    ("vecdot", torch.linalg.vecdot, [(6,)], (5, 6), 30),
    ("inner", torch.inner, [(4, 6)], (6,), 24),
    ("an outer product sums nothing", lambda x, w: torch.outer(x[0], w), [(4,)], (6,), 0),
    ("a number scales", torch.inner, [()], (6,), 0),
]
MATRICES: list[Case] = [
    ("addmm in place", lambda x, w: torch.zeros(1, 4).addmm_(x, w), [(6, 4)], (6,), 24),
    ("addbmm", lambda x, w, b: torch.addbmm(b, x, w), [(1, 6, 4), (3, 4)], (3, 6), 72),
    ("baddbmm", lambda x, w: torch.baddbmm(x.new_zeros(1), x, w), [(1, 6, 4)], (3, 6), 72),
    ("stretched batches", torch.matmul, [(5, 1, 6, 4)], (2, 3, 6), 5 * 2 * 3 * 6 * 4),
    ("einsum", lambda x: torch.einsum("bqd,bkd->bqk", x, x), [], (5, 6), 150),
    ("einsum of three", lambda x, w, v: torch.einsum("bi,ij,jk->bk", x, w, v), [(6, 4), (4, 3)], (6,), 36),
    ("einsum that sums nothing", lambda x, w: torch.einsum("bi,i->bi", x, w), [(6,)], (6,), 0),
    ("tensordot", lambda x, w: torch.tensordot(x, w, dims=([1, 2], [0, 1])), [(3, 6, 5)], (3, 6), 90),
    ("multi_dot", lambda x, w, v: torch.linalg.multi_dot([x, w, v]), [(6, 4), (4, 3)], (6,), 36),
    ("a power of a matrix", lambda x: torch.matrix_power(x, 3), [], (5, 5), 250),
    ("bilinear", lambda x, w: F.bilinear(x, x, w), [(4, 6, 6)], (7, 6), 7 * 144),
    ("mapped", lambda x, w: torch.vmap(lambda one: w.T @ one.T)(x), [(6, 4)], (3, 6), 72),
    ("causal", lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), [], (2, 5, 4), 400),
    ("grouped", lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True), [], (4, 5, 4), 800),
    ("compiled", torch.compile(torch.mm), [(6, 4)], (6,), 24),
    ("of no output", lambda x, w: (x @ w, x)[1], [(6, 4)], (6,), 24),
    ("decided by values", lambda x, w: x @ w if x.sum() == 0 else (x @ w) @ w.T, [(6, 4)], (6,), 24),
    ("one of two branches", lambda x, w: torch.cond(x.sum() > 0, lambda: x, lambda: x @ w @ w.T), [(6, 4)], (6,), 48),
]


@pytest.mark.parametrize(
    ("name", "function", "shapes", "size", "macs"), VECTORS + MATRICES, ids=[row[0] for row in VECTORS + MATRICES]
)
def test_a_product_has_the_macs_of_its_formula(
    name: str, function: Callable[..., Any], shapes: list[tuple[int, ...]], size: tuple[int, ...], macs: int
) -> None:
    found = macs_by_operator(Function(function, *shapes), size)
    assert (found.macs, found.uncounted) == (macs, {})


def counted_in_both_ways(network: nn.Module, size: tuple[int, ...]) -> int:
    """MACs, by fvcore and on the graph that topology reads."""
    counted = trace_and_count(network, size)[1]
    assert counted is not None
    assert counted.macs == count_macs(network, size)
    return counted.macs


NOT_ON_THE_GRAPH = ("vecdot", "compiled")
BY_VALUES = ("decided by values", "one of two branches")


@pytest.mark.parametrize("row", [row for row in VECTORS + MATRICES if row[0] not in BY_VALUES], ids=lambda row: row[0])
def test_the_graph_of_a_reading_has_the_same_macs_or_says_that_it_does_not_show_them(row: Case) -> None:
    name, function, shapes, size, macs = row
    counted = trace_and_count(Function(function, *shapes), size)[1]
    assert (None if counted is None else counted.macs) == (None if name in NOT_ON_THE_GRAPH else macs)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_convolution_has_the_macs_of_its_filters_times_its_positions(data: st.DataObject) -> None:
    dimensions, groups = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    inputs, outputs = (groups * data.draw(st.integers(1, 3)) for _ in range(2))
    taps, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    padding: Any = data.draw(st.sampled_from(["same", "valid", 0, 1, 2]))
    stride = 1 if padding == "same" else data.draw(st.integers(1, 3))
    side = data.draw(st.integers(5, 9))
    kind_of = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    layer = kind_of(inputs, outputs, taps, stride, padding, dilation, groups)
    around = 2 * padding if isinstance(padding, int) else {"same": dilation * (taps - 1), "valid": 0}[padding]
    positions = ((side + around - dilation * (taps - 1) - 1) // stride + 1) ** dimensions
    by_hand = positions * taps**dimensions * inputs * outputs // groups
    assert counted_in_both_ways(layer, (inputs, *[side] * dimensions)) == by_hand
    spread = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1]
    transposed = spread(inputs, outputs, taps, stride, groups=groups, dilation=dilation)
    by_hand = side**dimensions * taps**dimensions * inputs * outputs // groups
    assert counted_in_both_ways(transposed, (inputs, *[side] * dimensions)) == by_hand


def test_a_deformable_convolution_counts_as_one_of_the_same_filters() -> None:
    class Deformable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Conv2d(4, 18, 3, padding=1)
            self.layer = torchvision.ops.DeformConv2d(4, 8, 3, padding=1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, self.offset(x))

    assert counted_in_both_ways(Deformable(), (4, 8, 8)) == 64 * 9 * (18 * 4 + 8 * 2)


@pytest.mark.parametrize(
    ("layers", "bidirectional"),
    [(1, False), (2, False), (2, True), pytest.param(1, True, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    ("kind_of", "gates", "projected"), [(nn.RNN, 1, 0), (nn.GRU, 3, 0), (nn.LSTM, 4, 0), (nn.LSTM, 4, 2)]
)
def test_a_recurrent_layer_counts_its_matrices_once_a_step(
    kind_of: Any, gates: int, projected: int, bidirectional: bool, layers: int
) -> None:
    options = {"proj_size": projected} if projected else {}
    layer = kind_of(6, 5, num_layers=layers, bidirectional=bidirectional, batch_first=True, **options)
    state, ways = projected or 5, 1 + bidirectional
    entering = [6, *[state * ways] * (layers - 1)]
    by_hand = 7 * ways * sum(gates * 5 * (width + state) + 5 * projected for width in entering)
    assert (
        counted_in_both_ways(layer, (7, 6)) == counted_in_both_ways(copy.deepcopy(layer).to("meta"), (7, 6)) == by_hand
    )


@pytest.mark.parametrize(("cell", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_cells_and_packed_sequences_count_the_steps_that_they_take(cell: Any, gates: int) -> None:
    steps, layer = cell(6, 5), nn.LSTM(6, 5, batch_first=True)

    def packed(x: Tensor) -> Any:
        return layer(nn.utils.rnn.pack_padded_sequence(x, [4], batch_first=True))

    def unrolled(x: Tensor) -> Any:
        state = None
        for step in x.unbind(1):
            state = steps(step, state)
        return state

    assert count_macs(Function(packed), (7, 6)) == 4 * 20 * 11
    assert counted_in_both_ways(Function(unrolled), (7, 6)) == 7 * gates * 5 * 11


def test_attention_counts_its_projections_and_both_of_its_products() -> None:
    attention = 5 * 8 * 24 + 5 * 8 * 8 + 2 * 5 * 5 * 8
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for weights in (True, False):
        own = nn.MultiheadAttention(8, 2, batch_first=True)
        module = Function(lambda x, own=own, weights=weights: own(x, x, x, need_weights=weights))
        assert counted_in_both_ways(module, (5, 8)) == attention
    assert counted_in_both_ways(nn.TransformerEncoder(layer, 3), (5, 8)) == 3 * (attention + 2 * 5 * 8 * 16)


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: torch.fft.rfft2(x).abs(), "aten::fft_rfft2"),
        (lambda x: torch.linalg.inv(x + torch.eye(8)), "aten::linalg_inv"),
        (lambda x: torch.cdist(x, x), "aten::cdist"),
        (lambda x: torch.sparse.mm(torch.eye(8).to_sparse(), x[0]), "aten::_sparse_mm"),
    ],
)
def test_what_is_not_in_the_table_is_listed_and_not_taken_for_nothing(
    function: Callable[..., Any], operator: str
) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return function(self.layer(x))

    assert macs_by_operator(Mixed(), (8, 8)) == MacCount({"linear": 512}, {operator: 1})
    if operator == "aten::fft_rfft2":
        record = topology(Mixed(), (8, 8))
        assert (record.macs, record.uncounted, record.as_dict()["uncounted"]) == (512, {operator: 1}, {operator: 1})


def test_every_operator_of_torch_that_looks_like_a_product_is_counted_or_unknown() -> None:
    looks = ("mm", "bmm", "matmul", "conv", "linear", "attention", "bilinear", "lstm", "gru", "dot", "einsum", "mv")
    schemas = {schema.name for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")}
    names = [name for name in schemas if any(part in name.removeprefix("aten::").split("_") for part in looks)]
    free = [name for name in names if kind(name) == "free" and "backward" not in name]
    # What interpolates, and what a recurrent cell does after its products.
    others = [
        name
        for name in free
        if not name.startswith(("aten::upsample", "aten::_upsample", "aten::__upsample", "aten::_thnn"))
    ]
    assert not others
    assert all(kind(f"aten::{name}") == "counted" for name in COMPOSITES)
    assert all(kind(f"aten::{name}") == "counted" for name in FORMULAS)


class Kept(nn.Module):
    """Makes tensors by itself, keeps some, and writes to others."""

    sum: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.ones(6, 4)
        self.others = [nn.Parameter(torch.ones(4, 2)) * 2]  # of which torch makes no deep copy
        self.register_buffer("sum", torch.zeros(1, 6))
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.sum.add_(x)
        self.last = x
        ramp = torch.linspace(0, 1, 1)[None]
        found = torch.zeros(2, 3)
        found[:1] = torch.cat([self.sum @ self.matrix @ self.others[0], ramp], 1)
        found[1:] = self.layer(found[:1])
        return found


def test_tensors_of_the_forwards_own_are_counted_and_nothing_is_printed_or_changed(
    capfd: pytest.CaptureFixture,
) -> None:
    network = Kept().train()
    before, random_state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert count_macs(network, 6) == 6 * 4 + 4 * 2 + 9
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert not hasattr(network, "last")
    assert torch.equal(random_state, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")


def test_where_torch_lacks_what_its_tracer_needs_the_dispatcher_alone_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise AttributeError("torch._C has no _ForceDispatchKeyGuard")

    monkeypatch.setattr("nnmass.zoo.reader.mac_counters.recorded_by_the_tracer", gone)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 2))
    assert macs_by_operator(network, (3, 4, 4)) == MacCount({"convolution": 864, "addmm": 64})


def test_half_scripted_lazy_and_parametrised_networks_are_counted() -> None:
    assert count_macs(nn.Conv2d(3, 4, 3).bfloat16(), (3, 5, 5)) == 9 * 108
    assert count_macs(nn.Sequential(nn.LazyLinear(4), nn.ReLU()), (6,)) == 24
    assert count_macs(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), (6,)) == 24
    # The weight's largest singular value is one product by a vector and one of two vectors.
    assert count_macs(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)), (6,)) == 24 + 24 + 4
    with pytest.warns(FutureWarning):
        scripted = torch.jit.script(nn.Sequential(nn.Linear(6, 4), nn.ReLU()))
    assert count_macs(scripted, (6,)) == 24


class Spectral(nn.Module):
    """A layer of complex weights before one of real ones, under a label of the profiler."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4, dtype=torch.complex64))
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.profiler.record_function("layer"):
            return self.layer(x * self.weight.abs().sum())


def test_the_profiler_multiplies_nothing_and_images_are_real_beside_complex_weights() -> None:
    network = Spectral()
    found = macs_by_operator(network, (3, 4, 4))
    assert (found.macs, found.uncounted) == (3 * 5 * 16, {})
    assert topology(network, np.array([3, 4, 4])).macs == 3 * 5 * 16


@pytest.mark.parametrize(
    ("model", "size", "sentence"),
    [
        (nn.Linear(3, 2), (4,), r"Expected a network that takes input of size \(4,\): "),
        (nn.Linear(3, 2), (0,), "Expected input_size to be an integer of at least 1, but got 0"),
        (nn.Linear(3, 2), None, "Expected input_size to be an integer of at least 1, but got None"),
        (torch.relu, (4,), "Expected model to be a torch.nn.Module, but got builtin_function_or_method"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_a_sentence(model: Any, size: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        count_macs(model, size)
    assert "\n" not in str(refusal.value)


def without_values(create: Callable[..., nn.Module], *names: str, **options: Any) -> nn.Module:
    try:
        with torch.device("meta"):
            return create(*names, **options).eval()
    except NotImplementedError:  # RegNet computes its widths with torch
        return create(*names, **options).eval().to("meta")


def check_against_hooks(network: nn.Module, size: tuple[int, ...]) -> None:
    found = macs_by_operator(network, size)
    device = next(network.parameters()).device
    assert (found.macs, found.uncounted) == (count_by_hooks(network, torch.zeros(1, *size, device=device)), {})
    try:
        counted = trace_and_count(network, size)[1]
    except ValueError:  # the reader says that it cannot trace it
        return
    assert counted is None or counted.macs == found.macs


SMALL = ("resnet18", "mobilenetv2_050", "vit_tiny_patch16_224", "levit_128s", "gcresnet33ts")


@pytest.mark.parametrize("name", SMALL)
def test_small_members_of_families_have_the_macs_that_hooks_and_torchs_counter_find(name: str) -> None:
    network: Any = without_values(timm.create_model, name)
    size = network.default_cfg["input_size"]
    check_against_hooks(network, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *size, device="meta"))
    assert counter.get_total_flops() == 2 * count_macs(network, size)


@pytest.mark.slow
@pytest.mark.parts(48)
@pytest.mark.parametrize("name", timm.list_models())
def test_every_network_of_timm_has_the_macs_that_hooks_find(name: str) -> None:
    network: Any = without_values(timm.create_model, name)
    check_against_hooks(network, network.default_cfg["input_size"])


TWO_IMAGES = ("raft_large", "raft_small")  # optical flow: they take two inputs


def torchvision_network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """With values where these decide what runs, and small where a network takes images of any size."""
    family = torchvision.models.get_model_builder(name).__module__.split(".")[2]
    options: dict[str, Any] = {"weights": None}
    if family in ("detection", "segmentation"):
        options["weights_backbone"] = None
    if family == "detection" and not name.startswith("ssd"):
        options |= {"min_size": 64, "max_size": 64}
    size = {"segmentation": (3, 64, 64), "detection": (3, 64, 64), "video": (3, 16, 224, 224)}.get(
        family, (3, 224, 224)
    )
    if name == "inception_v3":
        size = (3, 299, 299)
    if family in ("detection", "quantization"):
        return torchvision.models.get_model(name, **options).eval(), size
    return without_values(torchvision.models.get_model, name, **options), size


@pytest.mark.slow
@pytest.mark.parts(6)
@pytest.mark.parametrize("name", [name for name in torchvision.models.list_models() if name not in TWO_IMAGES])
def test_every_network_of_torchvision_has_the_macs_that_hooks_find(name: str) -> None:
    check_against_hooks(*torchvision_network(name))
