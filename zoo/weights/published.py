"""Weights that timm has published for its networks."""

from typing import Any

from torch import nn

from nnmass.zoo.weights.state import PRETRAINED, State

__all__ = ["published_state"]


def published_state(network: nn.Module | None) -> State:
    """Download the weights of a network of timm, or take them from where it keeps what it has downloaded.

    Args:
        network: The network; its ``pretrained_cfg`` says where the weights are.

    Raises:
        ValueError: If there are none for it, or they cannot be had.
    """
    published: Any = getattr(network, "pretrained_cfg", None)
    if not isinstance(published, dict) or not published.get("architecture"):
        kind = "no network" if network is None else type(network).__name__
        raise ValueError(f"Expected a network of timm for the weights {PRETRAINED}, but got {kind}.")
    import timm

    name = ".".join(part for part in (published["architecture"], published.get("tag")) if part)
    try:
        trained = timm.create_model(published["architecture"], pretrained=True, pretrained_cfg=published)
    except Exception as error:  # of the network, the server, the disk
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        reason = reason.removesuffix(".")
        raise ValueError(f"Expected weights that can be downloaded for {name}, but got: {reason}.") from error
    return State(f"{PRETRAINED} ({name})", trained.state_dict())
