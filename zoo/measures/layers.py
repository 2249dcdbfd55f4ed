"""The layers of a network that measures look at: convolutions and linear layers, their weights and their channels."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

__all__ = [
    "LAYERS",
    "ChannelSums",
    "computed_tensors",
    "frozen_batch_norms",
    "is_batch_norm",
    "layer_weights",
    "weights_and_biases",
]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED, nn.Linear)
_WEIGHTS = ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def layer_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of all convolutions, linear layers and attention's projections, without biases; tied weights once.

    Args:
        network: Any network.

    Returns:
        The parameters by name, in the order of the modules.

    Raises:
        ValueError: If there are none, or a layer's weight is computed from others and no parameter of its own.

    Example:
        >>> list(layer_weights(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))))
        ['0.weight']
    """
    found: dict[str, nn.Parameter] = {}
    for prefix, module in network.named_modules():
        if not isinstance(module, (*LAYERS, nn.MultiheadAttention)):
            continue
        if any(name.endswith("weight") for name in _computed(module)):
            raise ValueError(f"Expected weights that are parameters, but that of {prefix or 'the layer'} is computed.")
        own = {name: one for name, one in module.named_parameters(prefix, recurse=False) if name.endswith("weight")}
        found.update((name, one) for name, one in own.items() if not any(one is other for other in found.values()))
    if not found:
        raise ValueError("Expected a network with convolutions or linear layers, but got one without.")
    return found


def computed_tensors(network: nn.Module) -> list[str]:
    """Names of the weights and biases that are computed from others: parametrized, normalised or pruned ones.

    Args:
        network: Any network; none of its tensors is computed, which can change it.

    Example:
        >>> computed_tensors(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), nn.ReLU()))
        ['0.weight']
    """
    named = network.named_modules()
    return [f"{prefix}.{name}".removeprefix(".") for prefix, module in named for name in _computed(module)]


def _computed(module: nn.Module) -> list[str]:
    """Names of a module's own tensors that are computed from others."""
    own = [name for name, _ in module.named_parameters(recurse=False)]
    parametrized: Any = getattr(module, "parametrizations", ())
    computed = list(parametrized) if is_parametrized(module) else []
    is_layer, is_attention = isinstance(module, LAYERS), isinstance(module, nn.MultiheadAttention)
    for name, value in vars(module).items():
        # Pruning and the older normalisations leave a plain attribute beside what it is computed from.
        is_replaced = f"{name}_orig" in own or f"{name}_g" in own
        if isinstance(value, Tensor) and (is_replaced or ((is_layer or is_attention) and name in _WEIGHTS)):
            computed.append(name)
    # A weight that another network sets at each pass may not be there yet.
    if (is_layer or is_attention) and not set(_WEIGHTS) & {*own, *computed}:
        computed.append("weight" if is_layer else "in_proj_weight")
    return computed


def weights_and_biases(network: nn.Module) -> Iterator[tuple[nn.Module, Literal["weight", "bias"], nn.Parameter]]:
    """All weights and biases, of any module, told by their names; whatever else a layer has is a weight.

    Args:
        network: Any network. Its parameters that are neither, such as position embeddings, are left out.

    Yields:
        The module that holds a parameter, which of the two it is, and the parameter; tied ones each time.

    Example:
        >>> [(kind, tuple(parameter.shape)) for _, kind, parameter in weights_and_biases(nn.GRUCell(2, 3, bias=False))]
        [('weight', (9, 2)), ('weight', (9, 3))]
    """
    for prefix, module in network.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            kind = _kind(module, name)
            if kind is not None and (parameter.is_floating_point() or parameter.is_complex()):
                yield module, kind, parameter


def _kind(module: nn.Module, name: str) -> Literal["weight", "bias"] | None:
    # In a list of parameters, whose names are numbers, the name of the list counts.
    words = next((part for part in reversed(name.split(".")) if not part.isdigit()), "").lower().split("_")
    alone = words[0].rstrip("0123456789") if len(words) == 1 else ""
    if alone == "b" or any(word.startswith("bias") for word in words):
        return "bias"
    is_weight = alone == "w" or any(word.startswith("weight") for word in words)
    return "weight" if is_weight or isinstance(module, LAYERS) else None


def is_batch_norm(module: nn.Module) -> bool:
    """Tell batch normalisation of any library, frozen or not, by the running statistics that it keeps.

    Args:
        module: Any module. Instance normalisation keeps the same, and is none.
    """
    if isinstance(module, _BatchNorm):
        return True
    buffers = dict(module.named_buffers(recurse=False))
    has_statistics = {"running_mean", "running_var"} <= buffers.keys() and hasattr(module, "eps")
    return has_statistics and not isinstance(module, _INSTANCE_NORMS)


def frozen_batch_norms(network: nn.Module) -> list[str]:
    """Names of the batch norms whose scales are constants, as torchvision's and timm's frozen ones.

    Args:
        network: Any network.
    """
    return [
        name
        for name, module in network.named_modules()
        if is_batch_norm(module) and "weight" in dict(module.named_buffers(recurse=False))
    ]


class ChannelSums:
    """Sums of a layer's output times its gradient over the positions of each channel, kept by a pass backward.

    Within this context each convolution and linear layer of a network passes on a copy of its output, so that
    operations in place do not reach what is kept. Layers that share a weight are one layer, called several times.

    Args:
        network: A network whose layers have weights of their own.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._sums: dict[_Key, Tensor] = {}
        self._handles: list[Any] = []

    @property
    def sums(self) -> dict[str, list[Tensor]]:
        """By name of the weight, (N, channels), summed over calls, once the pass backward is over.

        N is the length of the layer's output, which is the batch's unless the network folds positions into it. There
        are several where calls differ in N, or in what a channel is.
        """
        found: dict[str, list[Tensor]] = {}
        for (name, *_), one in self._sums.items():
            found.setdefault(name, []).append(one)
        return found

    def __enter__(self) -> "ChannelSums":
        """Watch the layers."""
        names = {id(weight): name for name, weight in layer_weights(self._network).items()}
        for module in self._network.modules():
            if isinstance(module, LAYERS):
                self._handles.append(module.register_forward_hook(self._watch(names[id(module.weight)])))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Watch them no more."""
        for handle in self._handles:
            handle.remove()

    def _watch(self, name: str) -> Any:
        def hook(module: Any, arguments: Any, output: Tensor) -> Tensor:
            is_linear = isinstance(module, nn.Linear)
            without_batch = 1 if is_linear else module.weight.dim() - 1
            is_single = output.dim() == without_batch
            return _Watched.apply(output, (name, isinstance(module, _TRANSPOSED)), is_linear, is_single, self._sums)

        return hook


_Key = tuple[str, bool, int, int]


class _Watched(torch.autograd.Function):
    """The identity, whose pass backward notes output times gradient of each channel."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, layer: tuple[str, bool], is_last: bool, is_single: bool, sums: dict[_Key, Tensor]
    ) -> Tensor:
        ctx.save_for_backward(output)
        ctx.layer, ctx.is_last, ctx.is_single, ctx.sums = layer, is_last, is_single, sums
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (output,), (gradient,) = ctx.saved_tensors, gradients
        if ctx.is_single:
            output, gradient = output[None], gradient[None]
        if ctx.is_last:
            output, gradient = output.movedim(-1, 1), gradient.movedim(-1, 1)
        found = torch.linalg.vecdot(output.flatten(2), gradient.flatten(2)) if output.dim() > 2 else output * gradient
        key = (*ctx.layer, *found.shape)
        ctx.sums[key] = ctx.sums[key] + found if key in ctx.sums else found
        return gradients[0], None, None, None, None
