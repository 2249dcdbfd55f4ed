"""The pass through a random-skip cell that keeps each output once, and no copy of it for every layer that reads it.

Layer i >= 2 normalises, with weights of its own, channels that other layers normalise too. So each output is
stored once, a channel's mean and variance are computed once, and what enters a layer is gathered when it is needed:
forward, and again backward. The gradients of all that read a channel are summed before the one step back through its
normalisation, which is linear in them. Memory grows with the depth, not with its square.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnmass.zoo.fast import gpu, internals, processor
from nnmass.zoo.fast.channels import Gradients, Outputs
from nnmass.zoo.fast.scratch import Reader, ScratchBuffer

__all__ = [
    "SharedOutputs",
    "can_share",
    "convolve",
    "loops_for",
    "normalise_and_convolve",
    "precision_of",
    "refuse_second_derivatives",
    "takes_zeros",
]


def can_share(parts: nn.Module, norms: Sequence[nn.Module], activations: Sequence[nn.Module], x: Tensor) -> bool:
    """Test that a module may run on shared outputs: that there are loops for it, and plain eager execution.

    Traces, exports, function transforms and hooks want to see every module and operator of the plain pass; another
    normalisation than BatchNorm2d with the statistics of the batch (a synchronised or a frozen one) computes something
    else, and without gradients its running statistics will do.

    Args:
        parts: All that would run.
        norms: Normalisations among them that the pass stands in for.
        activations: Activations among them, the same.
        x: The input.
    """
    loops = loops_for(x.device)
    if loops is None or not norms:
        return False
    training = norms[0].training
    return (
        internals.is_plain_eager(parts, x)
        and x.numel() > 0
        and loops.available(precision_of(x))
        and (training or not torch.is_grad_enabled())
        and all(isinstance(norm, nn.BatchNorm2d) and _is_plain(norm, training) for norm in norms)
        and all(type(activation) is nn.ReLU for activation in activations)
    )


def precision_of(x: Tensor) -> torch.dtype:
    """The precision in which convolutions calculate with an input: its own, or that of autocast."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _is_plain(norm: nn.BatchNorm2d, training: bool) -> bool:
    return (
        type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.training == training
        and norm.track_running_stats
        and norm.num_batches_tracked is not None
    )


def loops_for(device: torch.device) -> Any:
    """The module with the inner loops for this kind of device, or None."""
    return {"cpu": processor, "cuda": gpu}.get(device.type)


class SharedOutputs:
    """The outputs of some layers during one pass, read by the layers after them.

    Args:
        like: Output of the first of them, (N, w, H, W).
        count: Outputs that will be kept.
        scratch: Where what is read is put.
    """

    def __init__(self, like: Tensor, count: int, scratch: ScratchBuffer) -> None:
        self.loops = loops_for(like.device)
        self.shape, width = like.shape, like.shape[1]
        self.rows, self.scratch = like.numel() // width, scratch
        # A single output is kept where it is.
        values = _in_order(like.detach()).permute(0, 2, 3, 1) if count == 1 else like.new_empty(count, self.rows, width)
        exact = torch.float64 if like.dtype == torch.float64 else torch.float32
        mean, variance = like.new_empty(2, count * width, dtype=exact)
        finished = scratch.counters(count * width, like)
        self.outputs = Outputs(values.view(count, self.rows, width), mean, variance, finished)
        self._gradients: Gradients | None = None
        self._backward = -1
        self.last_reader: weakref.ref | None = None

    def keep(self, output: Tensor, position: int, measure: bool) -> Tensor:
        """Store the output of a layer, (N, w_c, H, W).

        Args:
            output: What to store.
            position: Of the layer, i.
            measure: Whether its mean and variance are wanted.

        Returns:
            An empty tensor that stands for it in the graph of gradients.
        """
        return _Keep.apply(output, self, position, measure)

    def enter(
        self,
        kept: Sequence[Tensor],
        norm: nn.BatchNorm2d,
        links: Tensor,
        convolution: Callable[[Tensor], Tensor],
        padded: bool = False,
    ) -> Tensor:
        """Run a layer on the newest output and the linked channels, to (N, w_c, H, W).

        Args:
            kept: What :meth:`keep` returned, for all layers before this one.
            norm: Normalises the channels; its running statistics follow.
            links: Channels of the earlier outputs, (l_i,).
            convolution: Takes the channels, normalised and rectified.
            padded: Whether it also takes channels of zeros behind them, as :func:`convolve` does.
        """
        reader = Reader(self, norm, len(kept) - 1, links, padded)
        entering = _Enter.apply(reader, norm.weight, norm.bias, *kept)
        if not torch.is_grad_enabled():
            return convolution(entering)
        with torch.autograd.graph.saved_tensors_hooks(reader.put_away, reader.bring_back):
            return convolution(entering)

    def gradients(self) -> Gradients:
        """Sums of this backward pass so far."""
        running = internals.backward_pass()
        if self._gradients is None or running != self._backward:
            self._backward = running
            # Where the first layers are frozen, no step back through output 0 says that all is done.
            internals.call_after_backward(self.finish)
            columns = len(self.outputs.mean)
            zeros = self.outputs.mean.new_zeros(17 * columns, dtype=torch.uint8)  # filled in one go
            sums, touched = zeros.split([16 * columns, columns])
            values = torch.empty_like(self.outputs.values)
            self._gradients = Gradients(values, sums.view(torch.float64).view(2, columns), touched)
        return self._gradients

    def finish(self) -> None:
        """Free the memory at the end of a backward pass; the values too, unless the graph is retained for another."""
        self._gradients = None
        reader = self.last_reader() if self.last_reader is not None else None
        if reader is not None and not _is_retained(reader):
            self.outputs = self.outputs._replace(values=self.outputs.values.new_empty(0))


class _Keep(torch.autograd.Function):
    """Store an output and its statistics; backward, the gradient of all that read it."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, shared: SharedOutputs, position: int, measure: bool) -> Tensor:
        ctx.shared, ctx.position = shared, position
        # Whatever was read last made this output, and on the way back its layer comes next.
        ctx.maker = shared.scratch.reader
        shared.loops.store(_in_order(output), shared.outputs, position, measure)
        ctx.set_materialize_grads(False)
        return output.new_empty(0)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        shared, maker, values = ctx.shared, ctx.maker(), ctx.shared.outputs.values
        found = torch.empty(shared.shape, dtype=values.dtype, device=values.device, memory_format=torch.channels_last)
        reading = maker.to_gather() if maker is not None else None
        shared.loops.batch_norm_backward(shared.gradients(), shared.outputs, ctx.position, found, reading)
        if ctx.position == 0:
            shared.finish()
        return found, None, None, None


class _Enter(torch.autograd.Function):
    """Gather, normalise, rectify; backward, what goes back through the normalisation's weights."""

    @staticmethod
    def forward(ctx: Any, reader: Reader, weight: Tensor, bias: Tensor, *kept: Tensor) -> Tensor:
        ctx.reader, ctx.kept = reader, len(kept)
        ctx.save_for_backward(weight, bias)
        return reader.give_out()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        _refuse_many_gradients(gradient)
        _ = ctx.saved_tensors  # raises if the weights have been changed since
        reader, shared = ctx.reader, ctx.reader.shared
        shared.last_reader = weakref.ref(ctx)
        for_weight, for_bias = shared.loops.scatter(
            _in_order(gradient), shared.outputs, reader.channels, shared.gradients()
        )
        return None, for_weight, for_bias, *[None] * ctx.kept


def normalise_and_convolve(
    output: Tensor, norm: nn.BatchNorm2d, convolution: Callable[[Tensor], Tensor], scratch: ScratchBuffer
) -> Tensor:
    """Normalisation, rectification and convolution of one output, which alone is kept for the way back.

    Args:
        output: (N, w, H, W).
        norm: Normalises it.
        convolution: Takes it, normalised and rectified.
        scratch: Where that is put.
    """
    output = _in_order(output)
    shared = SharedOutputs(output, 1, scratch)
    kept = shared.keep(output, 0, norm.training)
    return shared.enter([kept], norm, torch.empty(0, dtype=torch.int64, device=output.device), convolution)


def convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Run a convolution on its channels and whatever channels of zeros come behind them.

    Args:
        convolution: One that :func:`takes_zeros`.
        x: (N, C or more, H, W).
    """
    more = x.shape[1] - convolution.in_channels
    if not more:
        return convolution(x)
    weight = F.pad(convolution.weight, [0, 0, 0, 0, 0, more])
    return F.conv2d(x, weight, convolution.bias, convolution.stride, convolution.padding, convolution.dilation)


def takes_zeros(convolution: nn.Conv2d) -> bool:
    """Test that :func:`convolve` may be given channels of zeros: one group, and zeros around the image."""
    return convolution.groups == 1 and convolution.padding_mode == "zeros"


def refuse_second_derivatives() -> None:
    """For the way back of a pass that has none of its own.

    Raises:
        RuntimeError: Where a graph of the gradients is asked for.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("Expected share_outputs=False for gradients of gradients (create_graph), but it is True.")


def _refuse_many_gradients(gradient: Tensor) -> None:
    """The loops go back with one gradient at a time."""
    if internals.is_batched(gradient):
        raise RuntimeError(
            "Expected share_outputs=False for many gradients at once (vectorize, is_grads_batched), but it is True."
        )


def _in_order(image: Tensor) -> Tensor:
    """Images whose numbers lie one position behind the other: rows (N H W, C)."""
    return image.contiguous(memory_format=torch.channels_last)


def _is_retained(ctx: Any) -> bool:
    """Test for a node that has gone back and still has what it saved."""
    try:
        return bool(ctx.saved_tensors)
    except RuntimeError:
        return False
