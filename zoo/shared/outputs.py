"""The pass through a random-skip cell that keeps each output once, and no copy of it for every layer that reads it.

Layer i >= 2 normalises, with weights of its own, channels that other layers normalise too. So each output is
stored once, a channel's mean and variance are computed once, and what enters a layer is gathered when it is needed:
forward, and again backward. The gradients of all that read a channel are summed before the one step back through its
normalisation, which is linear in them. Memory grows with the depth, not with its square.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as module_hooks

from zoo.shared import loops

__all__ = ["SharedOutputs", "can_share"]


def can_share(layers: nn.ModuleList, x: Tensor) -> bool:
    """Whether these layers may run on shared outputs: on the processor, and with nobody looking on.

    Traces, exports, function transforms and hooks want to see every module and operator of the plain pass; another
    normalisation than BatchNorm2d with the statistics of the batch (a synchronised or a frozen one) computes something
    else, and without gradients its running statistics will do.

    Args:
        layers: Layers of a :class:`zoo.RandomSkipCell`.
        x: The cell's input.
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing():
        return False
    norms: list[Any] = [layer.norm_in for layer in layers[2:]]
    others: list[Any] = [layer.norm_out for layer in layers[2:]]
    precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    training = bool(norms) and norms[0].training
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        bool(norms)
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.numel() > 0
        and loops.available(precision)
        and (training or not torch.is_grad_enabled())
        and all(type(norm) is nn.BatchNorm2d and norm.affine and norm.training == training for norm in norms)
        and all(norm.track_running_stats and norm.num_batches_tracked is not None for norm in norms)
        and all(type(layer.activation) is nn.ReLU for layer in layers[1:])
        and all(type(other) is nn.Identity for other in others)
        and not any(getattr(part, hook) for part in layers.modules() for hook in hooks)
        and not any(getattr(module_hooks, f"_global{hook}") for hook in hooks)
        and torch._C._len_torch_dispatch_stack() == torch._C._len_torch_function_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
    )


class SharedOutputs:
    """The outputs of a cell's layers 0..d-2 during one pass.

    Args:
        like: Output of layer 0, (N, w_c, H, W).
        count: Outputs that will be kept, d_c - 1.
        most: Most channels that will enter a layer.
    """

    def __init__(self, like: Tensor, count: int, most: int) -> None:
        self.shape, self.width = like.shape, like.shape[1]
        self.rows, columns = like.numel() // self.width, count * self.width
        self.values = like.new_empty(count, self.rows, self.width)
        exact = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.mean, self.variance = like.new_empty(2, columns, dtype=exact)
        # What enters a convolution lies here until the next one's takes its place: it is asked for again, not kept.
        self.room = like.new_empty(self.rows * most)
        self._gradients: Tensor | None = None
        self._sums: Tensor | None = None
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

    def enter(self, kept: Sequence[Tensor], norm: nn.BatchNorm2d, links: Tensor, convolution: nn.Module) -> Tensor:
        """What a layer makes of the newest output and the linked channels, (N, w_c, H, W).

        Args:
            kept: What :meth:`keep` returned, for all layers before this one.
            norm: Normalises the channels; its running statistics follow.
            links: Channels of the earlier outputs, (l_i,).
            convolution: Takes the channels, normalised and rectified.
        """
        newest = torch.arange(self.width * (len(kept) - 1), self.width * len(kept), device=links.device)
        columns = torch.cat([newest, links])
        if norm.training:
            mean, variance = self.mean[columns], self.variance[columns]
            _follow(norm, mean, variance, self.rows)
        else:
            mean, variance = norm.running_mean, norm.running_var
        reader = _Reader(self, columns, mean, variance, norm)
        entering = _Enter.apply(reader, norm.weight, norm.bias, *kept)
        if not torch.is_grad_enabled():
            return convolution(entering)
        with torch.autograd.graph.saved_tensors_hooks(reader.put_away, reader.bring_back):
            return convolution(entering)

    def as_image(self, rows: Tensor) -> Tensor:
        """Rows (N H W, C) as images (N, C, H, W) in channels_last order, without a copy."""
        samples, _, height, width = self.shape
        return rows.view(samples, height, width, -1).permute(0, 3, 1, 2)

    def as_rows(self, image: Tensor) -> Tensor:
        """The way back: images (N, C, H, W) as contiguous rows (N H W, C)."""
        return image.permute(0, 2, 3, 1).reshape(self.rows, -1).contiguous()

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Of this backward pass: scaled gradients, laid out as the values are, and two sums of each column.

        The sums are those of the gradients, and of the gradients times x - mean over its variance.
        """
        running = torch._C._current_graph_task_id()
        if self._gradients is None or self._sums is None or running != self._backward:
            self._backward = running
            self._gradients = torch.zeros_like(self.values, dtype=self.mean.dtype)
            self._sums = self.mean.new_zeros(2, len(self.mean), dtype=torch.float64)
        return self._gradients, self._sums

    def finish(self) -> None:
        """Free the memory at the end of a backward pass; the values too, unless the graph is retained for another."""
        self._gradients = self._sums = None
        reader = self.last_reader() if self.last_reader is not None else None
        if reader is not None and not _is_retained(reader):
            self.values = self.room = self.values.new_empty(0)


class _Reader:
    """One layer's view of the shared outputs: its normalisation as max(scale x + shift, 0)."""

    def __init__(
        self, shared: SharedOutputs, columns: Tensor, mean: Tensor, variance: Tensor, norm: nn.BatchNorm2d
    ) -> None:
        self.shared, self.columns, self.mean = shared, columns, mean
        exact = shared.mean.dtype
        self.inverse = (variance.double() + norm.eps).rsqrt()
        self.scale = (norm.weight.detach() * self.inverse).to(exact)
        self.shift = (norm.bias.detach() - mean * self.scale.double()).to(exact)
        self._address = 0

    def read(self) -> Tensor:
        """The channels, normalised and rectified, (N, w_c + l_i, H, W)."""
        shared = self.shared
        return shared.as_image(loops.gather(shared.values, self.columns, self.scale, self.shift, shared.room))

    def give_out(self) -> Tensor:
        """What is handed to the convolution, remembered to know it again."""
        entering = self.read()
        self._address = entering.data_ptr()
        return entering

    def put_away(self, saved: Tensor) -> tuple[Tensor, int] | None:
        """For the graph of gradients: nothing in place of what can be read again."""
        return None if saved.data_ptr() == self._address else (saved, saved._version)

    def bring_back(self, packed: tuple[Tensor, int] | None) -> Tensor:
        """The tensor that was put away."""
        if packed is None:
            return self.read()
        saved, version = packed
        if saved._version != version:
            raise RuntimeError(
                f"Expected what a layer needs for its gradient to stay as it was, but a tensor of shape "
                f"{tuple(saved.shape)} has been modified by an inplace operation."
            )
        return saved


class _Keep(torch.autograd.Function):
    """Store an output and its statistics; backward, the gradient of all that read it."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, shared: SharedOutputs, position: int, measure: bool) -> Tensor:
        ctx.shared, ctx.position = shared, position
        ctx.columns = slice(position * shared.width, (position + 1) * shared.width)
        measured = loops.store(shared.as_rows(output), shared.values[position], measure)
        if measured is not None:
            shared.mean[ctx.columns], shared.variance[ctx.columns] = measured
        ctx.set_materialize_grads(False)
        return output.new_empty(0)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivatives()
        shared, columns = ctx.shared, ctx.columns
        gradients, sums = shared.gradients()
        constant, slope = (sums[:, columns] / shared.rows).to(gradients.dtype)
        kept, mean = shared.values[ctx.position], shared.mean[columns]
        found = loops.spread(gradients[ctx.position], kept, mean, constant, slope)
        if ctx.position == 0:
            shared.finish()
        return shared.as_image(found), None, None, None


class _Enter(torch.autograd.Function):
    """Gather, normalise, rectify; backward, what goes back through the normalisation's weights."""

    @staticmethod
    def forward(ctx: Any, reader: _Reader, weight: Tensor, bias: Tensor, *kept: Tensor) -> Tensor:
        ctx.reader, ctx.kept = reader, len(kept)
        ctx.save_for_backward(weight, bias)
        return reader.give_out()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivatives()
        _ = ctx.saved_tensors  # raises if the weights have been changed since
        reader, shared = ctx.reader, ctx.reader.shared
        shared.last_reader = weakref.ref(ctx)
        gradients, sums = shared.gradients()
        rows = shared.as_rows(gradient)
        exact = loops.scatter(rows, shared.values, reader.columns, reader.scale, reader.shift, reader.mean, gradients)
        sums[0].index_add_(0, reader.columns, exact[0] * reader.scale)
        sums[1].index_add_(0, reader.columns, exact[1] * reader.scale * reader.inverse.square())
        for_weight, for_bias = (exact[1] * reader.inverse).to(gradients.dtype), exact[0].to(gradients.dtype)
        return None, for_weight, for_bias, *[None] * ctx.kept


def _refuse_second_derivatives() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("Expected share_outputs=False for gradients of gradients (create_graph), but it is True.")


def _is_retained(ctx: Any) -> bool:
    """Whether a node that has gone back still has what it saved."""
    try:
        return bool(ctx.saved_tensors)
    except RuntimeError:
        return False


@torch.no_grad()
def _follow(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Let the running statistics follow those of a batch of ``count`` positions, as nn.BatchNorm2d does."""
    tracked, running_mean, running_variance = norm.num_batches_tracked, norm.running_mean, norm.running_var
    assert tracked is not None
    assert running_mean is not None
    assert running_variance is not None
    tracked += 1
    momentum = 1 / int(tracked) if norm.momentum is None else norm.momentum
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_variance.lerp_((variance * (count / max(count - 1, 1))).to(running_variance.dtype), momentum)
