"""A fast pass proves itself before a user's network runs on it, and stands aside where it cannot."""

import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from operator import attrgetter
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

from nnmass import zoo
from nnmass.zoo import RandomSkipCell, RandomSkipMLP
from nnmass.zoo.fast import choice, gpu, internals, perceptron, processor, proof
from nnmass.zoo.precision import tf32, tf32_in_use

NAMES = [(owner, name) for owner, _, names in internals._NAMES for name in names]


@pytest.fixture(autouse=True)
def nothing_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins as a new process does."""
    monkeypatch.setattr(proof, "_proved", {})
    for cached in (internals._tell, internals._first_changed, proof._tell):
        cached.cache_clear()


def steps(network: nn.Module, x: Tensor) -> bool:
    """Train for two steps, and tell whether the fast pass ran."""
    for _ in range(2):
        network(x).square().sum().backward()
    return bool(network.ran_on_shared_outputs)


def cell() -> tuple[RandomSkipCell, Tensor]:
    return RandomSkipCell(in_channels=3, width=4, depth=5, tc=6), torch.randn(2, 3, 6, 6)


def mlp() -> tuple[RandomSkipMLP, Tensor]:
    return RandomSkipMLP(depth=5, width=4, tc=6, in_features=7), torch.randn(2, 7)


@pytest.mark.parametrize("build", [cell, mlp])
def test_both_passes_prove_themselves_here(build: Callable) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert steps(*build())


@pytest.mark.parametrize("build", [cell, mlp])
def test_both_passes_prove_themselves_whatever_the_default_precision(build: Callable) -> None:
    """Lightning makes bfloat16 the default with ``--trainer.precision bf16-true``."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert steps(*build())
    finally:
        torch.set_default_dtype(before)


def test_under_autocast_one_proof_goes_for_all_cells_of_a_network() -> None:
    """The first one takes images in single precision, the others what is in half precision already."""
    network = zoo.RandomSkipDenseNet(cell_depth=3, width_multiplier=1, tc=4)
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(2, 3, 8, 8))
    assert zoo.pass_in_use(network) == "shared outputs"
    assert [key[3:] for key in proof._proved] == [(torch.float32, torch.bfloat16)]


@pytest.mark.parametrize("build", [cell, mlp])
def test_the_proof_leaves_random_state_modes_and_networks_alone(build: Callable) -> None:
    network, x = build()
    before = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        network.eval()(x)
    network.train()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert steps(network, x)


@pytest.mark.parametrize(("owner", "name"), NAMES)
def test_where_a_private_name_of_torch_is_gone_the_modules_run_and_one_warning_says_so(
    owner: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name cannot be deleted from torch itself, whose own code needs it; so the lookup finds it gone."""
    gone = name.rpartition(".")[2]

    def lookup(path: str) -> Callable[[Any], Any]:
        if path == name:
            raise AttributeError(gone)
        return attrgetter(path)

    monkeypatch.setattr(internals, "attrgetter", lookup)
    for build in (cell, mlp):
        network, x = build()
        exact = network.forward_on_modules(x)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert not steps(network, x)
        torch.testing.assert_close(build()[0](x).shape, exact.shape)
        ours = [str(warning.message) for warning in told if "module by module" in str(warning.message)]
        assert len(ours) == (build is cell)
        assert all(f"has no {owner}.{name}," in message for message in ours)


DELETED = [
    "torch._C._autograd._top_saved_tensors_default_hooks",
    "torch._C._functorch.peek_interpreter_stack",
    "torch._C._len_torch_dispatch_stack",
    "torch._C._len_torch_function_stack",
    "torch.autograd.forward_ad._current_level",
]


@pytest.mark.parametrize("name", DELETED)
def test_a_name_that_is_deleted_from_torch_ends_no_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _, attribute = name.rpartition(".")
    monkeypatch.delattr(attrgetter(owner.removeprefix("torch."))(torch), attribute)
    for build in (cell, mlp):
        network, x = build()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = network(x)
        assert not network.ran_on_shared_outputs
        output.square().sum().backward()


def test_every_private_name_of_torch_stands_in_the_one_file() -> None:
    """So that what a release of torch may take away is looked for before it is used."""
    private = [name.rpartition(".")[2] for _, name in NAMES]
    for file in (ROOT / "zoo").rglob("*.py"):
        if file.name != "internals.py" and "fast" in file.parts:
            text = file.read_text()
            assert not [name for name in private if re.search(rf"\.{name}\b", text)], file
            assert not re.search(r"torch\._[a-zA-Z]", text), file


@pytest.mark.parametrize("sweep", ["gather", "batch_norm_backward"])
def test_where_a_sweep_fails_the_modules_run_and_one_warning_says_why(
    sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, sweep, Mock(side_effect=RuntimeError("PTXAS error: nothing fits\nmore")))
    network, x = cell()
    with pytest.warns(UserWarning, match="fast pass does not work here: PTXAS error: nothing fits$") as told:
        assert not steps(network, x)
    assert len(told) == 1


def test_where_a_sweep_gives_other_numbers_the_modules_run_and_one_warning_says_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = processor.normalise_and_gather

    def wrong(*arguments: Any) -> Any:
        channels = right(*arguments)
        arguments[-1].mul_(1.01)
        return channels

    monkeypatch.setattr(processor, "normalise_and_gather", wrong)
    network, x = cell()
    with pytest.warns(UserWarning, match=r"output is off by .* of the largest number, where the modules are off by"):
        assert not steps(network, x)


def test_where_the_mlps_pass_fails_the_modules_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptron, "run", Mock(side_effect=NotImplementedError("aten::addmm.out")))
    network, x = mlp()
    with pytest.warns(UserWarning, match="modules of a random skip mlp .* aten::addmm.out"):
        assert not steps(network, x)


def test_what_share_outputs_says_is_done_and_none_is_what_was_measured() -> None:
    gpu, wishes = torch.empty(0, device="meta"), (None, True, False)
    yes, no = (lambda _: True), (lambda _: False)
    assert [choice.is_wanted(wish, torch.empty(0), no) for wish in wishes] == [True, True, False]
    assert [choice.is_wanted(wish, gpu, yes) for wish in wishes] == [False, True, False]
    with choice.for_a_graph():
        assert [choice.is_wanted(wish, gpu, yes) for wish in wishes] == [True, True, False]
        assert [choice.is_wanted(wish, gpu, no) for wish in wishes] == [False, True, False]
    assert not choice.is_wanted(None, gpu, yes)
    for build in (cell, mlp):
        network, x = build()
        network.share_outputs = False
        assert not steps(network, x)


def test_sweeps_that_are_asked_for_first_find_their_threads() -> None:
    """In a new process; the compiler would end it where it does not know them."""
    code = (
        "import torch\nfrom zoo import RandomSkipCell\n"
        "print(RandomSkipCell(3, 4, 5, 6).forward_on_shared_outputs(torch.ones(1, 3, 6, 6)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "torch.Size([1, 4, 6, 6])\n", done.stderr


def test_the_pass_in_use_is_told() -> None:
    network, x = cell()
    assert zoo.pass_in_use(nn.Linear(1, 1)) is None
    assert zoo.pass_in_use(network) == "modules"
    network(x)
    assert zoo.pass_in_use(nn.Sequential(network)) == "shared outputs"
    assert zoo.pass_in_use(nn.Sequential(network, cell()[0])) == "shared outputs in 1 of 2 cells"


def test_a_kernel_that_fails_later_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another size is another program for the compiler, in the middle of a training."""
    kernel = MagicMock()
    kernel.__getitem__.return_value.side_effect = RuntimeError("\nPTXAS error: Internal Triton PTX codegen error\nmore")
    monkeypatch.setattr(gpu, "_kernels", lambda: Mock(scatter=kernel))
    with pytest.raises(RuntimeError, match="Expected the kernel scatter .* PTXAS error: .* codegen error; --m"):
        gpu._launch("scatter", (1,), torch.empty(1))


def test_the_proof_is_made_without_tf32_that_the_user_has_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the fast pass and the modules get unlike shares, by the memory format of what enters a convolution."""
    seen: list[bool] = []
    right = proof.step
    monkeypatch.setattr(proof, "step", lambda *arguments: seen.append(tf32_in_use()) or right(*arguments))
    network, x = cell()
    with tf32(True):
        assert steps(network, x)
        assert tf32_in_use()
    assert seen == [False] * 3


def test_in_a_graph_cells_of_plain_convolutions_are_faster_in_the_precision_that_was_measured() -> None:
    x = torch.zeros(1, 3, 4, 4)
    assert not RandomSkipCell(3, 4, 3, 5)._is_faster_in_a_graph(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert RandomSkipCell(3, 4, 3, 5)._is_faster_in_a_graph(x)
        assert not RandomSkipCell(3, 4, 3, 5, expansion=1)._is_faster_in_a_graph(x)
