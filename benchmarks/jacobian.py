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

from zoo import RandomSkipMLP, create_model, layer_spectra
from zoo.jacobian.layers import layers_at


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """What the work gives, and its shortest time in s."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return result, min(times)


def loop_of_dense_decompositions(network: torch.nn.Module, images: torch.Tensor) -> list[float]:
    """The baseline: per layer and image, the Jacobian by autograd's definition, D W, and its singular values."""
    means = []
    for layer in layers_at(network, images):
        assert layer.weight is not None
        assert layer.slopes is not None
        slopes = layer.slopes(layer.entering)
        values = [torch.linalg.svdvals(torch.diag(slope) @ layer.weight) for slope in slopes]
        means.append(torch.stack(values).mean().item())
    return means


def mlp(depth: int, count: int) -> tuple[str, str, str]:
    network = RandomSkipMLP(depth, 8, 7)
    images = torch.rand(count, 784, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        baseline, slow = timed(lambda: loop_of_dense_decompositions(network, images))
        ours, fast = timed(lambda: [found.spectrum.mean.value for found in layer_spectra(network, images)], repeats=2)
    error = max(abs(a - b) for a, b in zip(baseline, ours, strict=True))
    return f"MLP d={depth}, {count} images", f"{slow / fast:.1f} x loop of dense SVDs", f"{error:.1e}"


def network(name: str) -> tuple[str, str, str]:
    model: Any = create_model(name).eval()
    image = torch.randn(1, *model.default_cfg["input_size"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        forward = timed(lambda: model(image), repeats=5)[1]
    spectra, spent = timed(lambda: list(layer_spectra(model, image, exact_up_to=0)))
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
    for name in ("dense_40_w2_60_130_170", *(["resnet50"] if large else [])):
        table.add_row(*network(name))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
