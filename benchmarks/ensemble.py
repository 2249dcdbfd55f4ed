"""MLPs trained together in the compiled loop, against one by one in a bare PyTorch loop and through a Trainer.

Run: python benchmarks/ensemble.py [--data-dir FOLDER]. Nothing is asserted; compare ratios of one run.

Microseconds per network and step, on one core each: MNIST where a folder is given, else random images as sparse.
"""

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from overhead import bare, trained
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nnmass.datamodules import MNIST
from nnmass.studies.ensemble.arrays import Samples
from nnmass.studies.ensemble.batched import train_batched
from nnmass.studies.ensemble.trainer import train_together
from nnmass.zoo import Classifier, RandomSkipMLP

BATCH, SAMPLES = 64, 19_200


def images(folder: str | None) -> tuple[Tensor, Tensor]:
    if folder is not None:
        data = MNIST(data_dir=folder, standardise=False)
        found, labels = data.load_checked("train")
        return data.prepare_eval(found[:SAMPLES]), labels[:SAMPLES]
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(SAMPLES, 784, generator=generator)
    return values * (torch.rand(SAMPLES, 784, generator=generator) < 0.19), torch.randint(
        10, (SAMPLES,), generator=generator
    )


def together(networks: list[RandomSkipMLP], samples: Samples) -> float:
    """Time per network and step on one core, in s."""
    nothing = Samples(samples.starts[:2], samples.pixels, samples.values, samples.labels[:1])
    list(train_together(networks[:1], [0], nothing, {"test": nothing}, epochs=1, batch_size=BATCH))  # compile
    start = time.perf_counter()
    held_out = {"test": nothing}
    list(train_together(networks, range(len(networks)), samples, held_out, epochs=1, batch_size=BATCH, workers=1))
    return (time.perf_counter() - start) / len(networks) / (SAMPLES / BATCH)


def batched(networks: list[RandomSkipMLP], samples: Samples) -> float:
    """The same of all members in one batch of operations, over fewer steps."""
    end = BATCH * 40
    last = samples.starts[end]
    few = Samples(samples.starts[: end + 1], samples.pixels[:last], samples.values[:last], samples.labels[:end])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    seconds = [r.seconds for r in train_batched(networks, [0] * len(networks), few, {}, 2, BATCH, device=device)]
    return sum(seconds[len(networks) :]) / len(networks) / 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", "--data_dir")
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    inputs, labels = images(parser.parse_args().data_dir)
    samples = Samples.of(inputs, labels)
    batches = list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))
    headings = ("network", "compiled (us)", "batched in torch", "bare loop", "Trainer")
    table = Table(*headings, "compiled is faster than batched, bare loop, Trainer")
    for depth in (16, 32):
        build = [RandomSkipMLP(depth, 8, tc) for tc in (0, 5, 10, 14)]
        ours = together(build, samples)
        stacked = batched([RandomSkipMLP(depth, 8, tc, seed=seed) for tc in range(15) for seed in range(5)], samples)
        loop = bare(RandomSkipMLP(depth, 8, 7), batches)
        full = trained(Classifier(RandomSkipMLP(depth, 8, 7)), batches)
        figures = [f"{1e6 * value:,.0f}" for value in (ours, stacked, loop, full)]
        ratios = ", ".join(f"{value / ours:.1f} x" for value in (stacked, loop, full))
        table.add_row(f"MLP d={depth} w=8", *figures, ratios)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
