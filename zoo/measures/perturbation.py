"""Zen-score: how much the features of a Gaussian-initialised network change with its input."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.layers import weights_and_biases
from nnmass.zoo.measures.passes import NotMeasured, Passes

__all__ = ["PooledFeatures", "zen"]

_ATEN = torch.ops.aten
_STEP = 0.01
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_NORMALISATIONS = (BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, *_INSTANCE_NORMS)


class PooledFeatures(TorchDispatchMode):
    """The feature map that enters the last global pool within this context.

    Attributes:
        features: What was pooled last over all its positions, (N, ...); None if nothing was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features: Tensor | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note what enters a global pool."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func.overloadpacket
        if packet in (_ATEN.mean, _ATEN.amax) and _pools_positions(args[0], [*args[1:], kwargs.get("dim")][0]):
            self.features = args[0].clone()
        pooled = result[0] if packet is _ATEN.adaptive_max_pool2d else result
        if packet in (_ATEN._adaptive_avg_pool2d, _ATEN.adaptive_max_pool2d, _ATEN.avg_pool2d) and _is_one(pooled):
            self.features = args[0].clone()
        return result


def _pools_positions(entering: Tensor, dims: Any) -> bool:
    """Tell a mean over all positions of images, (N, C, H, W) or (N, H, W, C)."""
    return entering.dim() == 4 and isinstance(dims, list | tuple) and {d % 4 for d in dims} in ({2, 3}, {1, 2})


def _is_one(pooled: Tensor) -> bool:
    return pooled.dim() == 4 and pooled.shape[2:].numel() == 1


@measure(
    title="Zen-score",
    equation="z = ln mean_n ||f(x_n) - f(x_n + 0.01 e_n)||_1 + sum_i ln sqrt(mean_c v_ic); x, e ~ N(0, 1); f: feature "
    "map before the global pool, all weights ~ N(0, 1); v_ic: variance of channel c that enters batch norm i",
    source="Lin, Wang, Sun, Chen, Sun, Qian, Li, Jin, ICCV 2021, Algorithm 1",
    forwards=2,
)
def zen(passes: Passes) -> float:
    """Zen-score with one draw of weights and inputs, in training mode; of the batch only the shape is used.

    Where paper and code differ: the norm is the code's, the sum of absolute values (the paper: Frobenius); variances
    are the paper's, of the batch (the code: running variances after two batches, mostly their initial 1). Residual
    links stay, which both take away, because that is another network. Where no global pool runs, f is
    the output. Weights and biases are told by their names, also those of recurrent layers and attention; parameters
    that are neither, such as position embeddings, stay.

    Raises:
        NotMeasured: If there is no batch normalisation, or a weight or bias is no parameter.
    """
    if not passes.images.is_floating_point():
        raise NotMeasured(f"Expected images of real numbers, which can be Gaussian, but got {passes.images.dtype}.")
    with passes.drawing(), torch.no_grad():
        network = passes.copy_to_initialise()
        _initialise(network)
        images, noise = torch.randn_like(passes.images), torch.randn_like(passes.images)
        scalings: list[Tensor] = []
        handles = [one.register_forward_pre_hook(_scaling(scalings)) for one in _norms(network)]
        plain = _features(passes, network, images)
        for handle in handles:
            handle.remove()
        shifted = _features(passes, network, images + _STEP * noise)
        if not scalings:
            raise NotMeasured("Expected a network with batch normalisation, which Zen-score scales by, but none ran.")
        change = (plain.double() - shifted.double()).flatten(1).abs().sum(1).mean()
        return float(change.log() + torch.stack(scalings).sum())


def _norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, BatchNorm)]


def _scaling(scalings: list[Tensor]) -> Any:
    """A hook that notes ln sigma_i of what enters a batch norm."""

    def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        by_channel = arguments[0].double().movedim(1, 0).flatten(1)
        scalings.append(by_channel.var(1, unbiased=False).mean().sqrt().log())

    return hook


def _features(passes: Passes, network: nn.Module, images: Tensor) -> Tensor:
    """The feature map before the global pool, or the logits where there is no pool."""
    with PooledFeatures() as pooled:
        logits = passes.logits(network, images)
    return logits if pooled.features is None else pooled.features


def _initialise(network: nn.Module) -> None:
    """Draw weights from N(0, 1); set biases to 0, and normalisations to the identity."""
    for module, kind, parameter in weights_and_biases(network):
        if kind == "bias":
            parameter.zero_()
        elif _is_scale(module, parameter):
            parameter.fill_(1.0)
        else:
            parameter.normal_()


def _is_scale(module: nn.Module, weight: Tensor) -> bool:
    """Tell the scale of a normalisation, of any library; a slope of a ReLU is none."""
    return isinstance(module, _NORMALISATIONS) or (weight.dim() < 2 and not isinstance(module, nn.PReLU))
