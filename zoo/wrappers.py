"""Unwrapping of networks from LightningModules, parallel and averaging wrappers; and copies of networks."""

import copy
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_leaves

__all__ = ["pass_in_use", "replica", "unwrapped"]


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside a LightningModule's ``network``, a parallel or averaging wrapper, a compiled ``_orig_mod``.

    Args:
        model: A network, wrapped any number of times or not at all.
    """
    inner: object = getattr(model, "_orig_mod", None)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
        inner = model.module
    elif hasattr(model, "training_step"):  # a LightningModule, told without importing Lightning
        inner = getattr(model, "network", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def replica(network: nn.Module, copies: dict[int, Any] | None = None) -> nn.Module:
    """Copy a network in eval mode, without compilation and without forward and backward hooks, which only observe.

    Args:
        network: Any network, also one that keeps what it has computed, of which there can be no deep copy.
        copies: What shall stand in the copy for an object, by the object's id; it is added to.

    Raises:
        ValueError: If it holds something that cannot be copied, such as an open file or a lock.
    """
    copies = {} if copies is None else copies
    for module in network.modules():
        for hooks in (module._forward_hooks, module._backward_pre_hooks, module._backward_hooks):
            copies.setdefault(id(hooks), OrderedDict())  # of which there may be no copy, as of one that holds a file
        held = list(vars(module).values())
        for value in held:
            # A deep copy would spend half its time on the empty mappings for hooks.
            if type(value) in (dict, OrderedDict) and not value:
                copies.setdefault(id(value), type(value)())
        for value in tree_leaves(held):
            if isinstance(value, Tensor) and not value.is_leaf:
                copies.setdefault(id(value), value.detach())
    try:
        copied = copy.deepcopy(network, copies).eval()
    except Exception as error:  # whatever a stranger's attribute raises
        name = type(network).__name__
        raise ValueError(f"Expected a network that can be copied, but copying {name} gave '{error}'.") from error
    for module in list(copied.modules()):
        for name, part in list(module.named_children()):
            if hasattr(part, "_orig_mod"):  # compiled, which hides its operators from a trace
                setattr(module, name, unwrapped(part))
    return copied


def pass_in_use(model: nn.Module) -> str | None:
    """Describe how a network's random-skip cells and MLPs last ran: on shared outputs, or module by module.

    Args:
        model: A network, bare or wrapped.

    Returns:
        ``shared outputs``, ``modules`` (also before the first pass), or in how many of its cells the former; None for a
        network without any.
    """
    ran = [bool(part.ran_on_shared_outputs) for part in model.modules() if hasattr(part, "ran_on_shared_outputs")]
    if not ran:
        return None
    if all(ran) or not any(ran):
        return "shared outputs" if all(ran) else "modules"
    return f"shared outputs in {sum(ran)} of {len(ran)} cells"
