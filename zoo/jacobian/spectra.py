"""Singular values of the Jacobian of every layer of a network."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nnmass.zoo.checks import require, require_integer
from nnmass.zoo.jacobian.estimates import Estimate, Spectrum, estimate_spectrum
from nnmass.zoo.jacobian.exact import dense_singular_values, linear_singular_values
from nnmass.zoo.jacobian.layers import Layer, layers_at
from nnmass.zoo.precision import full_precision
from nnmass.zoo.reader.macs import first_parameter
from nnmass.zoo.seeding import kept_random_state
from nnmass.zoo.wrappers import replica, unwrapped

__all__ = ["LayerSpectrum", "hidden_isometry", "hidden_mean", "layer_spectra"]


@dataclass(frozen=True)
class LayerSpectrum:
    """The spectrum of one layer's Jacobian.

    Attributes:
        position: Place among the network's layers, from 0.
        name: Dotted name of the module with the weights.
        bn: How batch norms were treated, ``eval`` or ``batch``.
        spectrum: The singular values, or what is known of them.
    """

    position: int
    name: str
    bn: str
    spectrum: Spectrum

    def as_dict(self) -> dict[str, Any]:
        """One row of a table; the histogram has 32 shares of the spectrum, equally wide, from 0 to ``max``.

        ``error_of`` says where the three standard errors come from, ``images`` or ``probes``; empty where all is exact.
        """
        spectrum = self.spectrum
        return {
            "layer": self.position,
            "name": self.name,
            "rows": spectrum.rows,
            "columns": spectrum.columns,
            "bn": self.bn,
            "exact": spectrum.exact,
            "mean": spectrum.mean.value,
            "mean_standard_error": spectrum.mean.standard_error,
            "error_of": spectrum.mean.error_of or "",
            "degrees_of_freedom": spectrum.mean.freedom,
            "std": spectrum.std,
            "min": spectrum.smallest.value,
            "min_error": spectrum.smallest.standard_error,
            "max": spectrum.largest.value,
            "max_error": spectrum.largest.standard_error,
            "condition_number": spectrum.condition_number,
            "isometry": spectrum.isometry.value,
            "isometry_standard_error": spectrum.isometry.standard_error,
            "mean_square": spectrum.mean_square.value,
            "mean_square_standard_error": spectrum.mean_square.standard_error,
            "histogram": spectrum.histogram()[0].tolist(),
        }


def layer_spectra(
    model: nn.Module,
    batch: Tensor,
    bn: Literal["eval", "batch"] = "batch",
    *,
    exact_up_to: int = 1024,
    probes: int = 4,
    steps: int = 24,
    seed: int = 0,
) -> Iterator[LayerSpectrum]:
    r"""Singular values of every layer's Jacobian J_i = d s_i / d x_{i-1}, one layer after the other.

    x_{i-1} is everything that enters layer i, concatenated skips included. A layer is a convolution or linear layer
    with its padding, activations and normalisations, as :func:`zoo.jacobian.layers.layers_at` says. J is the Jacobian
    of each sample, of tokens that of each token; gates with weights, such as squeeze-excitation, belong to no layer.
    Weights in half precision are measured in single.

    Args:
        model: Any network of one input, bare or wrapped.
        batch: Inputs, (N, ...).
        bn: ``batch`` lets batch norms use mean and variance of this batch, as in training; ``eval`` their running
            statistics, which at initialisation make them the identity. Either way they are constants in the derivative.
        exact_up_to: Layers of at most so many rows and columns get a dense SVD; larger ones an estimate. Of a network
            that states its linear layers (``jacobian_factors``) only the rows count.
        probes: Random vectors per sample of an estimate.
        steps: Lanczos steps of an estimate.
        seed: Decides the random vectors.

    Yields:
        One spectrum per layer, in the order in which they run. The model, its mode, its buffers, its gradients and all
        random state stay as they were.

    Raises:
        ValueError: If an argument is out of range, the network cannot be traced or has no layer, a layer mixes samples,
            or the statistics of a batch norm are not what ``bn`` asks for.

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU())
        >>> _ = nn.init.eye_(network[0].weight)
        >>> [layer.spectrum.mean.value for layer in layer_spectra(network, torch.tensor([[1.0, 2.0, 3.0]]))]
        [1.0]
    """
    _require_measurable(model, batch, bn)
    probes, steps = require_integer("probes", probes, 1), require_integer("steps", steps, 1)
    exact_up_to = require_integer("exact_up_to", exact_up_to, 0)
    generator = torch.Generator().manual_seed(require_integer("seed", seed, 0))
    network = unwrapped(model)
    if first_parameter(network).dtype in (torch.float16, torch.bfloat16):  # torch decomposes no matrices of these
        network, batch = replica(network).float(), batch.float()
    images = len(batch)
    estimate = partial(estimate_spectrum, generator=generator, probes=probes, steps=steps, images=images)
    spectra = _spectra(network, batch, bn, exact_up_to, estimate)
    while True:
        # A network may draw random numbers, and what it has compiled hides its operators.
        with kept_random_state(batch.device), full_precision(), torch.compiler.set_stance("force_eager"):
            spectrum = next(spectra, None)
        if spectrum is None:
            return
        yield spectrum


def _require_measurable(model: object, batch: Tensor, bn: str) -> None:
    require(isinstance(model, nn.Module), "model", "be a torch.nn.Module", type(model).__name__)
    require(batch.dim() > 0 and len(batch) > 0, "batch", "hold at least one input", tuple(batch.shape))
    require(bool(batch.isfinite().all()), "batch", "be finite", "NaN or infinite numbers")
    require(bn in ("eval", "batch"), "bn", "be eval or batch", repr(bn))


def hidden_mean(spectra: Iterable[LayerSpectrum]) -> float:
    """Mean singular value of a network: over the hidden layers, neither the first one nor the last.

    Args:
        spectra: What :func:`layer_spectra` yields.

    Raises:
        ValueError: If there is no hidden layer.
    """
    return _mean_over_hidden(spectra, lambda spectrum: spectrum.mean)


def hidden_isometry(spectra: Iterable[LayerSpectrum]) -> float:
    r"""Distance of a network from isometry, the mean of \|sigma - 1\| over the hidden layers, as :func:`hidden_mean`.

    Args:
        spectra: What :func:`layer_spectra` yields.

    Raises:
        ValueError: If there is no hidden layer.
    """
    return _mean_over_hidden(spectra, lambda spectrum: spectrum.isometry)


def _mean_over_hidden(spectra: Iterable[LayerSpectrum], estimate: Callable[[Spectrum], Estimate]) -> float:
    """Mean of a quantity over the layers that stand for their network: neither the first one nor the last."""
    layers = list(spectra)
    if len(layers) < 3:
        raise ValueError(f"Expected a network with hidden layers, but it has {len(layers)} layers.")
    hidden = layers[1:-1]
    return sum(estimate(layer.spectrum).value for layer in hidden) / len(hidden)


def _spectra(
    network: nn.Module, batch: Tensor, bn: Literal["eval", "batch"], exact_up_to: int, estimate: Callable[..., Spectrum]
) -> Iterator[LayerSpectrum]:
    stated: Any = getattr(network, "jacobian_factors", None)
    if stated is not None and not isinstance(stated, nn.Module):
        layers = stated(batch)
        if layers and max(len(weight) for _, weight, _ in layers) <= exact_up_to:
            yield from _stated(layers, bn)
            return
    for position, layer in enumerate(layers_at(network, batch, bn)):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spectrum = _spectrum(layer, len(batch), exact_up_to, estimate)
        yield LayerSpectrum(position, layer.name, bn, spectrum)


def _stated(layers: Sequence[tuple[str, Tensor, Tensor]], bn: str) -> Iterator[LayerSpectrum]:
    """The spectra of a network that states its linear layers itself."""
    names, weights, slopes = zip(*layers, strict=True)
    for position, values in enumerate(linear_singular_values(weights, slopes)):
        yield LayerSpectrum(position, names[position], bn, Spectrum.of(values, *weights[position].shape))


def _spectrum(layer: Layer, images: int, exact_up_to: int, estimate: Callable[..., Spectrum]) -> Spectrum:
    rows, columns = layer.function(layer.entering[:1])[0].numel(), layer.entering[0].numel()
    if max(rows, columns) > exact_up_to:
        return estimate(layer.function, layer.entering)
    if layer.weight is not None and layer.slopes is not None:
        (values,) = linear_singular_values([layer.weight], [layer.slopes(layer.entering)])
        return Spectrum.of(values, rows, columns, images)
    return Spectrum.of(dense_singular_values(layer.function, layer.entering), rows, columns, images)
