"""Counters of multiply-adds that share one table: fvcore's, one at torch's dispatcher, one of a graph of torch.fx."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from nnmass.zoo.fast.internals import recorded_by_the_tracer
from nnmass.zoo.reader.mac_formulas import COMPOSITES, FORMULAS, HIDDEN, Shape, base_name, kind

__all__ = ["DispatcherCounter", "GraphCounter", "MacCount", "WithoutValues", "count_with_fvcore"]

_CONVOLUTION = torch.ops.aten.convolution.default
_RECORDED_CONVOLUTION = torch.ops.aten._convolution.default
_BATCH_NORMS = (torch.ops.aten.native_batch_norm.default, torch.ops.aten._native_batch_norm_legit_no_training.default)


@dataclass(frozen=True)
class MacCount:
    """Multiply-adds of one forward pass.

    Attributes:
        by_operator: Their number by the operator that runs them, as ``convolution`` or ``linear``, in MAC.
        uncounted: Operators of which it is not known how many they run, as ``aten::fft_rfft2``, and how often each ran;
            they add nothing to the number.
    """

    by_operator: dict[str, int] = field(default_factory=dict)
    uncounted: dict[str, int] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Their number, in MAC."""
        return sum(self.by_operator.values())


class DispatcherCounter(TorchDispatchMode):
    """Counter of what runs within this context, as torch's dispatcher sees it: after torch has taken operators apart.

    It sees into compiled and scripted parts and into functions with a backward pass of their own. ``unrecorded``
    has the unknown operators that the tracer of torch.jit did not record, though it was recording.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.macs: Counter[str] = Counter()
        self.uncounted: Counter[str] = Counter()
        self.unrecorded: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Count one operator and run it."""
        if func is _CONVOLUTION and torch.jit.is_tracing():
            # The tracer records the inner of two names, which a dispatch mode hides from it.
            with self, recorded_by_the_tracer():
                return _RECORDED_CONVOLUTION(*args, False, False, False, False)
        if func is _RECORDED_CONVOLUTION:
            func, args = _CONVOLUTION, args[:9]
        if func is torch.ops.higher_order.cond:
            with self:
                return args[1 if args[0] else 2](*args[3])
        name, of_which = _name_and_kind(func)
        if of_which == "free":
            return func(*args, **(kwargs or {}))
        if hasattr(func, "decompose") and (of_which == "unknown" or base_name(name) in COMPOSITES):
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        result = func(*args, **(kwargs or {}))
        if of_which == "counted":
            self.macs[_title(name)] += FORMULAS[base_name(name)](_shapes(args), _shapes((result,)))
        else:
            self.uncounted[name] += 1
            self.unrecorded[name] += torch.jit.is_tracing()
        return result

    def count(self) -> MacCount:
        """Multiply-adds of all that ran so far."""
        return MacCount(dict(self.macs), dict(self.uncounted))


class GraphCounter(TorchFunctionMode):
    """Counter on the graph of ATen operators that torch.fx records within this context."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden = False

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run one function, and note a product that the graph does not show as one."""
        self._hidden |= getattr(func, "__name__", "").partition(".")[0] in HIDDEN
        return func(*args, **(kwargs or {}))

    def count(self, graph: fx.Graph) -> MacCount | None:
        """Multiply-adds of a graph; None where it runs something unknown, or a product was hidden.

        Args:
            graph: As recorded, with what leads to no output; ``meta["val"]`` of a node has the shape of its value.
        """
        macs: Counter[str] = Counter()
        for node in graph.nodes:
            if node.op != "call_function" or node.target is getitem:
                continue
            name, of_which = _name_and_kind(node.target) if isinstance(node.target, OpOverload) else ("", "unknown")
            if self._hidden or of_which == "unknown" or (of_which == "counted" and base_name(name) not in FORMULAS):
                return None
            if of_which == "counted":
                arguments = fx.map_arg(node.args, lambda argument: argument.meta["val"])
                macs[_title(name)] += FORMULAS[base_name(name)](_shapes(arguments), _shapes((node.meta["val"],)))
        return MacCount(dict(macs))


class WithoutValues(TorchDispatchMode):
    """Runs what depends on tensors of the meta device there, whatever device other tensors of the same operator are on.

    Tensors that a forward makes by itself keep their values, and so what is computed of them alone.
    """

    supports_higher_order_operators = True

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run one operator.

        Raises:
            ValueError: If a tensor that has values would be overwritten by one that has none.
        """
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs)) if kwargs else tree_leaves(args)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not any(tensor.is_meta for tensor in tensors):
            return func(*args, **kwargs)
        if not all(tensor.is_meta for tensor in tensors):
            _refuse_to_overwrite(func, args)
            args, kwargs = tree_map(_on_meta, (args, kwargs))
        if func in _BATCH_NORMS:
            # The same shapes; torch works them out through twenty operators, which takes longer than all the rest.
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")
        return func(*args, **kwargs)


def _refuse_to_overwrite(func: Any, args: tuple) -> None:
    arguments = func._schema.arguments if isinstance(func, OpOverload) else ()
    for argument, value in zip(arguments, args, strict=False):
        written = argument.alias_info is not None and argument.alias_info.is_write
        if written and any(isinstance(leaf, Tensor) and not leaf.is_meta for leaf in tree_leaves(value)):
            raise ValueError("values would be overwritten by what has none")


def _on_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) and not value.is_meta else value


@cache
def _name_and_kind(func: Any) -> tuple[str, str]:
    name = func.name().partition(".")[0] if isinstance(func, OpOverload) else f"higher_order::{func.name()}"
    return name, kind(name)


def _shapes(values: Any) -> Any:
    """The same arguments with each tensor replaced by its shape, tuples by lists."""
    if isinstance(values, Tensor):
        return Shape(map(int, values.shape))  # numbers also for the tracer
    return [_shapes(value) for value in values] if isinstance(values, list | tuple) else values


def _title(operator: str) -> str:
    return base_name(operator).lstrip("_").removesuffix("_mode")


class _Alone(nn.Module):
    """A network that fvcore counts as one module; its output may be of any type."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.run: Callable = network.__call__
        self.counter = DispatcherCounter()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        with self.counter:
            output = self.run(images)
        return tuple(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)) or (images,)


def count_with_fvcore(network: nn.Module, images: Tensor) -> MacCount:
    """Count with fvcore on the graph that torch.jit records, by the table; the count at the dispatcher checks it.

    The graph lacks what no output needs, what an output of unknown type holds, and what scripted parts and functions
    with a backward pass of their own do. The count at the dispatcher, of the same pass, replaces it where it is larger
    or knows more.

    Args:
        network: In eval mode.
        images: Its input.

    Raises:
        Exception: Whatever the network or the tracer raises.
    """
    from fvcore.nn import FlopCountAnalysis

    alone = _Alone(network)
    analysis = FlopCountAnalysis(alone, images).unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False).tracer_warnings("none").clear_op_handles()
    by_operator = analysis.set_op_handle(**_handles()).by_operator()
    titled: Counter[str] = Counter()
    for name, macs in by_operator.items():
        titled[_title(f"aten::{name}")] += int(macs)
    ran = analysis.unsupported_ops()
    unknown = {name: times for name, times in ran.items() if _is_hidden(name) or kind(name) == "unknown"}
    recorded = MacCount(dict(titled), unknown | dict(+alone.counter.unrecorded))
    return min(recorded, alone.counter.count(), key=lambda one: (len(one.uncounted), -one.macs))


def _handles() -> dict[str, Callable[[list[Any], list[Any]], int]]:
    handles = {f"aten::{name}": _handle(formula) for name, formula in FORMULAS.items()}
    handles |= {f"aten::{name}": _handle_of_composite(name) for name in COMPOSITES}
    handles |= {f"{name}_": handle for name, handle in handles.items()}
    return handles | {"torchvision::deform_conv2d": _handle(FORMULAS["deform_conv2d"])}


def _is_hidden(operator: str) -> bool:
    return operator.startswith(("prim::PythonOp", "prim::CallFunction"))


def _handle(formula: Callable[[Sequence[Any], Sequence[Any]], int]) -> Callable[[list[Any], list[Any]], int]:
    """A formula as fvcore calls it, with values of a graph."""
    return lambda inputs, outputs: formula([_of_graph(one) for one in inputs], [_of_graph(one) for one in outputs])


def _handle_of_composite(name: str) -> Callable[[list[Any], list[Any]], int]:
    """Run an operator alone, on tensors without values, and count its parts."""
    packet = getattr(torch.ops.aten, name)
    names = [argument.name for argument in packet.default._schema.arguments if argument.kwarg_only]

    def count(inputs: list[Any], outputs: list[Any]) -> int:
        arguments = tree_map(_tensor, [_of_graph(one) for one in inputs], is_leaf=lambda one: isinstance(one, Shape))
        positional = len(arguments) - len(names)
        with DispatcherCounter() as counter:
            packet(*arguments[:positional], **dict(zip(names, arguments[positional:], strict=True)))
        return counter.count().macs

    return count


def _tensor(value: Any) -> Any:
    return torch.empty(value, device="meta") if isinstance(value, Shape) else value


def _of_graph(value: Any) -> Any:
    """Shape of a tensor, list of a list, and what a constant holds."""
    if value.isCompleteTensor():
        return Shape(value.type().sizes())
    node = value.node()
    return [_of_graph(one) for one in node.inputs()] if node.kind() == "prim::ListConstruct" else value.toIValue()
