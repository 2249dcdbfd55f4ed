"""What a network is wrapped in, taken off."""

from torch import nn

__all__ = ["unwrapped"]


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside a LightningModule's ``network``, a parallel wrapper's ``module``, a compiled ``_orig_mod``.

    Args:
        model: A network, wrapped any number of times or not at all.
    """
    inner: object = getattr(model, "_orig_mod", None)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = model.module
    elif hasattr(model, "training_step"):  # a LightningModule, told without importing Lightning
        inner = getattr(model, "network", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model
