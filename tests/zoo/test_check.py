"""The check of the fast passes: right here, and wrong wherever a sweep or a pass is."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

from nnmass.commands.main import main
from nnmass.zoo import Agreement, RandomSkipCell, RandomSkipMLP, check_fast_passes
from nnmass.zoo.agreement import check, ways
from nnmass.zoo.agreement.cases import Case, cases_on
from nnmass.zoo.agreement.errors import KINDS, allowed, errors
from nnmass.zoo.agreement.networks import cell
from nnmass.zoo.fast import outputs, perceptron, processor, proof

CPU = torch.device("cpu")
CASES = {(case.section, case.title): case for case in cases_on(CPU)}

pytestmark = pytest.mark.skipif(not processor.available(torch.float32), reason="PyTorch was built without GNU OpenMP")


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leave a few cases, by their titles in single precision, for the command line to go through."""

    def chosen(*titles: str) -> None:
        cases = [CASES["float32", title] for title in titles]
        for module in ("check", "cases"):
            monkeypatch.setattr(f"nnmass.zoo.agreement.{module}.cases_on", lambda device: cases)

    return chosen


@pytest.fixture(scope="module")
def rows() -> list[tuple[Agreement, int]]:
    """All rows of a processor, and how often the fast pass ran for each."""
    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        for network in (RandomSkipCell, RandomSkipMLP):

            def counted(self: Any, x: Tensor, run: Any = network.forward_on_shared_outputs) -> Tensor:
                calls.append(1)
                return run(self, x)

            patch.setattr(network, "forward_on_shared_outputs", counted)
        found = []
        for row in check_fast_passes("cpu"):
            found.append((row, len(calls)))
            calls.clear()
    return found


def test_everything_agrees_on_this_processor(rows: list[tuple[Agreement, int]]) -> None:
    assert [row for row, _ in rows if row.is_wrong] == []
    assert [row.title for row, _ in rows if row.verdict == "needs a GPU"] == [
        f"{network}, {what}" for network in ("cell", "MLP") for what in ("CUDA graph", "no wait for the GPU")
    ]
    assert {row.section for row, _ in rows} == {"float32", "bfloat16", "float16", "around a step"}
    assert not {row.verdict for row, _ in rows} & {"not checked", "failed"}


def test_the_fast_pass_ran_wherever_a_row_says_so_and_nowhere_else(rows: list[tuple[Agreement, int]]) -> None:
    for row, calls in rows:
        assert (calls > 3) == (row.verdict == "agrees") == (row.fast is not None), row
        assert (row.plain is None) == (row.verdict == "needs a GPU"), row
    without = {(row.section, row.title.partition(",")[0]) for row, _ in rows if row.verdict == "modules run"}
    assert without == {("float16", "sweeps"), ("float16", "cell"), ("around a step", "cell"), ("around a step", "MLP")}


def test_rows_hold_all_kinds_of_results(rows: list[tuple[Agreement, int]]) -> None:
    kinds = {(row.section, row.title): list(row.errors) for row, _ in rows}
    assert kinds["float32", "cell, width 33"] == kinds["bfloat16", "sweeps, 67,500 rows"] == list(KINDS)
    assert kinds["float32", "MLP, ReLU"] == ["outputs", "weights", "inputs"]
    assert kinds["float16", "cell, evaluation"] == ["outputs"]


def after(sweep: str, change: Callable[..., None]) -> tuple[str, Callable]:
    """A sweep of the processor's, and one that goes wrong in its place."""
    right = getattr(processor, sweep)

    def wrong(*arguments: Any) -> Any:
        result = right(*arguments)
        change(result, *arguments)
        return result

    return sweep, wrong


def blurred_variance(_: None, output: Tensor, kept: Any, position: int, measure: bool) -> None:
    kept.variance.mul_(1.01)


def no_running_statistics(_: Any, norm: nn.BatchNorm2d, *others: Any) -> None:
    assert norm.running_mean is not None
    norm.running_mean.fill_(-1.5)


def scale_off(_: Any, norm: Any, newest: Any, links: Any, kept: Any, memory: Tensor) -> None:
    memory.mul_(1.01)


def one_row_wrong(_: Any, norm: Any, newest: Any, links: Any, kept: Any, memory: Tensor) -> None:
    memory[0] += 1


def weights_off(result: tuple[Tensor, Tensor], *others: Any) -> None:
    result[0].mul_(0.99)


def centre_left_in(_: None, gradients: Any, kept: Any, position: int, found: Tensor, reading: Any) -> None:
    found.add_(0.01)


BROKEN: list[tuple[str, Callable[..., None], str]] = [
    ("store", blurred_variance, "store or normalise: layers."),
    ("normalise_and_gather", no_running_statistics, "store or normalise: layers."),
    ("normalise_and_gather", scale_off, "gather: output"),
    ("normalise_and_gather", one_row_wrong, "gather: output"),
    ("scatter", weights_off, "scatter: gradient of layers.3.norm_in.weight"),
    ("batch_norm_backward", centre_left_in, "batch_norm_backward: gradient of the input"),
]


@pytest.mark.filterwarnings("ignore:The modules of a")
@pytest.mark.parametrize("proved", [True, False])
@pytest.mark.parametrize(("sweep", "change", "named"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_sweep_is_named(
    sweep: str,
    change: Callable,
    named: str,
    proved: bool,
    only: Callable,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Also where the proof before a network's first pass has not come by, or has found the mistake itself."""
    monkeypatch.setattr(processor, *after(sweep, change))
    if proved:
        monkeypatch.setattr("nnmass.zoo.networks.cells.is_proved", lambda *_: True)
    else:
        monkeypatch.setattr(proof, "_proved", {})
    only("sweeps, width 5", "MLP, width 16")
    assert main(["check", "--device", "cpu"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert f"sweeps, width 5, float32: {named}" in printed
    assert "WRONG: 1 differ or fail, 1 agree. Train with --model.network.share_outputs false" in printed


@pytest.mark.parametrize("title", ["sweeps, 67,500 rows", "cell, width 33", "cell, expansion 6", "cell, batch 1"])
def test_every_size_notices(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnmass.zoo.networks.cells.is_proved", lambda *_: True)
    for section in ("float32", "bfloat16"):
        with monkeypatch.context() as patch:
            patch.setattr(processor, *after("normalise_and_gather", no_running_statistics))
            assert check.check(CASES[section, title], CPU).verdict == "differs"
        assert check.check(CASES[section, title], CPU).verdict == "agrees"


def test_a_wrong_pass_of_an_mlp_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = perceptron.run
    monkeypatch.setattr(perceptron, "run", lambda *arguments: right(*arguments) * 1.01)
    monkeypatch.setattr("nnmass.zoo.networks.mlp.is_proved", lambda *_: True)
    row = check.check(CASES["float32", "MLP, evaluation"], CPU)
    assert row.verdict == "differs"
    assert row.sentence.startswith("output is off by ")


@pytest.mark.parametrize("proved", [True, False])
def test_a_kernel_that_raises_makes_a_row_and_no_traceback(
    proved: bool, only: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("\nptxas: no such register\nmore of it")

    monkeypatch.setattr(processor, "scatter", broken)
    monkeypatch.setattr(proof, "_proved", {})
    if proved:
        monkeypatch.setattr("nnmass.zoo.networks.cells.is_proved", lambda *_: True)
    only("cell, width 5", "cell, evaluation")
    with pytest.warns(UserWarning, match="ptxas") if not proved else contextmanager(lambda: iter([None]))():
        proof._tell.cache_clear()
        assert main(["check", "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert "cell, width 5, float32: ptxas: no such register." in said.out
    assert "Traceback" not in said.out + said.err
    assert "more of it" not in said.out


def test_what_the_modules_cannot_do_is_not_held_against_the_fast_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise RuntimeError("no group here")

    monkeypatch.setattr(ways.dist, "init_process_group", none)
    row = check.check(CASES["around a step", "cell, DDP"], CPU)
    assert (row.verdict, row.is_wrong) == ("not checked", False)
    assert row.sentence == "the modules do not run here: no group here"


def test_where_torch_lacks_what_the_passes_need_the_modules_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnmass.zoo.fast.internals.available", lambda: False)
    for title in ("cell, width 5", "MLP, width 16"):
        assert check.check(CASES["float32", title], CPU).verdict == "modules run"


def test_the_networks_keep_away_from_the_rectifiers_edge() -> None:
    network = cell(share=False, width=16, tc=24).double()
    seen: list[Tensor] = []
    for layer in network.layers[1:]:
        layer.activation.register_forward_pre_hook(lambda module, given: seen.append(given[0]))  # type: ignore[union-attr, operator]
    network(CASES["float32", "cell, width 16"].inputs())
    assert min(value.abs().min().item() for value in seen) > 0.02
    assert all((value > 0).any() and (value < 0).any() for value in seen)


def test_an_error_is_a_share_of_what_rounding_explains() -> None:
    exact = {"output": torch.tensor([4.0, 0.0], dtype=torch.float64)}
    near, far = {"output": torch.tensor([4.0, 1e-3])}, {"output": torch.tensor([4.0, 5e-3])}
    (error,) = errors(far, [near, exact], exact, torch.float32).values()
    assert error.usual == pytest.approx(2.5e-4)
    assert error.distance == pytest.approx(1.25e-3)
    assert error.share == pytest.approx(1.25e-3 / allowed(2.5e-4, torch.float32)) == pytest.approx(5 / 8)
    assert allowed(1e-9, torch.bfloat16) == 8 * torch.finfo(torch.bfloat16).eps


def test_what_is_no_number_or_not_there_is_no_agreement() -> None:
    exact = {"output": torch.ones(3), "a.running_mean": torch.zeros(2)}
    fast = {"output": torch.tensor([1.0, float("nan"), 1.0]), "a.running_mean": torch.zeros(2)}
    found = errors(fast, [exact], exact, torch.float32)
    assert not found["outputs"].share <= 1
    assert found["buffers"].share == 0
    with pytest.raises(ValueError, match=r"Expected a result a\.running_mean of shape \(2,\), but there is none"):
        errors({"output": torch.ones(3)}, [exact], exact, torch.float32)


def test_tf32_is_off_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    @contextmanager
    def looking(network: nn.Module, x: Tensor, precision: torch.dtype) -> Iterator[Callable[[], Tensor]]:
        seen.append(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
        with ways.train(network, x, precision) as step:
            yield step

    before = torch.backends.cudnn.allow_tf32
    assert check.check(CASES["float32", "MLP, width 16"]._replace(way=looking), CPU).verdict == "agrees"
    assert set(seen) == {False}
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize("fails", [False, True])
def test_waits_for_the_gpu_are_errors_during_the_step_alone(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, mode = [], ["before"]
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: mode[0])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda value: mode.__setitem__(0, value))
    network, x = cell(share=True, width=4, tc=5), torch.randn(2, 3, 4, 4).requires_grad_()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with ways.unsynchronised(network, x, torch.float32) as step:
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        monkeypatch.setattr(
            network, "forward_on_shared_outputs", lambda x: modes.append(mode[0]) or 1 / (not fails) * x
        )
        if fails:
            with pytest.raises(ZeroDivisionError):
                step()
        else:
            step()
    assert modes == ["error"]
    assert mode == ["before"]


def test_a_cuda_graph_is_captured_of_one_step_and_replayed_from_the_first_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The processor stands in for the graph: its replay is a step of the same network."""
    network, x = cell(share=True, width=4, tc=5), torch.randn(2, 3, 4, 4).requires_grad_()
    captured: list[str] = []

    @contextmanager
    def capture(graph: Any) -> Iterator[None]:
        assert x.grad is None
        assert all(parameter.grad is None for parameter in network.parameters())
        captured.append("begun")
        yield
        captured.append("done")

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda side: contextmanager(lambda: iter([None]))())
    monkeypatch.setattr(torch.cuda, "graph", capture)
    replay = SimpleNamespace(replay=lambda: ways._step(network, network, x, torch.float32))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: replay)
    with ways.captured(network, x, torch.float32) as step:
        assert captured == ["begun", "done"]
        step()
    tracked = network.layers[3].norm_in.num_batches_tracked  # type: ignore[union-attr]
    assert int(tracked) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--device gpu", "Expected --device to be auto, cpu, cuda or cuda:N, but got 'gpu'."),
        ("--device cuda:one", "Expected --device to be auto, cpu, cuda or cuda:N, but got 'cuda:one'."),
        ("--device cuda", "Expected --device to be there, but torch sees no CUDA device here."),
        ("--devise cpu", "did you mean --device?"),
        ("cpu", "Expected a known option, but got 'cpu'"),
    ],
)
def test_a_bad_option_gets_one_sentence(words: str, sentence: str, capsys: pytest.CaptureFixture) -> None:
    if torch.cuda.is_available() and words.endswith("cuda"):
        pytest.skip("there is a GPU")
    assert main(["check", *words.split()]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_the_machine_is_named_first(only: Callable, capsys: pytest.CaptureFixture) -> None:
    only("MLP, width 16")
    assert main(["check", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"torch {re.escape(torch.__version__)}, cpu .*, \d+ threads?", lines[0])
    assert lines[-1] == "Right: 1 agree."


def test_the_rows_of_a_gpu_name_what_only_a_gpu_has() -> None:
    cases = {case.title: case for case in cases_on(torch.device("cuda", 0))}
    assert cases["cell, gradient scaler"].precision == torch.float16
    assert {case.way for case in cases.values() if case.needs_gpu} == {ways.captured, ways.unsynchronised}


@pytest.mark.gpu
def test_everything_agrees_on_this_gpu() -> None:
    found = list(check_fast_passes("cuda"))
    assert [row for row in found if row.is_wrong] == []
    assert {row.verdict for row in found if row.section == "around a step"} == {"agrees", "modules run"}
    assert {row.title for row in found if row.verdict == "modules run"} == {"MLP, autocast bfloat16"}


INTERPRETED = """
import torch
from nnmass.zoo.agreement import check
from nnmass.zoo.agreement.cases import cases_on
from nnmass.zoo.fast import gpu, outputs
outputs.loops_for = check.loops_for = lambda device: gpu
check._REPEATS = 0
for case in cases_on(torch.device("cpu")):
    if case.title == "sweeps, width 5" or (case.section, case.title) == ("float16", "cell, width 5"):
        row = check.check(case, torch.device("cpu"))
        print(row.verdict, row)
"""


@pytest.mark.skipif(not outputs.gpu.available(torch.float32), reason="needs Triton")
def test_the_kernels_of_a_gpu_agree_in_all_precisions() -> None:
    """Interpreted on the processor, in half precision too."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    verdicts = [line.split()[0] for line in done.stdout.splitlines()]
    assert verdicts == ["agrees"] * 4, done.stdout


def test_a_case_can_be_one_of_ones_own() -> None:
    case = Case(
        "mine",
        torch.float32,
        lambda share: RandomSkipMLP(4, 3, 2, in_features=5, share_outputs=share),
        lambda: torch.ones(2, 5, dtype=torch.float64),
    )
    assert check.check(case, CPU).verdict == "agrees"
