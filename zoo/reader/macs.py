"""Multiply-adds of a network, counted by fvcore under one stated rule."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nnmass.zoo.checks import require, require_shape
from nnmass.zoo.reader.mac_counters import DispatcherCounter, MacCount, WithoutValues, count_with_fvcore
from nnmass.zoo.seeding import kept_random_state
from nnmass.zoo.wrappers import replica

__all__ = ["attention_in_parts", "count_macs", "first_parameter", "image_precision", "macs_by_operator"]


def count_macs(model: nn.Module, input_size: int | Sequence[int]) -> int:
    """Multiply-adds (MAC) of one forward pass: convolutions, linear layers and matrix products, nothing else.

    FLOPs are twice this number. :func:`macs_by_operator` says which operators run them, and which could not be counted.

    Args:
        model: Any network of one image-like input.
        input_size: Shape of one input without the batch dimension, for example (3, 32, 32), in px.

    Returns:
        MACs of the forward pass of one input.

    Raises:
        ValueError: If the network does not accept an input of this size.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1), (3, 4, 4))
        3456
    """
    return macs_by_operator(model, input_size).macs


def macs_by_operator(model: nn.Module, input_size: int | Sequence[int]) -> MacCount:
    """Multiply-adds (MAC) of one forward pass by operator, and the operators that have none which could be counted.

    Batch 1, eval mode, on a copy without forward hooks: the model is left exactly as it was. fvcore counts, on weights
    without values; on a copy with values where these decide what runs. Where the graph that it counts hides something,
    as functions with a backward pass of their own do, what reached torch's dispatcher is counted by the same table.

    Args:
        model: Any network of one image-like input.
        input_size: Shape of one input without the batch dimension, for example (3, 32, 32), in px; or one number.

    Returns:
        MACs of the forward pass of one input.

    Raises:
        ValueError: If the network does not accept an input of this size.

    Example:
        >>> macs_by_operator(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 2)), (3, 4, 4))
        MacCount(by_operator={'convolution': 864, 'linear': 64}, uncounted={})
    """
    require(isinstance(model, nn.Module), "model", "be a torch.nn.Module", type(model).__name__)
    sizes = require_shape("input_size", input_size)
    last: Exception | None = None
    copies: list[Callable[[nn.Module], nn.Module]] = [_without_values]
    if not first_parameter(model).is_meta:
        copies.append(replica)
    for copied, count in product(copies, (count_with_fvcore, _count_at_dispatcher)):
        try:
            return _count(model, sizes, copied, count)
        except Exception as error:  # whatever a stranger's forward raises
            last = error
    reason = (str(last).strip() or type(last).__name__).splitlines()[-1]
    raise ValueError(f"Expected a network that takes input of size {tuple(sizes)}: {reason}") from last


def _count(
    model: nn.Module,
    sizes: Sequence[int],
    copied: Callable[[nn.Module], nn.Module],
    count: Callable[[nn.Module, torch.Tensor], MacCount],
) -> MacCount:
    parameter = first_parameter(model)
    with ExitStack() as stack:
        stack.enter_context(kept_random_state(parameter.device))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # fvcore still uses torch.jit, which is deprecated
        stack.enter_context(torch.inference_mode(False))
        # Without gradients: the tracer takes no constant that requires one.
        stack.enter_context(torch.no_grad())
        network = copied(model)
        for learnt in network.parameters():
            if not is_lazy(learnt):
                learnt.requires_grad_(False)
        device = "meta" if copied is _without_values else parameter.device
        images = torch.zeros(1, *sizes, device=device, dtype=image_precision(model))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(attention_in_parts())
        if images.is_meta:
            stack.enter_context(WithoutValues())
        return count(network, images)


def _without_values(model: nn.Module) -> nn.Module:
    """A copy whose parameters have no values; buffers, by which a forward may decide what runs, keep theirs."""
    plain = [parameter for parameter in model.parameters() if type(parameter) is nn.Parameter]
    empty = partial(torch.empty_like, device="meta")
    return replica(model, {id(one): nn.Parameter(empty(one), requires_grad=False) for one in plain})


def _count_at_dispatcher(network: nn.Module, images: torch.Tensor) -> MacCount:
    with DispatcherCounter() as counter:
        network(images)
    return counter.count()


@contextmanager
def attention_in_parts() -> Iterator[None]:
    """Run attention within this context as its separate operators, not as one fused kernel of unknown content."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def image_precision(model: nn.Module) -> torch.dtype:
    """Precision of the images that a network takes: that of its first parameter of real numbers, or torch's own."""
    found = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return next(found, torch.get_default_dtype())


def first_parameter(model: nn.Module) -> torch.Tensor:
    """The first parameter, or an empty CPU tensor for a network that has none: tells the device."""
    return next(model.parameters(), torch.empty(0))
