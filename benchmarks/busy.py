"""Time of a training step while other jobs use the cores too, by the variables that say how OpenMP's threads wait.

Run: python benchmarks/busy.py. The other jobs are processes that calculate with one thread each, as many as there are
cores (``--others``, 0 for none). Nothing is asserted; compare figures of one run, and beside the same load.

PyTorch's wheels for Linux contain GNU's OpenMP: ``OMP_WAIT_POLICY`` and ``GOMP_SPINCOUNT`` are its variables,
``KMP_BLOCKTIME`` is that of Intel's and LLVM's, which other builds have.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean

SETTINGS: list[dict[str, str]] = [
    {},
    {"OMP_WAIT_POLICY": "passive"},
    {"GOMP_SPINCOUNT": "0"},
    {"KMP_BLOCKTIME": "0"},
    {"OMP_NUM_THREADS": "1"},
]
NAMES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
BUSY = "while True: pass"
STEPS = """
import time
import torch
from nnmass.zoo import RandomSkipDenseNet
torch.manual_seed(0)
network = RandomSkipDenseNet(4, 1, 8, in_chans=1, num_classes=10)
optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 10
for step in range({steps} + 3):
    begin = time.perf_counter()
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    optimizer.step()
    if step >= 3:
        print(time.perf_counter() - begin)
"""


def step_seconds(setting: dict[str, str], steps: int) -> float:
    """Mean time of a training step of ``digits_dense.yaml``'s network, in s, in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", STEPS.format(steps=steps)],
        cwd=Path(__file__).resolve().parent.parent,
        env={**inherited, **setting},
        capture_output=True,
        text=True,
        check=True,
    )
    return fmean(map(float, done.stdout.split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", type=int, default=os.cpu_count(), help="other jobs (as many as cores)")
    parser.add_argument("--steps", type=int, default=50, help="timed steps, whose mean counts (50)")
    options = parser.parse_args()
    jobs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(options.others)]
    try:
        for setting in SETTINGS:
            words = " ".join(f"{name}={value}" for name, value in setting.items()) or "nothing set"
            seconds = step_seconds(setting, options.steps)
            print(f"{words:25} {1000 * seconds:8.0f} ms a step; load {os.getloadavg()[0]:.1f}", flush=True)
    finally:
        for job in jobs:
            job.kill()
            job.wait()


if __name__ == "__main__":
    main()
