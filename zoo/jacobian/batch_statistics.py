"""Batch norms that use mean and variance of one batch as constants."""

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnmass.zoo.jacobian.graph import operator_name
from nnmass.zoo.reader.macs import first_parameter
from nnmass.zoo.reader.tracing import TracedGraph

__all__ = ["give_statistics", "require_statistics_of", "take_batch_statistics"]


def give_statistics(network: nn.Module, bn: str) -> None:
    """Let batch norms that keep no running statistics keep those of the batch.

    Args:
        network: A copy, which is changed.
        bn: ``batch`` or ``eval``.

    Raises:
        ValueError: If running statistics are asked for, and a batch norm has none.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            if bn == "eval":
                raise ValueError(f"Expected batch norms with running statistics for bn='eval', but {name} has none.")
            weight = first_parameter(network)
            for statistic in ("running_mean", "running_var"):
                module.register_buffer(statistic, weight.new_zeros(module.num_features))


def take_batch_statistics(network: nn.Module, batch: Tensor) -> set[nn.Module]:
    """Set the running statistics of every batch norm to those of the batch, one after the other as they run.

    Args:
        network: A copy; other buffers that its forward changes are put back.
        batch: Inputs, (N, ...).

    Returns:
        The batch norms that ran.

    Raises:
        ValueError: If a batch norm runs twice, or gets one value per channel.
    """
    names: dict[nn.Module, str] = {
        module: name for name, module in network.named_modules() if isinstance(module, _BatchNorm)
    }
    done: set[nn.Module] = set()

    def measure(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        value = arguments[0]
        if module in done:
            raise ValueError(f"Expected each batch norm to run once for bn='batch', but {names[module]} runs again.")
        if value.numel() <= value.shape[1]:
            raise ValueError(
                f"Expected more than one value per channel for bn='batch', but {names[module]} gets one; "
                "take more samples, or bn='eval'."
            )
        done.add(module)
        positions = [dimension for dimension in range(value.ndim) if dimension != 1]
        variance, mean = torch.var_mean(value, positions, unbiased=False)
        module.running_var.copy_(variance)  # type: ignore[operator]
        module.running_mean.copy_(mean)  # type: ignore[operator]

    others = [module for module in network.modules() if module not in names]
    buffers = [(buffer, buffer.clone()) for module in others for buffer in module.buffers(recurse=False)]
    handles = [module.register_forward_pre_hook(measure) for module in names]
    with torch.no_grad():
        network(batch)
        for buffer, before in buffers:
            buffer.copy_(before)
    for handle in handles:
        handle.remove()
    return done


def require_statistics_of(norms: set[nn.Module], traced: TracedGraph) -> None:
    """Refuse batch normalisation that is a function and not a module: it would use its running statistics still.

    Args:
        norms: The batch norms that ran as modules.
        traced: The network's graph.

    Raises:
        ValueError: If another normalises with running statistics.
    """
    taken = [module.running_mean for module in norms]
    for node in traced.graph.nodes:
        if "batch_norm" in operator_name(node) and len(node.all_input_nodes) > 1 and not _uses_batch(node):
            mean = traced.constant(node.args[3])
            if not any(mean is statistic for statistic in taken):
                raise ValueError(
                    "Expected batch norms that are modules for bn='batch', but a function normalises with running "
                    "statistics; take bn='eval'."
                )


def _uses_batch(node: fx.Node) -> bool:
    """Return whether a batch normalisation takes the statistics of its input."""
    return not isinstance(node.args[3], fx.Node) or any(argument is True for argument in node.args[3:6])
