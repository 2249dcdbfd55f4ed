"""The pass through a random-skip cell that keeps each output once, and no copy of it for every layer that reads it.

Layer i >= 2 normalises, with weights of its own, channels that other layers normalise too. So each output is
stored once, a channel's mean and variance are computed once, and what enters a layer is gathered when it is needed:
forward, and again backward. The gradients of all that read a channel are summed before the one step back through its
normalisation, which is linear in them. Memory grows with the depth, not with its square.

All these layers are one function for autograd, which keeps what was stored and frees it after the way back.
"""

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnmass.zoo.fast import gpu, internals, processor
from nnmass.zoo.fast.channels import Channels, Gradients, Outputs, Reading, as_image, in_order
from nnmass.zoo.fast.readers import Reader, is_plain
from nnmass.zoo.fast.scratch import ScratchBuffer

__all__ = ["can_share", "loops_for", "precision_of", "read_outputs", "refuse_second_derivatives"]


def can_share(parts: nn.Module, readers: Sequence[Reader], activations: Sequence[nn.Module], x: Tensor) -> bool:
    """Test that a module may run on shared outputs: that there are loops for it, and plain eager execution.

    Traces, exports, function transforms and hooks want to see every module and operator of the plain pass; another
    normalisation than BatchNorm2d with the statistics of the batch (a synchronised or a frozen one) computes something
    else, and without gradients its running statistics will do. Sizes that do not fit each other, as after pruning, are
    left to the modules, which refuse them.

    Args:
        parts: All that would run.
        readers: Those among them that the pass stands in for.
        activations: Activations among them, the same.
        x: The input.
    """
    loops = loops_for(x.device)
    if loops is None or not readers:
        return False
    training = readers[0].norm.training
    return (
        internals.is_plain_eager(parts, x)
        and x.numel() > 0
        and loops.available(precision_of(x))
        and (training or not torch.is_grad_enabled())
        and all(is_plain(reader, training) for reader in readers)
        and all(type(activation) is nn.ReLU for activation in activations)
    )


def precision_of(x: Tensor) -> torch.dtype:
    """The precision in which convolutions calculate with an input: its own, or that of autocast."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def loops_for(device: torch.device) -> Any:
    """The module with the inner loops for this kind of device, or None."""
    return {"cpu": processor, "cuda": gpu}.get(device.type)


def read_outputs(first: Sequence[Tensor], layers: Sequence[Sequence[Reader]]) -> Tensor:
    """Run layers that read the outputs of the layers before them, where :func:`can_share` allows it.

    Args:
        first: Outputs of the layers that come before, (N, w, H, W) each.
        layers: For each layer what it is made of. Its first part reads all outputs so far, each other part only what
            the one before it gave.

    Returns:
        Output of the last layer, (N, w, H, W), in channels_last order.

    Raises:
        ValueError: If the first outputs are of different shapes or precisions.
    """
    if len(kinds := {(output.shape, output.dtype, output.device) for output in first}) > 1:
        raise ValueError(f"Expected first outputs of one shape and precision, but got {sorted(map(str, kinds))}.")
    parameters = [parameter for layer in layers for reader in layer for parameter in _parameters(reader)]
    output: Tensor = _SharedOutputs.apply(layers, len(first), *first, *parameters)
    return output


def _parameters(reader: Reader) -> tuple[Tensor | None, ...]:
    return reader.norm.weight, reader.norm.bias, reader.convolution.weight, reader.convolution.bias


class _Turn(NamedTuple):
    """One reader's turn in a pass.

    Attributes:
        reader: The reader.
        newest: Number of the output that it takes whole, among those that it reads.
        shape: Of that output, (N, w, H, W).
        width: Channels that enter the convolution, with those of zeros.
        alone: Whether it reads nothing else, and no other reader reads that.
    """

    reader: Reader
    newest: int
    shape: torch.Size
    width: int
    alone: bool


class _Step(NamedTuple):
    """Record of a reader for the way back.

    Attributes:
        turn: The reader's turn.
        outputs: What was read.
        channels: Which of their channels, and how they were normalised.
        weight: What they were convolved with, as it was then.
    """

    turn: _Turn
    outputs: Outputs
    channels: Channels
    weight: Tensor

    def reading(self, scratch: ScratchBuffer) -> Reading:
        """Input of the convolution, to be gathered in the scratch buffer."""
        memory = scratch.take(self.outputs.values.shape[1], self.turn.width, self.outputs.values)
        return Reading(self.outputs, self.channels, memory)


class _SharedOutputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layers: Sequence[Sequence[Reader]], count: int, *tensors: Any) -> Tensor:
        first, parameters = [in_order(output) for output in tensors[:count]], tensors[count:]
        loops, scratch, training = loops_for(first[0].device), ScratchBuffer(), layers[0][0].norm.training
        widest = max(reader.norm.num_features for layer in layers for reader in layer)
        finished = first[0].new_zeros(widest, dtype=torch.int32)
        kept = Outputs.like(first[0], count + len(layers) - 1, finished)
        for position, output in enumerate(first):
            loops.store(output, kept, position, training)
        output, steps = first[-1], []
        for newest, layer in enumerate(layers, count - 1):
            if newest >= count:
                loops.store(output, kept, newest, training)
            for part, reader in enumerate(layer):
                outputs, channels = kept, _channels(reader, output)
                if part > 0:
                    outputs = Outputs.like(output, 1, finished)
                    loops.store(output, outputs, 0, training)
                turn = _Turn(reader, 0 if part else newest, output.shape, channels, part > 0)
                step, output = _read(turn, outputs, scratch)
                steps.append(step)
        ctx.turns, ctx.count = [step.turn for step in steps], count
        own = ((*(step.outputs if step.turn.alone else ()), *step.channels) for step in steps)
        ctx.save_for_backward(*parameters, *kept, *chain.from_iterable(own))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        _refuse_many_gradients(gradient)
        (kept, steps), needs, scratch = _saved(ctx), ctx.needs_input_grad, ScratchBuffer()
        found: list[Tensor | None] = [None] * len(needs)
        sums = Gradients.none_of(kept)
        loops_for(gradient.device).gather(steps[-1].reading(scratch))
        for number in reversed(range(len(steps))):
            step, place = steps[number], 2 + ctx.count + 4 * number  # of the reader's four among the arguments
            wanted = any(needs[: place + 2]), needs[place + 2], needs[place + 3]
            if not any(wanted):  # all before is frozen
                break
            gradient, found[place + 2], found[place + 3] = _convolution_backward(step, gradient, scratch, wanted)
            if wanted[0]:
                # What entered the convolution before is needed next, unless its weight is frozen.
                reading = steps[number - 1].reading(scratch) if number and needs[place - 2] else None
                gradient, found[place], found[place + 1] = _normalisation_backward(step, gradient, sums, reading)
        for position in range(ctx.count):
            if needs[2 + position]:
                is_newest, turn = position == ctx.count - 1, steps[0].turn._replace(newest=position)
                found[2 + position] = gradient if is_newest else _of_output(kept, turn, sums, None)
        return tuple(found)


def _read(turn: _Turn, outputs: Outputs, scratch: ScratchBuffer) -> tuple[_Step, Tensor]:
    """Run a reader, to what the way back needs and its output."""
    (norm, convolution, links), values = turn.reader, outputs.values
    if links is None:
        links = torch.empty(0, dtype=torch.int64, device=values.device)
    memory = scratch.take(values.shape[1], turn.width, values)
    channels = loops_for(values.device).normalise_and_gather(norm, turn.newest, links, outputs, memory)
    weight, bias = _with_zeros(convolution.weight, turn), convolution.bias
    if torch.is_autocast_enabled(values.device.type):
        weight, bias = weight.to(values.dtype), None if bias is None else bias.to(values.dtype)
    settings: Any = convolution.stride, convolution.padding, convolution.dilation, convolution.groups
    output = in_order(F.conv2d(as_image(memory, turn.shape), weight, bias, *settings))
    return _Step(turn, outputs, channels, convolution.weight), output


def _channels(reader: Reader, like: Tensor) -> int:
    """Number of channels that enter a convolution; where a device is faster so, some of zeros among them."""
    count, is_whole = reader.norm.num_features, reader.convolution.groups == 1
    return loops_for(like.device).stride_of(count, like.dtype) if is_whole else count


def _with_zeros(weight: Tensor, turn: _Turn) -> Tensor:
    """Weight of a convolution, for the channels of zeros too."""
    more = turn.width - turn.reader.convolution.in_channels
    return F.pad(weight, [0, 0, 0, 0, 0, more]) if more else weight


def _convolution_backward(
    step: _Step, gradient: Tensor, scratch: ScratchBuffer, wanted: tuple[bool, bool, bool]
) -> tuple[Any, ...]:
    """Gradients of what entered a convolution, of its weight and of its bias, as far as they are wanted."""
    convolution, weight = step.turn.reader.convolution, _with_zeros(step.weight, step.turn).to(gradient.dtype)
    entered = as_image(step.reading(scratch).memory, step.turn.shape)
    bias = None if convolution.bias is None else convolution.bias.shape
    settings = convolution.stride, convolution.padding, convolution.dilation, False, [0, 0], convolution.groups
    found = torch.ops.aten.convolution_backward(gradient, entered, weight, bias, *settings, wanted)
    for_entered, for_weight, for_bias = found
    if for_weight is not None:
        for_weight = for_weight[:, : step.weight.shape[1]].to(step.weight.dtype)
    return for_entered, for_weight, for_bias


def _normalisation_backward(
    step: _Step, gradient: Tensor, sums: Gradients, reading: Reading | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the newest output that a reader has read, and of its normalisation's weight and bias."""
    added = Gradients.none_of(step.outputs) if step.turn.alone else sums
    loops = loops_for(gradient.device)
    for_weight, for_bias = loops.scatter(in_order(gradient), step.outputs, step.channels, added)
    return _of_output(step.outputs, step.turn, added, reading), for_weight, for_bias


def _of_output(outputs: Outputs, turn: _Turn, added: Gradients, reading: Reading | None) -> Tensor:
    """Gradient of an output, (N, w, H, W), once all that read it have added theirs; what is to be read is gathered."""
    like = outputs.values
    gradient = torch.empty(turn.shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    loops_for(like.device).batch_norm_backward(added, outputs, turn.newest, gradient, reading)
    return gradient


def _saved(ctx: Any) -> tuple[Outputs, list[_Step]]:
    """The outputs that all readers share, and the readers' steps; parameters that have changed raise an error."""
    saved = iter(ctx.saved_tensors)
    parameters = list(islice(saved, 4 * len(ctx.turns)))
    kept, steps = Outputs(*islice(saved, 4)), []
    for turn, weight in zip(ctx.turns, parameters[2::4], strict=True):
        outputs = Outputs(*islice(saved, 4)) if turn.alone else kept
        steps.append(_Step(turn, outputs, Channels(*islice(saved, 2)), weight))
    return kept, steps


def refuse_second_derivatives() -> None:
    """For the way back of a pass that has none of its own.

    Raises:
        RuntimeError: Where a graph of the gradients is asked for.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("Expected share_outputs=False for gradients of gradients (create_graph), but it is True.")


def _refuse_many_gradients(gradient: Tensor) -> None:
    """The loops go back with one gradient at a time."""
    try:
        gradient.data_ptr()
    except RuntimeError as error:  # a batch of gradients has no memory of its own
        raise RuntimeError(
            "Expected share_outputs=False for many gradients at once (vectorize, is_grads_batched), but it is True."
        ) from error
