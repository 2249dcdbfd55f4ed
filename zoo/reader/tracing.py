"""A network as the operations that its input passes through, read off a traced graph and never off class names."""

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from nnmass.zoo.checks import require_shape
from nnmass.zoo.reader.internals import FakeTensor, FakeTensorMode, get_proxy_mode, make_fx, unset_fake_temporarily
from nnmass.zoo.reader.mac_counters import GraphCounter, MacCount
from nnmass.zoo.reader.macs import attention_in_parts, first_parameter, image_precision
from nnmass.zoo.reader.operations import Operation, Reduction
from nnmass.zoo.reader.outputs import kept_by, tensors_in
from nnmass.zoo.wrappers import replica

__all__ = ["TracedGraph", "trace", "trace_and_count", "traced_graph"]


@dataclass(frozen=True)
class TracedGraph:
    """A graph of ATen operators without in-place ones, every node marked with the module that ran it.

    Attributes:
        graph: The nodes; ``meta["val"]`` has the shape, ``meta["scope"]`` the dotted name of the module, and
            ``meta["cell"]`` that of the innermost one around it whose attribute ``is_cell`` is true.
        constant: What a node that stands for a parameter, a buffer or another constant holds; None for other nodes.
        counted: Multiply-adds of all that ran, also of what leads to no output; None where they are not known.
    """

    graph: fx.Graph
    constant: Callable[[fx.Node], Any]
    counted: MacCount | None = None


def trace(network: nn.Module, input_size: Sequence[int]) -> list[Operation]:
    """Record what happens to one input, in eval mode, without computing it.

    The network is traced by torch.fx on tensors that have a shape and no values; where that fails, by torch.export.
    The network, its mode, its parameters and buffers and torch's random state stay as they were.

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
    return trace_and_count(network, input_size)[0]


def trace_and_count(network: nn.Module, input_size: Sequence[int]) -> tuple[list[Operation], MacCount | None]:
    """Record what happens to one input, as :func:`trace` does, and the multiply-adds of the same pass.

    Args:
        network: Any network of one image-like input.
        input_size: Shape of one input without the batch dimension, for example (3, 224, 224), in px.

    Returns:
        The operations, and what fvcore would count. The count is None where
        :func:`zoo.reader.macs.macs_by_operator` has to tell: of a network that runs operators which are not in the
        table, hides products, lies on an accelerator, whose kernels pad what they multiply, or is traced by
        torch.export, which leaves out what leads to no output.

    Raises:
        ValueError: If neither way can trace the network on input of this size; the message says why.
    """
    sizes = require_shape("input_size", input_size)
    parameter = first_parameter(network)
    reasons: list[str] = []
    for name, way in (("torch.fx", _graph_of_fx), ("torch.export", _graph_of_export)):
        try:
            with _quiet(), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
                twin, reals = _twin(network, mode)
                images = torch.zeros(1, *sizes, device=parameter.device, dtype=image_precision(network))
                graph = way(twin, images, reals)
                counted = graph.counted if parameter.device.type in ("cpu", "meta") else None
                return Reduction(graph.graph, graph.constant).operations, counted
        except Exception as error:  # whatever a stranger's forward raises
            reason = f"stopped with '{type(error).__name__}: {_first_line(error)}'"
            if not any(reason in earlier for earlier in reasons):
                reasons.append(f"{name} {reason}")
    raise ValueError(
        f"Expected a network that torch can trace on one input of size {tuple(sizes)}, but {' and '.join(reasons)}."
    )


def traced_graph(network: nn.Module, batch: Tensor) -> TracedGraph:
    """The graph of a network at one batch, by torch.fx, in eval mode; its constants are the network's own tensors.

    Args:
        network: Any network of one input; it stays as it was.
        batch: Inputs, (N, ...); only their shape, device and precision matter.

    Raises:
        ValueError: If torch.fx cannot trace the network on such a batch.
    """
    try:
        with _quiet(), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            twin, reals = _twin(network, mode)
            return _graph_of_fx(twin, mode.from_tensor(batch), reals)
    except Exception as error:  # whatever a stranger's forward raises
        raise ValueError(
            f"Expected a network that torch.fx can trace on a batch of shape {tuple(batch.shape)}, "
            f"but it stopped with '{type(error).__name__}: {_first_line(error)}'."
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence PyTorch's own warnings and tracebacks about operators that fail, and put its random state back."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(attention_in_parts())
        for name in ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes", "torch.export"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        yield


def _twin(network: nn.Module, mode: FakeTensorMode) -> tuple[nn.Module, dict[int, Tensor]]:
    """Copy a network in eval mode, with tensors without values, and map the id of each to the original tensor.

    Whatever the copy's forward writes to, the network stays as it is. Forward hooks are left out: they only observe.
    """
    twins: dict[int, Any] = {}
    reals: dict[int, Tensor] = {}
    on_meta = first_parameter(network).is_meta
    # Within the mode each step takes longer, and a tensor that is no buffer would be copied without its values.
    with unset_fake_temporarily():
        for tensor in [*network.parameters(), *network.buffers()]:
            if id(tensor) not in twins:
                # Beside weights on the meta device, a buffer of indices may have values.
                fake: Tensor = mode.from_tensor(tensor.detach().to("meta") if on_meta else tensor.detach())
                if isinstance(tensor, nn.Parameter):
                    fake = nn.Parameter(fake, requires_grad=False)
                twins[id(tensor)], reals[id(fake)] = fake, tensor
        return replica(network, twins), reals


def _graph_of_fx(network: nn.Module, images: Tensor, reals: dict[int, Tensor]) -> TracedGraph:
    with _scopes_marked(network), _outputs_listed(network), _graph_counted(network) as counts:
        module = make_fx(torch.func.functionalize(network), tracing_mode="fake", _allow_non_fake_inputs=True)(images)
    if any(node.op == "call_function" and node.is_impure(impure_random=False) for node in module.graph.nodes):
        # Writes within an operator that torch takes apart late.
        marked = _Marked(module)
        module = make_fx(torch.func.functionalize(marked.run), tracing_mode="fake", _allow_non_fake_inputs=True)(images)
    module.graph.eliminate_dead_code()

    def constant(node: fx.Node) -> Any:
        if node.op != "get_attr":
            return None
        value = getattr(module, str(node.target))
        return reals.get(id(value), value)

    return TracedGraph(module.graph, constant, counts[-1])


@contextmanager
def _graph_counted(network: nn.Module) -> Iterator[list[MacCount | None]]:
    """Count a pass of the network within this context on its whole graph, before torch leaves parts of it out."""
    counts: list[MacCount | None] = [None]  # of a network that calls no hooks

    def count(module: nn.Module, arguments: Any, value: Any) -> None:
        mode = get_proxy_mode()
        counts.append(counter.count(mode.tracer.graph) if mode is not None else None)

    handle = network.register_forward_hook(count)
    try:
        with GraphCounter() as counter:
            yield counts
    finally:
        handle.remove()


class _Marked(fx.Interpreter):
    """Interpreter of a graph; the nodes of a further trace take over its marks."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        mode = get_proxy_mode()
        nodes: Iterable[fx.Node] = reversed(mode.tracer.graph.nodes) if mode is not None else ()
        for node in nodes:
            if "scope" in node.meta:
                break
            node.meta.update(scope=n.meta.get("scope", ""), cell=n.meta.get("cell"))
        return value


@contextmanager
def _scopes_marked(network: nn.Module) -> Iterator[None]:
    """Mark each node that a module's forward adds to the graph within this context with the module's name."""
    scopes: list[str] = [""]
    cells: list[str | None] = [None]

    def mark() -> None:
        mode = get_proxy_mode()
        nodes: Iterable[fx.Node] = reversed(mode.tracer.graph.nodes) if mode is not None else ()
        for node in nodes:
            if "scope" in node.meta:
                return
            node.meta.update(scope=scopes[-1], cell=cells[-1])

    def enter(name: str) -> Callable:
        def hook(module: nn.Module, arguments: Any) -> None:
            mark()
            scopes.append(name)
            cells.append(name if getattr(module, "is_cell", False) else cells[-1])

        return hook

    def leave(module: nn.Module, arguments: Any, value: Any) -> None:
        mark()
        scopes.pop()
        cells.pop()

    handles = []
    for name, module in network.named_modules():
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _outputs_listed(network: nn.Module) -> Iterator[None]:
    """Let the network return, within this context, a plain list of all tensors that its forward returned or kept.

    Tracers look for tensors in containers that they know; what lies in another one would be taken for unused.
    """
    before = {id(tensor) for tensor in kept_by(network)}

    def listed(module: nn.Module, arguments: Any, value: Any) -> list[Tensor]:
        outputs = {id(tensor): tensor for tensor in (*tensors_in(value), *kept_by(network)) if id(tensor) not in before}
        return list(outputs.values())

    handle = network.register_forward_hook(listed)
    try:
        yield
    finally:
        handle.remove()


def _graph_of_export(network: nn.Module, images: Tensor, reals: dict[int, Tensor]) -> TracedGraph:
    # Where a forward cannot be exported, torch prints the graph up to there, beside the error.
    with _outputs_listed(network), redirect_stderr(io.StringIO()):
        program = torch.export.export(network, (images,), strict=False)
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    cells = {name for name, module in network.named_modules() if getattr(module, "is_cell", False)}
    for node in program.graph.nodes:
        callers = [scope for scope, _ in (node.meta.get("nn_module_stack") or {}).values()]
        within = [scope for scope in callers if scope in cells]
        node.meta.update(scope=callers[-1] if callers else "", cell=within[-1] if within else None)

    def constant(node: fx.Node) -> Any:
        value = state.get(names.get(node.name, ""))
        real = reals.get(id(value), value)
        return None if isinstance(real, FakeTensor) and not isinstance(real, nn.Parameter) else real

    return TracedGraph(program.graph, constant)
