"""A network as the operations that its input passes through, read off a traced graph and never off class names."""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx

from zoo.macs import first_parameter
from zoo.reader.operations import Operation, Reduction

__all__ = ["trace"]


def trace(network: nn.Module, input_size: Sequence[int]) -> list[Operation]:
    """Record what happens to one input, in eval mode, without computing it.

    The network is traced by torch.fx on tensors that have a shape and no values; where that fails, by torch.export.
    The network, its mode, its buffers and all random state stay as they were.

    Args:
        network: Any network of one image-like input.
        input_size: Shape of one input without the batch dimension, for example (3, 224, 224), in px.

    Returns:
        The operations in the order in which they run; the first one is the input.

    Raises:
        ValueError: If neither way can trace the network on input of this size; the message says why.

    Example:
        >>> [operation.kind for operation in trace(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), (4,))]
        ['input', 'layer', 'other']
    """
    # The copy shares the weights: it is cheap, it can be put in eval mode, and it forgets in-place compilation.
    shared = {id(tensor): tensor for tensor in [*network.parameters(), *network.buffers()]}
    replica = copy.deepcopy(network, shared).eval()
    parameter = first_parameter(replica)
    images = torch.zeros(1, *input_size, device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Reduction(*_trace_with_fx(replica, images)).operations
        except Exception as failure:  # whatever a stranger's forward raises
            try:
                return Reduction(*_trace_with_export(replica, images)).operations
            except Exception as second_failure:
                reasons = [f"{type(error).__name__}: {_first_line(error)}" for error in (failure, second_failure)]
                both = f"torch.fx stopped with {reasons[0]!r}"
                if reasons[1] != reasons[0]:
                    both += f" and torch.export with {reasons[1]!r}"
                raise ValueError(
                    f"Expected a network that torch can trace on one input of size {tuple(input_size)}, but {both}."
                ) from failure


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _trace_with_fx(network: nn.Module, images: Tensor) -> tuple[fx.Graph, Callable[[fx.Node], Any]]:
    """The graph of ATen operators, every node marked with the module that ran it, and what a constant node holds."""
    with _scopes_marked(network):
        module = make_fx(network, tracing_mode="fake", _allow_non_fake_inputs=True)(images)
    return module.graph, lambda node: getattr(module, str(node.target)) if node.op == "get_attr" else None


@contextmanager
def _scopes_marked(network: nn.Module) -> Iterator[None]:
    """Within this context, a node that a module's forward adds to the graph carries the module's name."""
    stack = [""]

    def mark() -> None:
        mode = get_proxy_mode()
        nodes: Iterable[fx.Node] = reversed(mode.tracer.graph.nodes) if mode is not None else ()
        for node in nodes:
            if "scope" in node.meta:
                return
            node.meta["scope"] = stack[-1]

    def enter(name: str) -> Callable:
        def hook(module: nn.Module, arguments: Any) -> None:
            mark()
            stack.append(name)

        return hook

    def leave(module: nn.Module, arguments: Any, value: Any) -> None:
        mark()
        stack.pop()

    handles = []
    for name, module in network.named_modules():
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _trace_with_export(network: nn.Module, images: Tensor) -> tuple[fx.Graph, Callable[[fx.Node], Any]]:
    """The same from torch.export, whose placeholders stand for the weights too."""
    program = torch.export.export(network, (images,), strict=False)
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    for node in program.graph.nodes:
        callers = list((node.meta.get("nn_module_stack") or {}).values())
        node.meta["scope"] = callers[-1][0] if callers else ""
    return program.graph, lambda node: state.get(names.get(node.name, ""))
