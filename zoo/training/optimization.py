"""Optimizers of a training: the parameters that they are given, and the schedule of their learning rates."""

from collections.abc import Callable, Iterable, Sequence
from math import ceil, isfinite
from typing import Any, Self

from pytorch_lightning import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from nnmass.zoo.checks import require, require_choice
from nnmass.zoo.training.freezing import FrozenPart, require_unfreezing

__all__ = ["LR_EXPONENTS", "OptimizedModule", "depths", "parameter_groups"]

LR_EXPONENTS = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}
"""The learning rate grows with this power of the number of batches in a step."""


class OptimizedModule(LightningModule):
    """A LightningModule with one network, one optimizer and one schedule; a subclass calls :meth:`regulate` once.

    Args:
        network: The network.
        optimizer: Builds the optimizer from parameters, or groups of them.
        schedule: ``cosine`` to 0, or ``constant``.
        interval: ``epoch`` or ``step``, with which it moves.
        lr_scaling: A key of ``LR_EXPONENTS``.
        warmup_epochs: Epochs over which the rate first rises.

    Attributes:
        lr: Learning rate of a whole step, where Lightning's LearningRateFinder has set it.
        first_epoch: Epoch with which the schedule begins: 0, but for a training that was extended.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable], Optimizer],
        schedule: str,
        interval: str,
        lr_scaling: str,
        warmup_epochs: int,
    ) -> None:
        super().__init__()
        require(isinstance(network, nn.Module), "network", "be a torch.nn.Module", type(network).__name__)
        require_choice("schedule", schedule, ("cosine", "constant"))
        require_choice("interval", interval, ("epoch", "step"))
        require_choice("lr_scaling", lr_scaling, LR_EXPONENTS)
        require(warmup_epochs >= 0, "warmup_epochs", "be at least 0", warmup_epochs)
        self.network, self.optimizer, self.schedule, self.interval = network, optimizer, schedule, interval
        self.lr_scaling, self.warmup_epochs = lr_scaling, warmup_epochs
        self.lr: float | None = None
        self.first_epoch = 0

    def regulate(
        self,
        freeze: str | Sequence[str] | None = None,
        unfreeze_epoch: int | None = None,
        layer_decay: float = 1.0,
        decay_norms: bool = True,
        num_classes: int | None = None,
    ) -> None:
        """Say which parts learn from when on, and at which rate and with which weight decay.

        Args:
            freeze: Parts that do not learn, as in :class:`FrozenPart`.
            unfreeze_epoch: Epochs after which they learn too; None for never.
            layer_decay: Factor of the rate from each layer to the one before it.
            decay_norms: Whether weight decay holds for norms and biases too.
            num_classes: As in :class:`FrozenPart`.

        Raises:
            ValueError: If one is out of range, or does not fit the network.
        """
        require(0 < layer_decay <= 1, "layer_decay", "lie in (0, 1]", layer_decay)
        require(unfreeze_epoch is None or unfreeze_epoch >= 1, "unfreeze_epoch", "be at least 1", unfreeze_epoch)
        require(freeze is not None or unfreeze_epoch is None, "freeze", "say what unfreeze_epoch sets free", freeze)
        self.unfreeze_epoch, self.layer_decay, self.decay_norms = unfreeze_epoch, layer_decay, decay_norms
        self._frozen = None if freeze is None else FrozenPart(self.network, freeze, num_classes)

    @property
    def has_frozen_part(self) -> bool:
        """True as long as a part of the network does not learn."""
        return self._frozen is not None and self._frozen.is_frozen

    def train(self, mode: bool = True) -> Self:
        """Put everything into training mode, but for frozen batch norms."""
        super().train(mode)
        if mode and self._frozen is not None:
            self._frozen.keep_statistics()
        return self

    def unfrozen_by(self, epoch: int) -> bool:
        """Let the frozen part learn in an epoch that is late enough; tells whether it did not before.

        Args:
            epoch: The epoch at hand, counted from 0.
        """
        if self._frozen is None or not self.has_frozen_part or self.unfreeze_epoch is None:
            return False
        if epoch >= self.unfreeze_epoch:
            self._frozen.unfreeze()
        return not self.has_frozen_part

    def on_fit_start(self) -> None:
        """Begin with the learning rate that a LearningRateFinder has chosen, and the schedule from there."""
        if self.lr is not None:
            self.trainer.strategy.setup_optimizers(self.trainer)

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule, whose length is that of the training, in epochs or in steps."""
        if self.unfreeze_epoch is not None:
            require_unfreezing(self.trainer.strategy)
        optimizer = self.optimizer(self._learning())
        decays = self.decay_norms or "weight_decay" in optimizer.defaults
        require(decays, "optimizer", "have a weight_decay for decay_norms false", type(optimizer).__name__)
        batches = self.trainer.world_size * self.trainer.accumulate_grad_batches
        for group in optimizer.param_groups:
            scaled = group["lr"] * batches ** LR_EXPONENTS[self.lr_scaling]
            group["lr"] = (scaled if self.lr is None else self.lr) * group.get("lr_scale", 1.0)
        epochs = self.trainer.max_epochs or 0
        length = epochs if self.interval == "epoch" else self.trainer.estimated_stepping_batches
        total = int(length) if isfinite(length) else 0
        scheduled = total >= 1 or self.schedule != "cosine"
        require(scheduled, "trainer.max_epochs", "be set for the cosine schedule", epochs)
        warmup = 0 if self.trainer.fast_dev_run else self.warmup_epochs  # type: ignore[attr-defined]
        if self.first_epoch:  # the schedule is that of the added epochs, whose optimizer is warm
            total, warmup = total - total * self.first_epoch // epochs, 0
        if self.interval == "step" and warmup:
            self.trainer.fit_loop.setup_data()  # counts the batches
            warmup *= ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        require(total < 1 or warmup < total, "warmup_epochs", "be shorter than the training", self.warmup_epochs)
        moved = _scheduler(optimizer, self.schedule, total, warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": moved, "interval": self.interval}}

    def _learning(self) -> Iterable:
        """Parameters for the optimizer, in groups where these differ; those that will be set free are among them."""
        frozen_for_good = self._frozen is not None and self.unfreeze_epoch is None

        def kept(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
            return [one for one in parameters if one.requires_grad or not frozen_for_good]

        if self.layer_decay == 1 and self.decay_norms:
            return kept(self.parameters())
        own = [one for name, one in self.named_parameters() if not name.startswith("network.")]
        groups = [*parameter_groups(self.network, self.layer_decay, self.decay_norms), {"params": own}]
        groups = [{**group, "params": kept(group["params"])} for group in groups]
        return [group for group in groups if group["params"]]


def parameter_groups(network: nn.Module, layer_decay: float = 1.0, decay_norms: bool = True) -> list[dict[str, Any]]:
    """Divide the parameters of a network by the learning rate and the weight decay that they are to have.

    Layer k of L learns at the rate times ``layer_decay`` to the power L - 1 - k, as ``lr_scale`` of its group says.

    Args:
        network: Any network.
        layer_decay: Factor from a layer to the one before it, in (0, 1].
        decay_norms: Whether weight decay holds for norms and biases too: for parameters of one dimension, and for
            those that a network of timm names (``no_weight_decay``).

    Returns:
        Groups as torch's optimizers take them, the first layers first.

    Source:
        Layer-wise decay: Bao et al., "BEiT" (ICLR 2022), section 3.2, and timm.

    Example:
        >>> groups = parameter_groups(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), 0.5, decay_norms=False)
        >>> [(group["lr_scale"], group.get("weight_decay"), len(group["params"])) for group in groups]
        [(0.5, None, 1), (0.5, 0.0, 1), (1.0, None, 1), (1.0, 0.0, 1)]
    """
    depth_of = depths(network) if layer_decay != 1 else {}
    deepest = max(depth_of.values(), default=0)
    names: Any = getattr(network, "no_weight_decay", set)
    spared = set() if decay_norms else set(names())
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        spares = not decay_norms and (parameter.ndim <= 1 or name in spared)
        depth = depth_of.get(name, deepest)
        own = {"params": [], "lr_scale": layer_decay ** (deepest - depth)} | ({"weight_decay": 0.0} if spares else {})
        groups.setdefault((depth, spares), own)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def depths(network: nn.Module) -> dict[str, int]:
    """Number the layers of a network from its input to its classifier, by the names of their parameters.

    Networks of timm and of the zoo know it (``group_matcher``). In others a layer begins with every module that has a
    parameter of two or more dimensions, in the order of ``named_modules``; norms belong to the layer before them.

    Args:
        network: Any network.

    Example:
        >>> depths(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2, bias=False)))
        {'0.weight': 0, '0.bias': 0, '1.weight': 0, '1.bias': 0, '3.weight': 1}
    """
    matcher: Any = getattr(network, "group_matcher", None)
    if callable(matcher):
        from timm.models import group_parameters

        return group_parameters(network, matcher(coarse=False), reverse=True)
    found: dict[str, int] = {}
    layer = -1
    for prefix, module in network.named_modules():
        own = dict(module.named_parameters(prefix, recurse=False))
        layer += any(parameter.ndim > 1 for parameter in own.values())
        found |= dict.fromkeys(own, max(layer, 0))
    return found


def _scheduler(optimizer: Optimizer, schedule: str, length: int, warmup: int) -> LRScheduler:
    """Schedule of ``length`` epochs or steps, 0 for no end, of which the first are the warm-up from 1 %."""
    main: LRScheduler = (
        CosineAnnealingLR(optimizer, length - warmup) if schedule == "cosine" else ConstantLR(optimizer, factor=1.0)
    )
    if not warmup:
        return main
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.01, total_iters=warmup), main], milestones=[warmup])
