"""The part of a network that does not learn, for a whole training or its first epochs."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnmass.zoo.checks import require
from nnmass.zoo.weights.head import classifier_names, lies_in, num_outputs

__all__ = ["BACKBONE", "FrozenPart", "require_unfreezing", "wrap_again"]

BACKBONE = "backbone"
"""The word for everything but the classifier."""


class FrozenPart:
    """Parameters that take no gradients, and batch norms that keep their running statistics and use them.

    A batch norm is frozen where its weight is. Other modules, such as dropout, are left in training mode.

    Args:
        network: The network, which is frozen at once.
        freeze: ``backbone``, or shell-style patterns; each matches names of parameters, or of modules that hold them.
        num_classes: Classes that the network tells apart, if they are known: outputs of its classifier.

    Attributes:
        is_frozen: False once it learns, too.

    Raises:
        ValueError: If a pattern matches nothing, nothing is left to learn, or the classifier is not found.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> part = FrozenPart(network, "backbone")
        >>> [weights.requires_grad for weights in network.parameters()]
        [False, False, True, True]
    """

    def __init__(self, network: nn.Module, freeze: str | Sequence[str], num_classes: int | None = None) -> None:
        patterns = [freeze] if isinstance(freeze, str) else list(freeze)
        require(bool(patterns), "freeze", "name a part", freeze)
        names = [name for name, _ in network.named_parameters()]
        head = _classifier(network, num_classes) if BACKBONE in patterns else ()
        for pattern in patterns:
            found = any(_matches(name, pattern, head) for name in names)
            hint = f"names begin with {names[0]}." if names else ""
            require(found, "freeze", f"be {BACKBONE} or to match names of parameters", repr(pattern), hint)

        def is_chosen(name: str) -> bool:
            return any(_matches(name, pattern, head) for pattern in patterns)

        chosen = [parameter for name, parameter in network.named_parameters() if is_chosen(name)]
        left = any(parameter.requires_grad for name, parameter in network.named_parameters() if not is_chosen(name))
        require(left, "freeze", "leave something to learn", f"{freeze}, which is everything")
        # What the user has frozen before stays so.
        self._parameters = [parameter for parameter in chosen if parameter.requires_grad]
        self._norms = [
            module
            for name, module in network.named_modules()
            if isinstance(module, _BatchNorm) and is_chosen(f"{name}.weight")
        ]
        self.is_frozen = True
        for parameter in self._parameters:
            parameter.requires_grad = False
        self.keep_statistics()

    def keep_statistics(self) -> None:
        """Put the frozen batch norms into evaluation mode again, after the network was put into training mode."""
        for norm in self._norms if self.is_frozen else ():
            norm.eval()

    def unfreeze(self) -> None:
        """Let the part learn from now on."""
        self.is_frozen = False
        for parameter in self._parameters:
            parameter.requires_grad = True
        for norm in self._norms:
            norm.train()


def require_unfreezing(strategy: Strategy) -> None:
    """Refuse a strategy in which nothing can be set free during a training.

    Args:
        strategy: Of the trainer.

    Raises:
        ValueError: If it splits a network over processes, or has other ways of its own.
    """
    known = type(strategy) in (SingleDeviceStrategy, DDPStrategy)
    require(known, "trainer.strategy", "be ddp, or one device, for unfreeze_epoch", type(strategy).__name__)


def wrap_again(model: LightningModule) -> None:
    """Let DistributedDataParallel add up the gradients of parameters, too, that took none when it was made.

    Args:
        model: In training.
    """
    strategy: Any = model.trainer.strategy
    if isinstance(strategy, DDPStrategy):
        strategy.model = model
        strategy.configure_ddp()


def _classifier(network: nn.Module, num_classes: int | None) -> tuple[str, ...]:
    """Names of the modules that make logits of features; each has an output per class."""
    names = classifier_names(network, num_classes)
    if num_classes is not None:
        for name in names:
            outputs = num_outputs(network.get_submodule(name))
            rule = f"name the parts that do not learn: no linear layer of the network has {num_classes} outputs"
            require(outputs in (None, num_classes), "freeze", rule, BACKBONE)
    return names


def _matches(name: str, pattern: str, head: tuple[str, ...]) -> bool:
    """Tell whether a pattern means a parameter: by its own name, or by that of a module around it."""
    if pattern == BACKBONE:
        return not lies_in(name, head)
    modules = accumulate(name.split("."), lambda outer, inner: f"{outer}.{inner}")
    return any(fnmatchcase(part, pattern) for part in modules)
