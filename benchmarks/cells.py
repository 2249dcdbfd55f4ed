"""Random-skip cells: training step, evaluation and activation memory, against plain modules and bare convolutions.

Run: python benchmarks/cells.py [--quick] [--precision bf16] [--device cuda] [--minutes 8] [--no-compile]. Nothing is
asserted; compare ratios of one run. Each row is printed as it comes, as Markdown.

*plain* runs the same network module by module (share_outputs off) in the faster of both memory formats. *convolutions*
are the network's convolutions alone, same shapes and precision, channels_last, each on an input that is there already.
Memory is the peak of what is allocated beyond weights and images during a step. On a GPU, *graph* and *plain graph*
replay a step of both that was captured as a CUDA graph, *compiled* runs the plain network through torch.compile, and
*largest batch* is the largest power of two whose step fits into the GPU's memory.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from nnmass.zoo import create_model, list_models, pass_in_use
from nnmass.zoo.networks.variants import VARIANTS

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
BATCHES = {"cpu": 32, "cuda": 512}
PROFILED = "dense_31_w2_30_50_100"
Work = Callable[[], Any]


def median_times(works: dict[str, Work], rounds: int, device: str) -> dict[str, float]:
    """Median time of each work in s, over rounds in which each runs once: a slow moment hits all alike."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            wait()
            start = time.perf_counter()
            work()
            wait()
            times[name].append(time.perf_counter() - start)
    return {name: median(taken) for name, taken in times.items()}


def peak_memory(work: Work, device: str) -> int:
    """Most bytes allocated at once during the work, beyond what is there before."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    now = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def forward(network: nn.Module, images: Tensor, precision: torch.dtype) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        return network(images)


def step(network: nn.Module, images: Tensor, precision: torch.dtype) -> None:
    """Forward and backward."""
    forward(network, images, precision).float().square().mean().backward()
    network.zero_grad()


@torch.no_grad()
def evaluate(network: nn.Module, images: Tensor, precision: torch.dtype) -> None:
    forward(network, images, precision)


def convolutions(network: nn.Module, images: Tensor, precision: torch.dtype) -> list[tuple[Tensor, ...]]:
    """Input, weight and gradient of the output, of the shapes of each convolution, and what else it takes."""
    found: list[Any] = []

    def record(module: nn.Conv2d, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        value, weight, gradient = (
            torch.randn_like(like, dtype=precision, memory_format=torch.channels_last)
            for like in (arguments[0], module.weight, output)
        )
        others = [None, module.stride, module.padding, module.dilation, False, [0, 0], module.groups]
        found.append((value, weight, gradient, others))

    handles = [module.register_forward_hook(record) for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return found


def run_convolutions(shapes: list[tuple[Any, ...]], backward: bool) -> None:
    for position, (value, weight, gradient, others) in enumerate(shapes):
        torch.ops.aten.convolution(value, weight, *others)
        if backward:
            torch.ops.aten.convolution_backward(gradient, value, weight, *others, [position > 0, True, False])


def build(name: str, device: str, shared: bool, last: bool = True) -> nn.Module:
    network: Any = create_model(name, share_outputs=shared).to(device)  # type: ignore[call-overload]
    return network.to(memory_format=torch.channels_last) if last else network


def captured(network: nn.Module, images: Tensor, precision: torch.dtype) -> Work:
    """A step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(network, images, precision)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward(network, images, precision).float().square().mean().backward()
    return graph.replay


def compiled(network: nn.Module, images: Tensor, precision: torch.dtype) -> tuple[Work, float]:
    """A step through torch.compile, and the time of the first one in s."""
    network.compile()
    start = time.perf_counter()
    step(network, images, precision)
    torch.cuda.synchronize()
    return partial(step, network, images, precision), time.perf_counter() - start


def largest_batch(name: str, shared: bool, precision: torch.dtype) -> int:
    network, batch = build(name, "cuda", shared), 256
    while True:
        try:
            step(network, torch.randn(2 * batch, 3, 32, 32, device="cuda"), precision)
        except torch.OutOfMemoryError:
            return batch
        finally:
            network.zero_grad()
            torch.cuda.empty_cache()
        batch *= 2


def measured_times(name: str, precision: torch.dtype, rounds: int, device: str, compile_too: bool) -> dict[str, str]:
    """Times of steps and evaluations over those of the convolutions alone."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCHES[device], 3, 32, 32, generator=generator).to(device)
    last = images.to(memory_format=torch.channels_last)
    ours, plain, plain_last = build(name, device, True), build(name, device, False, False), build(name, device, False)
    networks = {"ours": (ours, last), "plain": (plain, images), "plain, last": (plain_last, last)}
    shapes = convolutions(plain_last, last, precision)
    cells: dict[str, str] = {}
    for title, work, backward in (("step", step, True), ("evaluation", evaluate, False)):
        for network, _ in networks.values():
            network.train(backward)
        works: dict[str, Work] = {key: partial(work, *pair, precision) for key, pair in networks.items()}
        works["convolutions"] = partial(run_convolutions, shapes, backward)
        if device == "cuda" and backward:
            works |= {"graph": captured(ours, last, precision), "plain graph": captured(plain_last, last, precision)}
            if compile_too:
                works["compiled"], seconds = compiled(build(name, device, False), last, precision)
        times = median_times(works, rounds, device)
        oracle, bare = min(times["plain"], times["plain, last"]), times["convolutions"]
        cells |= {f"{title} / convolutions": f"{times['ours'] / bare:.2f}", f"plain {title}": f"{oracle / bare:.2f}"}
        if backward:
            cells["speed-up"] = f"{oracle / times['ours']:.2f}"
            graphs = ("graph", "plain graph", "compiled")
            cells |= {key: f"{times[key] / bare:.2f}" for key in graphs if key in times}
            cells = {"convolutions (ms)": f"{1e3 * bare:.1f}"} | cells
            if "compiled" in times:
                cells["compile time (s)"] = f"{seconds:.0f}"
    if pass_in_use(ours) != "shared outputs":
        print(f"{name}: *ours* has run as {pass_in_use(ours)} here, which makes it another *plain*.", flush=True)
    return cells


def measured_memory(name: str, precision: torch.dtype, device: str) -> dict[str, str]:
    """Peak of a step's memory, and on a GPU the largest batch."""
    images = torch.randn(BATCHES[device], 3, 32, 32).to(device, memory_format=torch.channels_last)
    peaks = []
    for shared in (True, False):
        work = partial(step, build(name, device, shared), images, precision)
        work()
        peaks.append(peak_memory(work, device))
    cells = {"memory (MiB)": f"{peaks[0] / 2**20:.0f}", "memory / plain": f"{peaks[0] / peaks[1]:.2f}"}
    if device == "cuda":
        del work, images
        for heading, shared in (("largest batch", True), ("of plain", False)):
            free_memory()
            cells[heading] = f"{largest_batch(name, shared, precision):,}"
    return cells


def free_memory() -> None:
    """Give back what graphs, compiled code and allocators hold on a GPU."""
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


def measure(name: str, precision: torch.dtype, rounds: int, device: str, compile_too: bool) -> dict[str, str]:
    cells = measured_times(name, precision, rounds, device, compile_too)
    if device == "cuda":
        free_memory()
    return cells | measured_memory(name, precision, device)


def print_profile(precision: torch.dtype, device: str) -> None:
    """Print the time of two steps, operator by operator."""
    network = build(PROFILED, device, True)
    images = torch.randn(BATCHES[device], 3, 32, 32).to(device, memory_format=torch.channels_last)
    step(network, images, precision)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as profiler:
        for _ in range(2):
            step(network, images, precision)
    order = f"self_{device}_time_total"
    print(profiler.key_averages().table(sort_by=order, row_limit=16, max_name_column_width=40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three networks in place of fifteen")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    parser.add_argument("--device", choices=list(BATCHES), default="cpu")
    parser.add_argument("--batch", type=int, help="images of a step (32 on a processor, 512 on a GPU)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no row after so many (no limit)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out, which takes minutes")
    parser.add_argument("--profile", action="store_true", help="what a step of the 31 layers is made of, and no more")
    options = parser.parse_args()
    precision, device = PRECISIONS[options.precision], options.device
    BATCHES[device] = options.batch or BATCHES[device]
    if options.profile:
        print_profile(precision, device)
        return
    patterns = ["dense_31_w2", "dense_64_w2", "dsconv_31_w2_e1"]
    if not options.quick:
        patterns = [f"dense_{layers}_w{multiplier}" for multiplier in (1, 2, 3) for layers in (31, 40, 49, 64)]
        patterns += ["dsconv_31_w2_e1", "dsconv_31_w2_e6", "dsconv_64_w2_e1"]
    where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{options.precision}, batch {BATCHES[device]}, {where}, torch {torch.__version__}\n", flush=True)
    begin = time.monotonic()
    for number, pattern in enumerate(patterns):
        if time.monotonic() - begin > 60 * options.minutes:
            print(f"\n{options.minutes:g} minutes are over; not measured: {', '.join(patterns[number:])}.")
            break
        names = sorted(list_models(f"{pattern}_*_*_*"), key=lambda name: VARIANTS[name].arguments["tc"])
        name = names[len(names) // 2]
        cells = measure(name, precision, 7, device, not options.no_compile)
        if number == 0:
            print_row("network", *cells)
            print_row(*["---"] * (len(cells) + 1))
        print_row(name, *cells.values())


def print_row(*entries: str) -> None:
    print("|", " | ".join(entries), "|", flush=True)


if __name__ == "__main__":
    main()
