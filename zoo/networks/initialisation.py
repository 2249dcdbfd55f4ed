"""Initial weights by the schemes under which the papers' claims about gradients are put to the test."""

from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn.utils import parametrize

from nnmass.zoo.checks import require, require_choice
from nnmass.zoo.seeding import seeded

__all__ = ["INITIALISATIONS", "Initialisation", "initialise"]

Initialisation = Literal["default", "gaussian", "fan_in", "orthogonal"]
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
INITIALISATIONS: tuple[Initialisation, ...] = get_args(Initialisation)


@torch.no_grad()
def initialise(network: nn.Module, scheme: Initialisation, seed: int = 0, variance: float | None = None) -> None:
    """Draw the weights of all convolutions and linear layers anew; biases become zero. Other parameters stay.

    Args:
        network: Any network; it is changed in place.
        scheme: ``default`` leaves everything as it is, biases too: for our networks PyTorch's uniform weights of
            variance 1 / (3 fan_in). ``gaussian`` draws from N(0, q) with one q for all layers, the setting of CVPR
            Proposition 2. ``fan_in`` draws from N(0, 2 / fan_in). ``orthogonal`` makes rows or columns orthonormal.
        seed: Decides the draw; the global random state is neither read nor changed.
        variance: q of ``gaussian``, for no other scheme.

    Raises:
        ValueError: If the scheme is unknown, a variance is missing, not positive or not asked for, or weights are
            computed from others in a way that cannot be turned round; nothing has been changed then.

    Example:
        >>> network = nn.Linear(3, 2)
        >>> initialise(network, "orthogonal")
        >>> [round(value, 4) for value in torch.linalg.svdvals(network.weight).tolist()]
        [1.0, 1.0]
    """
    require_choice("scheme", scheme, INITIALISATIONS)
    if (scheme == "gaussian") != (variance is not None) or (variance is not None and not variance > 0):
        raise ValueError(f"Expected a positive variance for gaussian, and none otherwise, but got {variance!r}.")
    if scheme == "default":
        return
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, _LAYERS)]
    for name, module in layers:
        require(_takes_weights(module), "network", "have weights that can be set", f"{name}.weight, which is computed")
    with seeded(seed):
        for _, module in layers:
            half = module.weight.dtype in (torch.float16, torch.bfloat16)
            drawn = torch.empty_like(module.weight, dtype=torch.float32 if half else None)
            if scheme == "gaussian":
                nn.init.normal_(drawn, std=variance**0.5)  # type: ignore[operator]
            elif scheme == "fan_in":
                nn.init.kaiming_normal_(drawn, nonlinearity="relu")
            else:
                nn.init.orthogonal_(drawn)
            if parametrize.is_parametrized(module, "weight"):
                module.weight = drawn.to(module.weight.dtype)
            else:
                module.weight.copy_(drawn)
            if module.bias is not None:
                module.bias.zero_()


def _takes_weights(module: nn.Module) -> bool:
    """Test that a layer's weight is a parameter, or a parametrization that finds its parameters for a given weight."""
    if not parametrize.is_parametrized(module, "weight"):
        return isinstance(module.weight, nn.Parameter)
    steps: Any = module.parametrizations["weight"]  # type: ignore[index]
    return all(hasattr(step, "right_inverse") for step in steps)
