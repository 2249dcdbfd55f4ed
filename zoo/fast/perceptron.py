"""The pass through a random-skip MLP that writes each layer's output where all later layers read it.

The plain pass joins all earlier outputs again at every layer, and goes back through as many additions. Here outputs lie
side by side in one matrix (N, (d - 1) w), forward, and so do their gradients backward: a layer takes its columns in
one step, and adds to them in another.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnmass.zoo.fast import internals
from nnmass.zoo.fast.outputs import refuse_second_derivatives

__all__ = ["can_run", "run"]


def can_run(network: nn.Module, linears: Sequence[nn.Module], activation: nn.Module, x: Tensor) -> bool:
    """Test that an MLP may run this way: in plain eager execution, and in the precision of its weights.

    Args:
        network: The MLP.
        linears: Its linear layers.
        activation: Its activation.
        x: The input.
    """
    return (
        internals.is_plain_eager(network, x)
        and torch.amp.is_autocast_available(x.device.type)
        and not torch.is_autocast_enabled(x.device.type)
        and all(type(linear) is nn.Linear and linear.bias is not None for linear in linears)
        and type(activation) in (nn.ELU, nn.ReLU)
    )


def run(x: Tensor, columns: Sequence[Tensor], linears: Sequence[nn.Linear], activation: nn.ELU | nn.ReLU) -> Tensor:
    """Logits of an MLP.

    Args:
        x: Inputs, (N, in_features).
        columns: Of layers 1..d-1, which columns of the outputs before it enter, (w + l_i,).
        linears: Layers 0..d-1; the last one gives the logits.
        activation: Of all but the last.

    Returns:
        (N, num_classes).
    """
    parameters = [parameter for linear in linears for parameter in (linear.weight, linear.bias)]
    alpha = activation.alpha if isinstance(activation, nn.ELU) else None
    logits: Tensor = _Perceptron.apply(x, columns, alpha, *parameters)
    return logits


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, columns: Sequence[Tensor], alpha: float | None, *parameters: Tensor) -> Tensor:
        width = len(parameters[0])
        outputs = x.new_empty(len(x), width * len(columns))
        entering = [x]
        for position, read in enumerate(columns):
            output = outputs[:, position * width : (position + 1) * width]
            torch.addmm(parameters[2 * position + 1], entering[-1], parameters[2 * position].t(), out=output)
            F.relu_(output) if alpha is None else F.elu_(output, alpha)
            entering.append(outputs.index_select(1, read))
        ctx.columns, ctx.alpha, ctx.width = columns, alpha, width
        ctx.save_for_backward(outputs, *entering, *parameters)
        return torch.addmm(parameters[-1], entering[-1], parameters[-2].t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        outputs, *others = ctx.saved_tensors
        entering, parameters = others[: len(ctx.columns) + 1], others[len(ctx.columns) + 1 :]
        gradients = gradient.new_zeros(outputs.shape)
        found: list[Tensor] = []
        for position in range(len(ctx.columns), -1, -1):
            found += [gradient.sum(0), gradient.t() @ entering[position]]
            if position == 0:
                break
            read = ctx.columns[position - 1]
            gradients.index_add_(1, read, gradient @ parameters[2 * position])
            before = slice((position - 1) * ctx.width, position * ctx.width)
            output = outputs[:, before]
            gradient = (
                torch.ops.aten.threshold_backward(gradients[:, before], output, 0)
                if ctx.alpha is None
                else torch.ops.aten.elu_backward(gradients[:, before], ctx.alpha, 1.0, 1.0, True, output)
            )
        for_x = gradient @ parameters[0] if ctx.needs_input_grad[0] else None
        return for_x, None, None, *reversed(found)
