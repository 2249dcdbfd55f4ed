"""The proof that a fast pass computes on this machine what the plain modules compute, made at its first use.

A kernel that the compiler refuses, a driver that fails or a release of torch that behaves otherwise shows in a network
of a few neurons, before the user's own one has been touched.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from nnmass.zoo.precision import full_precision

__all__ = ["disagreement", "is_proved", "step"]


def is_proved(
    build: Callable[[], nn.Module],
    shape: tuple[int, ...],
    device: torch.device,
    weights: torch.dtype,
    precision: torch.dtype,
) -> bool:
    """Test that the fast pass of a small network agrees with its modules here; where not, the user is told, once.

    Args:
        build: Builds that network, a :class:`zoo.fast.choice.FastPass`; the answer is kept for it, the device and the
            precisions.
        shape: Of its input.
        device: Of the user's network.
        weights: Precision of its weights.
        precision: That of the calculation, another one under autocast.
    """
    key = build, shape, device, weights, precision
    # What is being captured as a CUDA graph must not contain the proof; the steps before the capture have made it.
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing() and key not in _proved:
        return False
    if key not in _proved:
        _proved[key] = False  # for the proof itself, should it come by here
        reason = _reason_against(*key)
        _proved[key] = reason is None
        if reason is not None:
            _tell(build.__name__.strip("_").replace("_", " "), reason)
    return _proved[key]


_proved: dict[tuple, bool] = {}


@cache
def _tell(what: str, reason: str) -> None:
    warnings.warn(
        f"The modules of a {what} run one after the other, slower and in more memory, because its fast pass does not "
        f"work here: {reason}",
        stacklevel=2,
    )


def _reason_against(
    build: Callable[[], nn.Module],
    shape: tuple[int, ...],
    device: torch.device,
    weights: torch.dtype,
    precision: torch.dtype,
) -> str | None:
    try:
        with _undisturbed(device):
            x = torch.arange(torch.Size(shape).numel(), dtype=torch.float64, device=device).mul(0.7).sin().view(shape)
            fast = step(build().to(device, weights), x, "forward_on_shared_outputs", precision)
            plain = step(build().to(device, weights), x, "forward_on_modules", precision)
            exact = step(build().to(device, torch.float64), x, "forward_on_modules", torch.float64)
        return disagreement(fast, plain, exact, precision)
    except Exception as error:  # of Triton, of the compilers and drivers that stand behind it
        cause = error.__cause__ or error
        return next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Let nothing of what the user has switched on reach the proof, nor the proof's waiting for the device the user."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        # Other initial weights could lie where rounding switches a ReLU in one of the passes and not in the other.
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        stack.enter_context(full_precision())  # TF32 rounds either pass otherwise, and more than may be allowed
        # Whose convolutions wait for ever on their way back where OpenMP grants fewer threads than it was asked for.
        mkldnn: Any = torch.backends.mkldnn
        stack.callback(setattr, mkldnn, "enabled", mkldnn.enabled)
        mkldnn.enabled = False
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))
            mode = torch.cuda.get_sync_debug_mode()
            if mode:  # to set it makes torch warn of it
                stack.callback(torch.cuda.set_sync_debug_mode, mode)
                torch.cuda.set_sync_debug_mode(0)
        yield


def step(network: nn.Module, x: Tensor, name: str, precision: torch.dtype) -> dict[str, Tensor]:
    """Go forward and backward through a network, and then forward once more as in an evaluation.

    Args:
        network: In training mode, in which it stays.
        x: Its input.
        name: Of the method that goes forward.
        precision: That of the calculation; autocast brings it about where it is not that of the weights.

    Returns:
        Both outputs, the gradients of input and parameters, and the running statistics, by name.
    """
    weights, run = next(network.parameters()).dtype, getattr(network, name)
    x = x.to(weights).requires_grad_()
    mixed = torch.autocast(x.device.type, precision if precision != weights else None, enabled=precision != weights)
    with mixed:
        output = run(x)
    slopes = torch.arange(output.numel(), dtype=torch.float64, device=x.device).add(1).sin().view(output.shape)
    output.backward(slopes.to(output.dtype))
    network.eval()
    with mixed, torch.no_grad():
        evaluated = run(x)
    network.train()
    inputs = {"the input": x, **dict(network.named_parameters())}
    gradients = {f"gradient of {name}": leaf.grad for name, leaf in inputs.items()}
    numbers = {name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point()}
    found = {"output": output, "output of an evaluation": evaluated, **gradients, **numbers}
    return {name: value.detach().double() for name, value in found.items() if value is not None}


def disagreement(
    fast: dict[str, Tensor], plain: dict[str, Tensor], exact: dict[str, Tensor], precision: torch.dtype
) -> str | None:
    """Say in what the fast pass is further from the exact result than rounding explains; None if in nothing.

    It may be four times as far as the plain modules in the same precision, or eight units of rounding of the largest
    number. For gradients that is the largest of all, because some are zero but for rounding; for output and running
    statistics, which normalisation keeps near 1, it is at least 1.

    Args:
        fast: What the fast pass gave, by name.
        plain: What the modules gave in the same precision.
        exact: What they gave in double precision.
        precision: In which both calculated.
    """
    slopes = [value.abs().max() for name, value in exact.items() if name.startswith("gradient")]
    for name, right in exact.items():
        largest = max(slopes) if name.startswith("gradient") else right.abs().max().clamp(min=1)
        error, usual = (float((found[name] - right).abs().max() / largest) for found in (fast, plain))
        if not error <= max(4 * usual, 8 * torch.finfo(precision).eps):
            return f"{name} is off by {error:.1e} of the largest number, where the modules are off by {usual:.1e}"
    return None
