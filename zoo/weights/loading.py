"""Loading of weights into a network of the same names and shapes, but for its classifier and its first channels."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnmass.zoo.checks import require
from nnmass.zoo.training.architecture import require_same_architecture
from nnmass.zoo.weights.head import classifier_names, first_convolution, lies_in
from nnmass.zoo.weights.published import published_state
from nnmass.zoo.weights.state import PRETRAINED, State, read_state, unwrapped_name

__all__ = ["LoadedWeights", "load_weights"]

_COUNTER = "num_batches_tracked"  # absent in older files; a batch norm counts anew
_RGB = 3
_SHOWN = 4  # names in a line


@dataclass(frozen=True)
class LoadedWeights:
    """Record of what became of weights that were loaded into a network.

    Attributes:
        source: Where they come from.
        fingerprint: Sixteen hexadecimal digits of their names, shapes and numbers.
        loaded: Tensors that were loaded.
        classifier: Name of the network's classifier, or of several.
        initial: Names in the network that keep their initial values.
        unused: Names in the source for which the network has no place.
        adapted: Name of the first convolution, if its weights were made to fit the channels.
        rewired: Layers whose random links are now those of the weights, and were others before.
    """

    source: str
    fingerprint: str
    loaded: int
    classifier: tuple[str, ...]
    initial: tuple[str, ...]
    unused: tuple[str, ...]
    adapted: str | None
    rewired: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def __str__(self) -> str:
        """One line of what was loaded, and one for each kind of what was not."""
        lines = [f"Weights from {self.source}: {self.loaded:,} tensors loaded, fingerprint {self.fingerprint}."]
        if self.rewired:
            lines.append(f"The random links of {self.rewired:,} layers are those of the weights.")
        if self.adapted:
            lines.append(f"Made to fit the channels of the images: {self.adapted}.")
        if self.initial:
            lines.append(f"Not loaded, and begin anew: {_some(self.initial)}.")
        if self.unused:
            lines.append(f"Of no use to the network: {_some(self.unused)}.")
        return "\n".join(lines)


def load_weights(
    network: nn.Module, source: str | os.PathLike[str] | State, classes: list[str] | None = None
) -> LoadedWeights:
    """Load weights into a network in place.

    The classifier is left as it is where its shape differs, where the weights are known to be for other classes, or
    where they have none. Weights for images of three channels are made to fit other numbers as timm does: summed up
    for one channel, otherwise repeated and scaled. Random links are loaded with the weights. In everything else names
    and shapes must be the same.

    Args:
        network: Any network.
        source: A file or a name as :func:`read_state` takes it, or what that gives; ``pretrained`` for what timm has
            published for the network, which is downloaded.
        classes: Names of the classes that the network shall tell apart, if they are known.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the weights are those of another architecture, of which the message names the first that
            differs; if a file holds none; if nothing is published or can be downloaded; if the network's links were
            placed, and the weights have others.

    Example:
        >>> from nnmass.zoo import create_model
        >>> trained = create_model("dense_digits", seed=1)
        >>> network = create_model("dense_digits", num_classes=7)
        >>> load_weights(network, State("another network", trained.state_dict())).initial
        ('classifier.weight', 'classifier.bias')
    """
    if source == PRETRAINED:
        state = published_state(network)
    else:
        state = source if isinstance(source, State) else read_state(source)
    ours, head = network.state_dict(), classifier_names(network, len(classes) if classes else None)
    prefix = _prefix_of_network(state, ours, head)
    theirs = _below(state.tensors, prefix)
    outside = [name for name in state.tensors if not name.startswith(prefix)]
    other_classes = None not in (classes, state.classes) and tuple(classes or ()) != state.classes
    head_fits = not other_classes and all(
        name in theirs and theirs[name].shape == ours[name].shape for name in ours if lies_in(name, head)
    )
    dropped = [] if head_fits else [name for name in theirs if lies_in(name, head)]
    chosen = {name: value for name, value in theirs.items() if name not in dropped}
    adapted = _fit_channels(network, ours, chosen)
    initial = [
        name for name in ours if name not in chosen and (lies_in(name, head) or name.rpartition(".")[2] == _COUNTER)
    ]
    expected = {name: value for name, value in ours.items() if name not in initial}
    require_same_architecture(expected, chosen, state.source)
    rewired = sum(name.endswith("links") and not torch.equal(ours[name].cpu(), chosen[name]) for name in chosen)
    placed = getattr(network, "init_args", {}).get("links", "uniform")
    if rewired:  # drawn ones give way to those of the weights, as their seed does; placed ones are meant
        source_of_links = f"left to the weights in {state.source}, which bring their own"
        require(placed == "uniform", "links", f"be {source_of_links}", placed)
    network.load_state_dict({**ours, **chosen})
    return LoadedWeights(
        state.source, state.fingerprint, len(chosen), head, tuple(initial), (*dropped, *outside), adapted, rewired
    )


def _prefix_of_network(state: State, ours: Mapping[str, Tensor], head: tuple[str, ...]) -> str:
    """Find the prefix that a network's names have in a state: none, or the attribute of a LightningModule.

    In checkpoints of this package it is ``network.``, in those of other programs ``model.`` or the like.

    Raises:
        ValueError: If it holds several networks of these names.
    """
    needed = {name for name in ours if not name.endswith(_COUNTER) and not lies_in(name, head)} or set(ours)
    prefixes = dict.fromkeys(["", *(name.partition(".")[0] + "." for name in state.tensors)])
    parts = {prefix: _below(state.tensors, prefix) for prefix in prefixes}
    fitting = [prefix for prefix, part in parts.items() if needed <= part.keys()]
    if len(fitting) > 1:
        names = " and ".join(prefix.removesuffix(".") or "no prefix" for prefix in fitting)
        raise ValueError(f"Expected the weights of one network in {state.source}, but got several: {names}.")
    # Where none has all names, the nearest is the one of which the message names the first that is missing.
    return fitting[0] if fitting else max(parts, key=lambda prefix: len(needed & parts[prefix].keys()))


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Entries whose names begin so, without that and without what wrappers put behind it."""
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {unwrapped_name(name): value for name, value in found.items()} if prefix else found


def _fit_channels(network: nn.Module, ours: Mapping[str, Tensor], theirs: dict[str, Tensor]) -> str | None:
    """Make the first convolution's weights for three channels fit the network's, in place; tells its name."""
    name = f"{first_convolution(network)}.weight"
    if name not in ours or name not in theirs:
        return None
    here, there = ours[name], theirs[name]
    same = here.ndim == there.ndim == 4 and here.shape[0] == there.shape[0] and here.shape[2:] == there.shape[2:]
    if not same or there.shape[1] != _RGB or here.shape[1] == _RGB:
        return None
    from timm.models import adapt_input_conv

    theirs[name] = adapt_input_conv(here.shape[1], there)
    return name


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
