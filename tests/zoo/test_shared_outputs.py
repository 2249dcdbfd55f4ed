"""The pass on shared outputs against the cell's modules run one after the other, which are the oracle.

With TRITON_INTERPRET=1 the same tests hold the GPU's kernels against it, interpreted on the processor.
"""

import copy
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.multiprocessing.reductions import StorageWeakRef

from nnmass.zoo import RandomSkipCell, RandomSkipDenseNet, count_macs, hidden_mean, layer_spectra, topology
from nnmass.zoo.fast import gpu, outputs, processor
from nnmass.zoo.fast.channels import Outputs
from nnmass.zoo.networks import cells

pytestmark = pytest.mark.skipif(not processor.available(torch.float32), reason="PyTorch was built without GNU OpenMP")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(autouse=True)
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by an entry with each pass on shared outputs, so that no test compares the oracle with itself."""
    counted: list[int] = []
    right = RandomSkipCell.forward_on_shared_outputs
    monkeypatch.setattr(
        RandomSkipCell, "forward_on_shared_outputs", lambda cell, x: counted.append(1) or right(cell, x)
    )
    monkeypatch.setattr(cells, "is_proved", lambda *_: True)  # whose own pass would be counted
    if INTERPRETED:
        monkeypatch.setattr(outputs, "loops_for", lambda device: gpu)
        monkeypatch.setattr(gpu, "_PARTS", 2)
    return counted


def pair(precision: torch.dtype = torch.float64, **arguments: Any) -> tuple[RandomSkipCell, RandomSkipCell]:
    """A cell and the same one that runs module by module, with weights and statistics that are no special case."""
    cell = RandomSkipCell(**arguments).to(precision)
    generator = torch.Generator().manual_seed(1)
    for name, value in cell.state_dict().items():
        if "norm" in name and value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + (0.5 if "var" in name else -0.3))
    plain = copy.deepcopy(cell)
    plain.share_outputs = False
    return cell, plain


def memory_of_outputs(monkeypatch: pytest.MonkeyPatch) -> list[StorageWeakRef]:
    """Grows by the memory of all outputs that passes keep."""
    made: list[StorageWeakRef] = []
    right = processor.store

    def store(output: Tensor, kept: Outputs, position: int, measure: bool) -> None:
        right(output, kept, position, measure)
        made.append(StorageWeakRef(kept.values.untyped_storage()))

    monkeypatch.setattr(processor, "store", store)
    return made


def step(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers after forward and backward from a loss that weighs every entry."""
    x = x.clone().requires_grad_()
    output = network(x)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (output * weights.to(output)).sum().backward()
    assert x.grad is not None
    found = {"output": output.detach(), "input's gradient": x.grad}
    found |= {f"gradient of {name}": value.grad for name, value in network.named_parameters() if value.grad is not None}
    return found | {name: value.clone() for name, value in network.named_buffers() if "links" not in name}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """To this share of each tensor's largest entry; gradients that cancel to nothing, to that of the largest of all."""
    assert found.keys() == expected.keys()
    largest = max(value.abs().max() for name, value in expected.items() if "gradient" in name)
    for name, value in expected.items():
        scale = value.abs().max().double().item()
        if "gradient" in name:  # one that vanishes next to the others has no digits of its own
            scale = max(scale, 1e-4 * largest.item())
        if name.endswith("norm_out.bias"):  # a shift that the next normalisation takes away again
            scale = max(scale, largest.item())
        if name.endswith("running_mean"):
            scale = max(scale, 1.0)
        assert (found[name].double() - value.double()).abs().max().item() <= tolerance * scale, name


SHAPES: list[dict[str, Any]] = [
    {"in_channels": 3, "width": 4, "depth": 3, "tc": 0},
    {"in_channels": 3, "width": 4, "depth": 3, "tc": 2},
    {"in_channels": 2, "width": 1, "depth": 5, "tc": 99},
    {"in_channels": 4, "width": 5, "depth": 7, "tc": 9, "stride": 2},
    {"in_channels": 3, "width": 4, "depth": 5, "tc": 7, "expansion": 1},
    {"in_channels": 3, "width": 4, "depth": 5, "tc": 7, "expansion": 6, "expand_first": False},
]


@pytest.mark.parametrize("arguments", SHAPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [1, 5])
def test_outputs_gradients_and_statistics_are_the_oracles(
    arguments: dict[str, Any], memory_format: torch.memory_format, batch: int, passes: list[int]
) -> None:
    cell, plain = pair(**arguments)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):  # the second step begins with the statistics of the first
        x = torch.randn(batch, arguments["in_channels"], 6, 7, generator=generator, dtype=torch.float64)
        found, expected = (step(network, x.to(memory_format=memory_format)) for network in (cell, plain))
        assert_close(found, expected, 1e-10)
    assert len(passes) == 2


@given(
    width=st.integers(1, 6),
    depth=st.integers(1, 8),
    tc=st.integers(0, 40),
    batch=st.integers(2, 5),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40)
def test_any_cell(width: int, depth: int, tc: int, batch: int, size: tuple[int, int], seed: int) -> None:
    cell, plain = pair(in_channels=2, width=width, depth=depth, tc=tc, seed=seed)
    x = torch.randn(batch, 2, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert_close(step(cell, x), step(plain, x), 1e-8)  # a few samples of a channel may have nearly no variance


def test_single_precision_and_bfloat16_are_as_exact_as_the_oracle(passes: list[int]) -> None:
    exact, _ = pair(in_channels=3, width=16, depth=9, tc=30)
    exact.share_outputs = False
    cell, plain = pair(torch.float32, in_channels=3, width=16, depth=9, tc=30)
    size = 8 if INTERPRETED else 16
    x = torch.randn(size // 2, 3, size, size, generator=torch.Generator().manual_seed(0))
    truth = step(exact, x.double())

    def error(network: nn.Module, bfloat16: bool) -> float:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            found = step(network, x)
        errors = [
            (found[name].double() - value.double()).norm() / value.double().norm()
            for name, value in truth.items()
            if ("gradient" in name and "norm_out.bias" not in name) or name == "output"
        ]
        # A gradient that cancels to nothing has no digits of its own: which sum comes nearer to it is chance.
        return torch.stack(errors).quantile(0.9).item()

    found, expected = step(cell, x), step(plain, x)
    differences = [
        (found[name] - value).abs().max() / value.abs().max() for name, value in expected.items() if value.any()
    ]
    assert torch.stack(differences).median() < 1e-5
    # A pre-activation next to zero may come out on either side of it, in the oracle as well.
    assert error(cell, False) < 1.5 * error(plain, False) + 1e-6
    assert error(cell, True) < 1.5 * error(plain, True)


def test_evaluation_without_gradients(passes: list[int]) -> None:
    cell, plain = pair(in_channels=3, width=4, depth=6, tc=9)
    cell.eval()
    plain.eval()
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(cell(x), plain(x), rtol=1e-12, atol=1e-12)
    assert len(passes) == 1
    assert_close(step(cell, x), step(plain, x), 1e-12)
    assert len(passes) == 1  # with gradients, the running statistics are constants: the modules run


@pytest.mark.parametrize("change", ["momentum None", "frozen weights", "frozen norm weights"])
def test_other_settings_of_the_normalisation(change: str, passes: list[int]) -> None:
    cells = pair(in_channels=3, width=4, depth=5, tc=6)
    for cell in cells:
        for name, parameter in cell.named_parameters():
            parameter.requires_grad_(
                change == "frozen" or not ("frozen" in change and ("norm_in" in name) == ("norm" in change))
            )
        for module in cell.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None if change == "momentum None" else 0.3
    for seed in range(3):
        x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found, expected = (step(cell, x) for cell in cells)
        assert_close(found, expected, 1e-10)
    assert len(passes) == 3


def test_gradients_accumulate_and_a_retained_graph_goes_back_twice() -> None:
    cell, plain = pair(in_channels=3, width=4, depth=5, tc=6)
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    for network in (cell, plain):
        step(network, x)
        loss = network(x).square().sum()
        partial = torch.autograd.grad(loss, [network.layers[3].conv.weight], retain_graph=True)[0]  # type: ignore[union-attr, list-item]
        loss.backward(retain_graph=True)
        loss.backward()
        assert partial.abs().max() > 0
    for one, other in zip(cell.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert (one.grad - other.grad).abs().max() <= 1e-9 * max(other.grad.abs().max().item(), 1)


def test_two_passes_before_one_step_back() -> None:
    cell, plain = pair(in_channels=3, width=4, depth=5, tc=6)
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    losses = [sum(network(x * factor).square().sum() for factor in (1, -2)) for network in (cell, plain)]
    for loss in losses:
        loss.backward()  # type: ignore[union-attr]
    for one, other in zip(cell.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-9, atol=1e-9)  # type: ignore[arg-type]


def test_memory_is_freed_without_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    made = memory_of_outputs(monkeypatch)
    cell, _ = pair(in_channels=3, width=4, depth=5, tc=6)
    gc.disable()
    try:
        loss = cell(torch.randn(2, 3, 6, 6, dtype=torch.float64)).sum()
        assert not any(memory.expired() for memory in made)
        loss.backward()
        assert all(memory.expired() for memory in made)
        made.clear()
        del loss
        cell(torch.randn(2, 3, 6, 6, dtype=torch.float64))
        assert made
        assert all(memory.expired() for memory in made)
    finally:
        gc.enable()


def lookers_on() -> Iterator[tuple[str, Callable[[RandomSkipCell, Tensor], Any]]]:
    def hooked(cell: RandomSkipCell, x: Tensor) -> Any:
        seen: list[Tensor] = []
        handle = cell.layers[3].norm_in.register_forward_hook(lambda module, given, found: seen.append(found))  # type: ignore[union-attr, operator]
        cell(x)
        handle.remove()
        return seen[0]

    def below(cell: RandomSkipCell, x: Tensor) -> Any:
        seen: list[Tensor] = []
        handle = cell.layers[3].conv.register_forward_pre_hook(lambda module, given: seen.append(given[0]))  # type: ignore[union-attr, operator]
        cell(x)
        handle.remove()
        return seen[0]

    yield "a hook", hooked
    yield "a hook on a convolution", below
    yield "torch.func.jvp", jvp
    yield "make_fx", lambda cell, x: make_fx(cell)(x)(x)
    yield "torch.jit.trace", lambda cell, x: torch.jit.trace(cell, x, check_trace=False)(x)
    yield "SyncBatchNorm", synchronised
    yield "dual numbers", dual
    yield "an activation of another kind", other_activation


def synchronised(cell: RandomSkipCell, x: Tensor) -> Tensor:
    with torch.no_grad():  # where running statistics alone would not keep the modules running
        return nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(cell)).eval()(x)


def jvp(cell: RandomSkipCell, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.func.jvp(copy.deepcopy(cell).eval(), (x,), (x,))[1]


def dual(cell: RandomSkipCell, x: Tensor) -> Tensor:
    with torch.autograd.forward_ad.dual_level():
        return torch.autograd.forward_ad.unpack_dual(cell(torch.autograd.forward_ad.make_dual(x, x))).tangent


def other_activation(cell: RandomSkipCell, x: Tensor) -> Tensor:
    changed = copy.deepcopy(cell)
    for layer in changed.layers[1:]:
        layer.activation = nn.SiLU()
    return changed(x)


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED or not gpu.available(torch.float32), reason="needs Triton, and to be asked once")
def test_the_kernels_of_a_gpu_give_the_same() -> None:
    oracles = "(oracles and 5-memory_format1 and not arguments5)"
    chosen = f"{oracles} or exact or evaluation or normalisation or accumulate or two_passes"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", chosen],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "12 passed" in done.stdout


def test_the_compiler_sees_the_modules(passes: list[int]) -> None:
    cell, plain = pair(in_channels=3, width=4, depth=5, tc=6)
    cell.compile(backend="aot_eager")
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    assert_close(step(cell, x), step(plain, x), 1e-10)
    assert not passes


def test_two_processes_sum_the_same_gradients(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, torch, torch.distributed as dist\n"
        "from torch.nn.parallel import DistributedDataParallel\n"
        "from nnmass.zoo import RandomSkipDenseNet\n"
        "rank, store = int(sys.argv[1]), sys.argv[2]\n"
        "dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)\n"
        "found = []\n"
        "for share in (True, False):\n"
        "    network = RandomSkipDenseNet(4, 1, 20, share_outputs=share).double()\n"
        "    several = DistributedDataParallel(network)\n"
        "    x = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(rank))\n"
        "    with several.no_sync():\n"
        "        several(x).square().sum().backward()\n"
        "    several(x.flip(0)).square().sum().backward()\n"
        "    found.append([p.grad for p in network.parameters()])\n"
        "for one, other in zip(*found):\n"
        "    assert (one - other).abs().max() <= 1e-9 * max(1, other.abs().max())\n"
    )
    command = [sys.executable, str(script)]
    runs = [subprocess.Popen([*command, str(rank), str(tmp_path / "store")]) for rank in (0, 1)]
    assert [run.wait(timeout=200) for run in runs] == [0, 0]


def test_fewer_threads_than_asked_for_do_all_the_work() -> None:
    """Forward only: with such a limit PyTorch's own convolutions wait for ever on their way back."""
    code = (
        "import torch, copy; from nnmass.zoo import RandomSkipCell; torch.set_num_threads(4)\n"
        "cell = RandomSkipCell(3, 4, 5, 6); plain = copy.deepcopy(cell); plain.share_outputs = False\n"
        "x = torch.randn(4, 3, 6, 6)\n"
        "one, other = cell(x), plain(x)\n"
        "assert torch.allclose(one, other, atol=1e-4), (one - other).abs().max()"
    )
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_what_the_pass_does_not_know_is_left_to_the_modules(passes: list[int]) -> None:
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    for change in range(5):
        cells = pair(in_channels=3, width=4, depth=5, tc=6)
        for cell in cells:
            layer: Any = cell.layers[4]
            if change == 0:
                layer.norm_in.eval()
            elif change == 1:
                layer.norm_in.track_running_stats = False
            elif change == 2:
                layer.norm_in.running_mean = layer.norm_in.running_var = layer.norm_in.num_batches_tracked = None
            elif change == 3:
                layer.norm_out = nn.Tanh()
            else:
                layer.norm_in.register_full_backward_pre_hook(lambda module, gradient: None)
        assert_close(step(cells[0], x), step(cells[1], x), 1e-12)
    assert cells[0](x[:0]).shape == (0, 4, 6, 6)
    assert not passes


@pytest.mark.parametrize(("name", "look"), list(lookers_on()))
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_with_somebody_looking_on_the_modules_run(name: str, look: Callable, passes: list[int]) -> None:
    cell, plain = pair(in_channels=3, width=4, depth=5, tc=6)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert torch.equal(look(cell, x), look(plain, x))
    assert not passes


def test_topology_macs_and_spectra_do_not_depend_on_the_switch() -> None:
    shared, plain = (RandomSkipDenseNet(4, 1, [9, 18, 36], share_outputs=share) for share in (True, False))
    x = torch.rand(2, 3, 8, 8)
    assert topology(shared) == topology(plain)
    assert count_macs(shared, (3, 32, 32)) == count_macs(plain, (3, 32, 32))
    assert hidden_mean(list(layer_spectra(shared, x))) == hidden_mean(list(layer_spectra(plain, x)))
    assert shared.state_dict().keys() == plain.state_dict().keys()


def test_a_checkpoint_of_the_plain_network_loads_and_goes_on_alike() -> None:
    shared, plain = (
        RandomSkipDenseNet(4, 1, [9, 18, 36], share_outputs=share, seed=int(share)).double() for share in (True, False)
    )
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    step(plain, x)
    shared.load_state_dict(plain.state_dict())
    plain.zero_grad()
    assert_close(step(shared, x), step(plain, x), 1e-10)
