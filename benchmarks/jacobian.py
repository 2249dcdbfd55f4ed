"""Jacobian spectra: ratios against a loop of dense decompositions, and as multiples of one forward pass.

Run: python benchmarks/jacobian.py [--large]. Nothing is asserted; compare ratios of one run, never absolute times.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from rich.console import Console
from rich.table import Table

from nnmass.zoo import RandomSkipDenseNet, RandomSkipMLP, create_model, layer_spectra
from nnmass.zoo.jacobian.layers import Layer, layers_at


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """Return the result of the work, and its shortest time in s."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return result, min(times)


def loop_of_dense_decompositions(network: RandomSkipMLP, images: torch.Tensor) -> list[float]:
    """The baseline: per layer and image the matrix D W, and a dense decomposition of it."""
    means = []
    for _, weight, slopes in network.jacobian_factors(images):
        values = [torch.linalg.svdvals(slope[:, None] * weight) for slope in slopes]
        means.append(torch.stack(values).mean().item())
    return means


def reverse_mode_jacobians(layers: list[Layer]) -> list[float]:
    """The baseline: torch.func.jacrev of every layer, and a dense decomposition."""
    means = []
    for layer in layers:
        one = torch.func.jacrev(lambda x, layer=layer: layer.function(x[None])[0])
        matrices = [one(x).reshape(-1, x.numel()) for x in layer.entering]
        means.append(torch.linalg.svdvals(torch.stack(matrices)).mean().item())
    return means


def mlp(depth: int, count: int) -> tuple[str, str, str]:
    network = RandomSkipMLP(depth, 8, 7)
    images = torch.rand(count, 784, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        timed(lambda: list(layer_spectra(network, images)))  # the kernel is compiled, or loaded
        baseline, slow = timed(lambda: loop_of_dense_decompositions(network, images))
        ours, fast = timed(lambda: [found.spectrum.mean.value for found in layer_spectra(network, images)], repeats=5)
    error = max(abs(a - b) for a, b in zip(baseline, ours, strict=True))
    return f"MLP d={depth}, {count} images", f"{slow / fast:.1f} x loop of dense SVDs", f"{error:.1e}"


def small_network(size: int) -> tuple[str, str, str]:
    model = RandomSkipDenseNet(4, 1, 5)
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    layers = list(layers_at(model, images))
    baseline, slow = timed(lambda: reverse_mode_jacobians(layers))
    exact, fast = timed(lambda: [found.spectrum.mean.value for found in layer_spectra(model, images, exact_up_to=2048)])
    error = max(abs(a - b) for a, b in zip(baseline, exact, strict=True))
    spectra, faster = timed(lambda: list(layer_spectra(model, images, exact_up_to=0)))
    means = [found.spectrum.mean for found in spectra]
    stated = 100 * max(mean.standard_error / mean.value for mean in means)
    return (
        f"13 layers of width 16 to 64 at {size} px, 4 images",
        f"exact {slow / fast:.1f} x, estimated {slow / faster:.1f} x torch.func.jacrev and dense SVDs",
        f"{error:.1e}; standard error of the estimates at most {stated:.1f} %",
    )


def network(name: str) -> tuple[str, str, str]:
    model: Any = create_model(name).eval()
    image = torch.randn(1, *model.default_cfg["input_size"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        forward = timed(lambda: model(image), repeats=5)[1]
    spectra, spent = timed(lambda: list(layer_spectra(model, image)))
    means = [found.spectrum.mean for found in spectra if found.spectrum.mean.value > 0]
    error = 100 * max(mean.standard_error / mean.value for mean in means)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"{name}, {len(spectra)} layers, one image",
        f"{spent / forward:.0f} forward passes ({spent:.0f} s)",
        f"standard error of the mean at most {error:.1f} %; peak memory of the process {memory:.1f} GiB",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="ResNet-50 at 224 px too")
    large = parser.parse_args().large
    table = Table("what", "time", "difference, or error")
    mlp(4, 2)  # the first calls load and compile: they belong to neither side
    for depth in (16, 32):
        for count in (100, 10_000):
            table.add_row(*mlp(depth, count))
    table.add_row(*small_network(8))
    for name in ("dense_40_w2_60_130_170", *(["resnet50"] if large else [])):
        table.add_row(*network(name))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
