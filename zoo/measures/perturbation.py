"""Zen-score: how much the features of a Gaussian-initialised network change with its input."""

from collections.abc import MutableMapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from nnmass.zoo.measures.batch import NotMeasured
from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.layers import weights_and_biases
from nnmass.zoo.measures.passes import Passes
from nnmass.zoo.reader.operators import REDUCTIONS, VIEWS

__all__ = ["PooledFeatures", "zen"]

_STEP = 0.01
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_NORMALISATIONS = (BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, *_INSTANCE_NORMS)
# Which argument of a reduction has its dimensions, if not the second.
_DIMS_AT = {"norm": 2, "linalg_vector_norm": 2}
# What was reduced in part stays so in another shape, and as a multiple of itself.
_KEEPING = frozenset((*VIEWS, "permute", "transpose", "clone", "_to_copy", "alias", "detach", "mul", "div"))


class _Pool(NamedTuple):
    """The map that entered a global pool, (N, ...), and how many pools there were before."""

    features: Tensor
    before: int


class PooledFeatures(TorchDispatchMode):
    """The feature maps that global pools take within this context, by the values that are computed from the pools'.

    A global pool is a mean, sum, maximum or another reduction, in one step or several, that leaves each image a vector.
    A gate, as of squeeze and excitation, leads to no vector but to the map that it scales, and counts for nothing.

    Args:
        number: Images in the batch, N.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number, self._orders = number, count()
        self._pools: MutableMapping[Tensor, _Pool] = WeakTensorKeyDictionary()
        self._reduced_in_part: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()

    def features(self, value: Tensor) -> Tensor | None:
        """The map that entered the last global pool on the way to a value, (N, ...); None if there was no pool.

        Args:
            value: A result of this context, such as the logits.
        """
        pool = self._pools.get(value)
        return None if pool is None else pool.features

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note what enters a global pool, and what comes of its result."""
        result = func(*args, **(kwargs or {}))
        entering, leaving = _tensors((args, kwargs)), _tensors(result)
        name = func.overloadpacket.__name__.removesuffix("_")
        dims = _reduced(name, args, kwargs or {}, leaving) if len(entering) == 1 else set()
        if dims and self._may_be_pooled(entering[0], dims):
            self._reduce(entering[0], dims, leaving)
        else:
            self._pass_on(name, entering, leaving)
        return result

    def _may_be_pooled(self, value: Tensor, dims: set[int]) -> bool:
        """Tell a feature map from other values, and from a pooled vector that a head has given another shape."""
        is_pooled = value in self._pools and _extent(value) > 1
        return len(value) == self._number and value.dim() > 2 and 0 not in dims and not is_pooled

    def _reduce(self, value: Tensor, dims: set[int], leaving: Sequence[Tensor]) -> None:
        features = self._reduced_in_part.get(value, value).clone()  # a later operation may write to it
        is_vector = value.dim() - len(dims) == 2 or _extent(value) > 1 >= _extent(leaving[0])
        pool = _Pool(features, next(self._orders))
        for one in leaving:
            if is_vector:
                self._pools[one] = pool
            else:
                self._reduced_in_part[one] = features

    def _pass_on(self, name: str, entering: Sequence[Tensor], leaving: Sequence[Tensor]) -> None:
        pools = [self._pools[one] for one in entering if one in self._pools]
        meets_map = any(self._is_map(one) for one in entering)
        for one in leaving:
            self._pools.pop(one, None)  # what is written to is another value
            if pools and not (meets_map and _extent(one) > 1):
                self._pools[one] = max(pools, key=lambda pool: pool.before)
            if name in _KEEPING and len(entering) == 1 and entering[0] in self._reduced_in_part:
                self._reduced_in_part[one] = self._reduced_in_part[entering[0]]

    def _is_map(self, value: Tensor) -> bool:
        is_weight = isinstance(value, nn.Parameter) or len(value) != self._number
        return not is_weight and _extent(value) > 1 and value not in self._pools


def _tensors(values: Any) -> list[Tensor]:
    """All tensors of one dimension or more."""
    return [one for one in tree_leaves(values) if isinstance(one, Tensor) and one.dim()]


def _extent(value: Tensor) -> int:
    """Dimensions of one image along which there is more than one entry."""
    return sum(size > 1 for size in value.shape[1:])


def _reduced(name: str, args: Sequence[Any], kwargs: dict[str, Any], leaving: Sequence[Tensor]) -> set[int]:
    """Dimensions of its first argument that an operator takes together whole."""
    entering: Tensor = args[0]
    if "_pool" in name:
        is_global = leaving[0].dim() == entering.dim() > 2 and leaving[0].shape[2:].numel() == 1
        return set(range(2, entering.dim())) if is_global else set()
    dims = kwargs.get("dim", [*args, None, None, None][_DIMS_AT.get(name, 1)]) if name in REDUCTIONS else None
    dims = [dims] if isinstance(dims, int) else dims
    return {dim % entering.dim() for dim in dims} if isinstance(dims, list | tuple) else set()


@measure(
    title="Zen-score",
    equation="z = ln mean_n ||f(x_n) - f(x_n + 0.01 e_n)||_1 + sum_i ln sqrt(mean_c v_ic); x, e ~ N(0, 1); f: feature "
    "map before the last global pool, all weights ~ N(0, 1); v_ic: variance of channel c that enters batch norm i",
    source="Lin, Wang, Sun, Chen, Sun, Qian, Li, Jin, ICCV 2021, Algorithm 1",
    forwards=2,
)
def zen(passes: Passes) -> float:
    """Zen-score with one draw of weights and inputs, in training mode; of the batch only the shape is used.

    Where paper and code differ: the norm is the code's, the sum of absolute values (the paper: Frobenius); variances
    are the paper's, of the batch (the code: running variances after two batches, mostly their initial 1). Residual
    links stay, which both take away, because that is another network. Where no global pool leads to the output, f is
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
    """The feature map before the last global pool, or the logits where there is no pool."""
    with PooledFeatures(passes.number) as pooled:
        logits = passes.logits(network, images)
    features = pooled.features(logits)
    return logits if features is None else features


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
