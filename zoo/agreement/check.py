"""The fast passes against the plain modules in double precision, case by case."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from nnmass.zoo.agreement.cases import Case, cases_on
from nnmass.zoo.agreement.errors import Error, errors
from nnmass.zoo.agreement.ways import evaluate, train
from nnmass.zoo.fast import internals
from nnmass.zoo.fast.outputs import loops_for
from nnmass.zoo.networks.mlp import RandomSkipMLP
from nnmass.zoo.precision import full_precision

__all__ = ["Agreement", "check", "check_fast_passes"]

Verdict = Literal["agrees", "differs", "failed", "modules run", "needs a GPU", "not checked"]

_SWEEPS = {
    "buffers": "store or normalise",
    "outputs": "gather",
    "weights": "scatter",
    "inputs": "batch_norm_backward",
}
_REPEATS = 3


class Agreement(NamedTuple):
    """The outcome of one case.

    Attributes:
        section: A precision, or ``around a step``.
        title: What was tried.
        verdict: ``agrees`` or ``differs``; ``failed`` if the fast pass raises; ``modules run`` if there is none for
            the case and its modules do the work; ``needs a GPU``, or ``not checked`` if the modules themselves fail.
        errors: By kind, as :func:`zoo.agreement.errors.errors` gives them; empty if nothing ran.
        fast: Time of a step of the fast pass in s, if it ran.
        plain: The same of the plain modules.
        sentence: What is wrong, or why there is nothing to say; empty if all is right.
    """

    section: str
    title: str
    verdict: Verdict
    errors: dict[str, Error] = {}  # noqa: RUF012 (never written to)
    fast: float | None = None
    plain: float | None = None
    sentence: str = ""

    @property
    def is_wrong(self) -> bool:
        """Test for a fast pass that must not be used."""
        return self.verdict in ("differs", "failed")


def check_fast_passes(device: str | torch.device = "cpu") -> Iterator[Agreement]:
    """Hold both fast passes and every sweep of theirs against the plain modules in double precision.

    Outputs, gradients of inputs and weights, and running statistics may be as far from double precision as
    :func:`zoo.agreement.errors.allowed` says. Several sizes, precisions and surroundings of a step are tried; nothing
    that they compute is random.

    Args:
        device: Where: ``cpu``, ``cuda`` or ``cuda:1``.

    Yields:
        One row per case, as it is done.
    """
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    for case in cases_on(device):
        yield check(case, device)


def check(case: Case, device: torch.device) -> Agreement:
    """Run one case.

    Args:
        case: Which one.
        device: Where; a GPU with its number.
    """
    row = Agreement(case.section, case.title, "agrees")
    if case.needs_gpu and device.type != "cuda":
        return row._replace(verdict="needs a GPU")
    with ExitStack() as stack:
        stack.enter_context(full_precision())
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))
        try:
            exact, _, _ = _run(case, device, share=False, exact=True)
            plain, plain_seconds, _ = _run(case, device, share=False)
            usual = [plain]
            if plain["output"].dim() == 4:  # convolutions of another memory format sum in another order
                usual.append(_run(case._replace(channels_last=True), device, share=False)[0])
        except Exception as error:
            return row._replace(verdict="not checked", sentence=f"the modules do not run here: {_line(error)}")
        try:
            fast, seconds, ran = _run(case, device, share=True)
            if not ran and _is_there(case, device):  # it does not work here: in what, and why?
                fast, seconds, _ = _run(case, device, share=True, forced=True)
            found = errors(fast, usual, exact, case.precision)
        except Exception as error:
            return row._replace(verdict="failed", plain=plain_seconds, sentence=_line(error))
    row = row._replace(errors=found, fast=seconds if ran else None, plain=plain_seconds)
    for kind, off in found.items():
        if not off.share <= 1:
            return row._replace(verdict="differs", sentence=_disagreement(case, kind, off))
    return row if ran else row._replace(verdict="modules run")


def _run(
    case: Case, device: torch.device, share: bool, exact: bool = False, forced: bool = False
) -> tuple[dict[str, Tensor], float, bool]:
    """Results by name, seconds of a step, and whether the fast pass ran."""
    network: Any = case.build(share).to(device, case.weights)
    x = case.inputs().to(device, case.weights)
    if case.channels_last and x.dim() == 4:
        network, x = network.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    way = case.way
    if exact:
        network, x, way = network.double(), x.double(), evaluate if case.way is evaluate else train
    if forced:
        network.forward = network.forward_on_shared_outputs
    with way(network, x.requires_grad_(), case.precision) as step:
        found = _results(network, x, step())
        ran = network.ran_on_shared_outputs
        seconds = []
        for _ in range(0 if exact else _REPEATS):
            begin = _now(device)
            step()
            seconds.append(_now(device) - begin)
    return found, median(seconds or [0.0]), ran


def _results(network: nn.Module, x: Tensor, output: Tensor) -> dict[str, Tensor]:
    found = {"output": output, "gradient of the input": x.grad}
    found |= {f"gradient of {name}": parameter.grad for name, parameter in network.named_parameters()}
    if x.grad is not None:
        found |= {name: value for name, value in network.named_buffers() if "links" not in name}
    return {name: value.detach().clone().double() for name, value in found.items() if value is not None}


def _is_there(case: Case, device: torch.device) -> bool:
    """Test that there is a fast pass for the case at all, be it right or wrong."""
    if not internals.available():
        return False
    if isinstance(case.build(False), RandomSkipMLP):
        return not case.is_autocast
    loops = loops_for(device)
    return loops is not None and loops.available(case.precision)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _disagreement(case: Case, kind: str, error: Error) -> str:
    sweep = f"{_SWEEPS[kind]}: " if case.is_sweeps else ""
    return (
        f"{sweep}{error.name} is off by {error.distance:.1e} of the largest number, where {error.allowed:.1e} is "
        f"allowed and the modules are off by {error.usual:.1e}"
    )


def _line(error: Exception) -> str:
    """The first line of what an error says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
